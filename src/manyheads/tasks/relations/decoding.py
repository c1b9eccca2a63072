"""Relations from the scores of pairs. A pair may have several labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.metrics.calibration import sigmoid
from manyheads.tasks.base import Array, Item
from manyheads.tasks.relations.candidates import Pairs, candidates
from manyheads.tasks.spans import SpanWords, range_means, spans_of_items, token_values

if TYPE_CHECKING:
    from manyheads.tasks.relations.task import Relations

LEAST = 0.02
"""Pairs whose score is lower before calibration are never given, whatever the threshold."""
PAIRS_AT_ONCE = 65_536
Relation = dict[str, Any]


def decode(task: Relations, items: Sequence[Item]) -> list[list[Relation] | None]:
    """`head` and `tail` (places among the entities), `label`, `score` and `spans`, in the order of the heads."""
    if not items:
        return []
    spans = [list(item.spans or ()) for item in items]
    words = spans_of_items(items)
    pairs = candidates(task, spans, words)
    base_I = np.cumsum([0, *map(len, spans)])
    owner_N = np.repeat(np.arange(len(items)), np.diff(base_I))
    answers: list[list[Relation]] = [[] for _ in items]
    for start, raw_PK in _chances(items, words, pairs):
        chance_PK = task.scale.applied(raw_PK)
        for p, k in zip(*np.nonzero(raw_PK >= LEAST), strict=True):
            head, tail = int(pairs.head_P[start + p]), int(pairs.tail_P[start + p])
            i = int(owner_N[head])
            ends = head - int(base_I[i]), tail - int(base_I[i])
            answers[i].append({"head": ends[0], "tail": ends[1], "label": task.labels[k], "score": float(chance_PK[p, k]),
                               "spans": (tuple(spans[i][ends[0]]), tuple(spans[i][ends[1]]))})  # fmt: skip
    return [None if item.spans is None else task.kept(answer) for item, answer in zip(items, answers, strict=True)]


def _chances(items: Sequence[Item], words: SpanWords, pairs: Pairs) -> Iterator[tuple[int, Array]]:
    """Probabilities `(P, K)` of pairs, some at a time, each with the first pair."""
    if not len(pairs.head_P):
        return
    output = items[0].outputs[0]
    ends_WX = token_values(items, "ends_TX")[words.row_W].reshape(len(words.row_W), 3, -1)
    head_NR = range_means(ends_WX[:, 0], words.first_N, words.stop_N) + output["head_type_LR"][pairs.type_N]
    tail_NR = range_means(ends_WX[:, 1], words.first_N, words.stop_N) + output["tail_type_LR"][pairs.type_N]
    for start in range(0, len(pairs.head_P), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        hidden_PR = head_NR[pairs.head_P[part]] + tail_NR[pairs.tail_P[part]]
        hidden_PR += range_means(ends_WX[:, 2], *pairs.between_2P[:, part])
        hidden_PR += output["distance_BR"][pairs.distance_P[part]] + output["crowd_CR"][pairs.crowd_P[part]]
        logits_PK = np.maximum(hidden_PR, 0.0) @ output["output_KR"].T.astype(np.float64) + output["bias_K"]
        yield start, sigmoid(logits_PK)
