"""Scores of the tags of labels that are given in words, from cosines and, for known labels, from the tags of the head.

Decided here:
- All scores are log-odds against `O`, whose score is 0. A known label has those of its tags in the head, against everything
  that is not asked for: a word of a known label that is not asked for is no entity.
- Known labels have no cosines here: what the head learned about their tags is more, and is what it answers without `labels`.
- With a CRF, known labels have the scores of its tags without transitions where they stand beside others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from manyheads.metrics.calibration import softmax
from manyheads.metrics.vectors import unit_rows
from manyheads.tasks.base import Array, Item

if TYPE_CHECKING:
    from manyheads.tasks.token_classification.by_name_task import EntitiesByName

LEAST = 1e-9
"""Lower bound of probabilities, so that their log-odds are finite."""


def as_tags(task: EntitiesByName, items: Sequence[Item]) -> list[Item]:
    """The items as a head with these labels would give them; as they are for a task with its own labels."""
    if task.trained is None:
        return list(items)
    return [replace(item, outputs=[{"logits_TK": tag_scores(task, one)} for one in item.outputs]) for item in items]


def tag_scores(task: EntitiesByName, output: Mapping[str, Array]) -> Array:
    """Scores of the tags of the labels that are asked for, for each token of a window, `(L, K)` float32."""
    assert task.trained is not None, "labels are given"
    known = task.trained.labels
    new = [label for label in task.labels if label not in known]
    scores_LC2 = np.zeros((len(output["vector_TX"]), len(task.labels), 2))
    if new:
        assert task.vector_KD is not None, "descriptions are encoded"
        vector_MD = task.vector_KD[[task.labels.index(label) for label in new]]
        cosine_LM = unit_rows(output["vector_TX"]).astype(np.float64) @ vector_MD.T
        named_LM2 = float(output["scale_1"][0]) * cosine_LM[:, :, None] + output["edge_T2"][:, None, :]
        scores_LC2[:, [task.labels.index(label) for label in new]] = named_LM2
    if asked := [label for label in task.labels if label in known]:
        chance_LK = softmax(output[task.trained.scores_key].astype(np.float64))
        place = [1 + 2 * known.index(label) for label in asked]
        chance_LM2 = np.stack([chance_LK[:, place], chance_LK[:, [k + 1 for k in place]]], axis=2)
        rest_L = 1.0 - chance_LM2.sum((1, 2))
        odds_LM2 = np.log(np.maximum(chance_LM2, LEAST)) - np.log(np.maximum(rest_L, LEAST))[:, None, None]
        scores_LC2[:, [task.labels.index(label) for label in asked]] = odds_LM2
    outside_L1 = np.zeros((len(scores_LC2), 1))
    return np.concatenate([outside_L1, scores_LC2.reshape(len(scores_LC2), -1)], axis=1).astype(np.float32)
