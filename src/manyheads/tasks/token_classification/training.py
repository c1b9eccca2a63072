"""Targets and loss of entity recognition: a tag for each unit, the first piece of which is trained.

A piece that covers several words stands for each of them (`nn/multiword_pieces.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from manyheads.nn.multiword_pieces import word_scores_in_torch
from manyheads.tasks.base import Array, Encodings, Loss, Output
from manyheads.tasks.words import locate_words
from manyheads.text.entities import EntityExample
from manyheads.text.spans import tags_of_char_spans
from manyheads.text.units import units

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.token_classification.task import TokenClassification


def locate_units(
    task: TokenClassification, examples: Sequence[EntityExample], encodings: Encodings
) -> dict[str, Array]:
    """Positions of the units of examples; see `locate_words`."""
    return locate_words([units(e.text, task.unit, e.words) for e in examples], encodings)


def targets(task: TokenClassification, examples: Sequence[EntityExample], encodings: Encodings) -> dict[str, Array]:
    """`tag_P` of each unit, beside its position."""
    index = {tag: i for i, tag in enumerate(task.tags)}
    tags = [tags_of_char_spans(units(e.text, task.unit, e.words), e.spans)[0] for e in examples]
    tag_U = np.array([index[tag] for of_text in tags for tag in of_text], dtype=np.int64)
    where = locate_units(task, examples, encodings)
    return {**where, "tag_P": tag_U[where.pop("unit_P")]}


def unit_scores(task: TokenClassification, output: Output, targets: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Scores `(P, K)` of the tags of units at positions from `locate_units`."""
    return word_scores_in_torch(
        output[task.scores_key], output, targets["piece_P"], targets["inner_I"], targets["place_I"]
    )


def loss(task: TokenClassification, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
    """Mean over units of cross entropy (softmax) or negative log-likelihood (CRF); the chance loss is log(tags)."""
    from torch.nn.functional import cross_entropy

    from manyheads.nn.crf import log_likelihood

    tag_P = targets["tag_P"]
    scores_PK = unit_scores(task, output, targets)
    count = len(tag_P)
    chance_loss = float(np.log(len(task.tags)))
    if task.decoder == "softmax":
        if not count:
            return Loss(output[task.scores_key].sum() * 0.0 + scores_PK.sum(), chance_loss)
        return Loss(cross_entropy(scores_PK, tag_P), chance_loss)
    rules = (output["transitions_KK"], output["start_K"], output["end_K"])
    likelihood_S = log_likelihood(scores_PK, tag_P, targets["words_S"].tolist(), rules)
    return Loss(-likelihood_S.sum() / max(count, 1), chance_loss)
