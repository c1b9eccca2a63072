"""Typed, directed relations between the entities of another task.

    candidates.py     candidate pairs of a text, and the related ones
    training.py       targets and loss
    decoding.py       relations from the scores of pairs
    scores.py         metrics: for gold entities, end to end, between concepts
    task.py           settings
"""

from manyheads.tasks.relations.task import Relations

__all__ = ["Relations"]
