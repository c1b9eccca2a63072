"""Ranking texts by relevance to a query: `task.py` has the task; the files beside it its rows, scores and reports."""

from manyheads.tasks.text_ranking.example import Ranked
from manyheads.tasks.text_ranking.task import TextRanking

__all__ = ["Ranked", "TextRanking"]
