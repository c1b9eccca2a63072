"""Vectors for sentences. `task.py` is the task; the other files are what it is to reports, files and tools."""

from manyheads.tasks.sentence_embedding.task import NLI_SIMILARITY, Pair, SentenceEmbedding

__all__ = ["NLI_SIMILARITY", "Pair", "SentenceEmbedding"]
