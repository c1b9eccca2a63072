"""Sentence embeddings: `task.py` has the task; the files beside it its training, scores, reports and exports."""

from manyheads.tasks.sentence_embedding.example import Pair
from manyheads.tasks.sentence_embedding.task import SentenceEmbedding

__all__ = ["Pair", "SentenceEmbedding"]
