"""Embeddings: `task.py` has dense vectors, `tokens.py` sparse and multiple ones; the others training and scores."""

from manyheads.tasks.sentence_embedding.example import Pair
from manyheads.tasks.sentence_embedding.task import SentenceEmbedding
from manyheads.tasks.sentence_embedding.tokens import MultiVectorEmbedding, SparseEmbedding

__all__ = ["MultiVectorEmbedding", "Pair", "SentenceEmbedding", "SparseEmbedding"]
