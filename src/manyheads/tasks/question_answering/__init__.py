"""Extractive answers: `task.py` has the task; the files beside it its training, decoding, scores, reports and exports."""

from manyheads.tasks.question_answering.example import Found, Question
from manyheads.tasks.question_answering.task import QuestionAnswering

__all__ = ["Found", "Question", "QuestionAnswering"]
