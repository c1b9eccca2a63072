"""Spans of labels that are given with the texts: those of known labels by their tags, and others by their descriptions.

Decided here:
- Known labels have the spans of the head's tags, as without `labels`.
- For other labels, spans are found whatever their type, and each gets the label whose description is nearest to the mean
  vector of its words, or none. They do not overlap spans of known labels that are asked for; known labels that are not
  asked for do not count, so that a new label may be a part of one (politicians among persons).
- The score of such a span is the mean probability of its edges times that of its label. It is not calibrated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.metrics.calibration import softmax
from manyheads.metrics.vectors import unit_rows
from manyheads.tasks.base import Array, Item
from manyheads.tasks.token_classification import decoding
from manyheads.tasks.words import owned_words
from manyheads.text.units import units

if TYPE_CHECKING:
    from manyheads.tasks.token_classification.by_name_task import EntitiesByName

Spans = list[dict[str, Any]]


def decode(task: EntitiesByName, items: Sequence[Item]) -> list[Spans]:
    """Spans of the labels that are asked for, in reading order."""
    if task.trained is None:
        return decoding.decode(task, items)
    known = set(task.labels) & set(task.trained.labels)
    tagged = decoding.decode(task.trained, items) if known else [[] for _ in items]
    answers = [[span for span in spans if span["label"] in known] for spans in tagged]
    new = [k for k, label in enumerate(task.labels) if label not in known]
    if not new:
        return answers
    both = []
    for tagged_spans, item, spans in zip(answers, items, any_entities(task, items), strict=True):
        free = [span for span in spans if not any(overlap(span, other) for other in tagged_spans)]
        found = [*tagged_spans, *task.kept(labelled(task, item, free, new))]
        both.append(sorted(found, key=lambda span: int(span["start"])))
    return both


def any_entities(task: EntitiesByName, items: Sequence[Item]) -> list[Spans]:
    """Spans of any type, each with the mean probability of its edges."""
    edges = [replace(item, outputs=[{"logits_TK": edge_scores(one)} for one in item.outputs]) for item in items]
    return decoding.decode(task.finder, edges)


def edge_scores(output: Mapping[str, Array]) -> Array:
    """Logits of outside, begin and inside, `(L, 3)`."""
    return np.pad(output["edge_T2"], ((0, 0), (1, 0)))


def labelled(task: EntitiesByName, item: Item, spans: Spans, new: Sequence[int]) -> Spans:
    """Those of the spans that have one of the new labels, with it."""
    if not spans:
        return []
    assert task.vector_KD is not None, "descriptions are encoded"
    offsets_U2, vector_UX = unit_vectors_of(task, item)
    inside = [(offsets_U2[:, 0] >= span["start"]) & (offsets_U2[:, 1] <= span["end"]) for span in spans]
    vector_NX = np.stack([vector_UX[of_span].mean(0) for of_span in inside])
    logits_NC = choice_logits(item.outputs[0], vector_NX, task.vector_KD[list(new)])
    chance_NC = softmax(logits_NC)
    return [
        {**span, "label": task.labels[new[best - 1]], "score": float(span["score"] * chance_C[best])}
        for span, chance_C, best in zip(spans, chance_NC, chance_NC.argmax(1).tolist(), strict=True) if best
    ]  # fmt: skip


def choice_logits(output: Mapping[str, Array], vector_NX: Array, name_MD: Array) -> Array:
    """Logits of none of the labels, and of each, for entities with these vectors, `(N, 1 + M)` float64."""
    cosine_NM = unit_rows(unit_rows(vector_NX) - output["centre_X"]).astype(np.float64) @ name_MD.T
    none_N1 = np.full((len(vector_NX), 1), float(output["none_1"][0]))
    return np.concatenate([none_N1, float(output["scale_1"][0]) * cosine_NM], axis=1)


def unit_vectors_of(task: EntitiesByName, item: Item) -> tuple[Array, Array]:
    """Offsets `(U, 2)` of the units that have a token, and the vectors `(U, X)` of their first tokens."""
    offsets_U2 = units(item.source.first, task.unit, item.words)
    vector_UX = np.zeros((len(offsets_U2), item.outputs[0]["vector_TX"].shape[1]), np.float32)
    seen_U = np.zeros(len(offsets_U2), bool)
    for window in owned_words(offsets_U2, item):
        vector_UX[window.word_W] = window.output["vector_TX"][window.piece_W]
        seen_U[window.word_W] = True
    return offsets_U2[seen_U], vector_UX[seen_U]


def overlap(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two spans share a letter."""
    return bool(one["start"] < other["end"] and other["start"] < one["end"])
