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
    """`tag_PN` of each unit in each of N layers, beside its position."""
    tag_UN = np.concatenate([gold_tags(task, e, units(e.text, task.unit, e.words)) for e in examples])
    where = locate_units(task, examples, encodings)
    return {**where, "tag_PN": tag_UN[where.pop("unit_P")]}


def gold_tags(task: TokenClassification, example: EntityExample, offsets_W2: Array) -> Array:
    """The gold tag of each word in each layer, `(W, N)`, as its place among the layer's tags."""
    tag_WN = np.zeros((len(offsets_W2), len(task.layers)), np.int64)
    for n, layer in enumerate(task.layers):
        place = {tag: k for k, tag in enumerate(layer.tags)}
        if spans := layer.spans(example):
            tag_WN[:, n] = [place[tag] for tag in tags_of_char_spans(offsets_W2, spans)[0]]
    return tag_WN


def chance_loss(task: TokenClassification) -> float:
    """The loss when all tags are equally likely, in nats per word: log(tags), added up over the layers."""
    return float(sum(np.log(len(layer.tags)) for layer in task.layers))


def marks(task: TokenClassification, output: Output) -> Output:
    """`begin_TL` and `inside_TL`, from the best tag of each token by itself: what the decoder finds, but for its rules."""
    import torch

    best = [output[task.scores_key][:, layer.columns].argmax(-1) for layer in task.layers]
    places = {label: (n, k) for n, layer in enumerate(task.layers) for k, label in enumerate(layer.labels)}
    labels = [places[label] for label in task.labels]
    return {
        "begin_TL": torch.stack([best[n] == 1 + 2 * place for n, place in labels], 1),
        "inside_TL": torch.stack([best[n] == 2 + 2 * place for n, place in labels], 1),
    }


def unit_scores(task: TokenClassification, output: Output, targets: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Scores `(P, K)` of the tags of units at positions from `locate_units`."""
    return word_scores_in_torch(
        output[task.scores_key], output, targets["piece_P"], targets["inner_I"], targets["place_I"],
        [layer.columns for layer in task.layers],
    )


def loss(task: TokenClassification, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
    """Mean over units of cross entropy (softmax) or negative log-likelihood (CRF), added up over the layers."""
    from torch.nn.functional import cross_entropy

    from manyheads.nn.crf import log_likelihood

    tag_PN = targets["tag_PN"]
    scores_PK = unit_scores(task, output, targets)
    count = len(tag_PN)
    if task.decoder == "softmax":
        if not count:
            return Loss(output[task.scores_key].sum() * 0.0 + scores_PK.sum(), chance_loss(task))
        means = [cross_entropy(scores_PK[:, layer.columns], tag_PN[:, n]) for n, layer in enumerate(task.layers)]
        return Loss(sum(means[1:], means[0]), chance_loss(task))
    rules = tuple(output[key] for key in task.rule_keys)
    lengths = targets["words_S"].tolist()
    likelihoods = [
        log_likelihood(scores_PK[:, layer.columns], tag_PN[:, n], lengths, layer.rules(rules)).sum()
        for n, layer in enumerate(task.layers)
    ]
    return Loss(-sum(likelihoods[1:], likelihoods[0]) / max(count, 1), chance_loss(task))
