"""Spans that answer a question, from start and end scores.

Decided here:
- All spans up to `max_answer_length` tokens in all windows compete (no pruning to n-best starts and ends: one array operation
  for each of 30 lengths); a span seen in two windows counts once, with its better score.
- `no_answer_score` is the logistic of (lowest CLS score over windows - best span score) (Rajpurkar 2018).
- The score of a span is the probability that it is right word for word: its share of the probability of the n best spans
  and of no answer, calibrated on validation data (`metrics/calibration.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from manyheads.tasks.base import Item
from manyheads.tasks.question_answering.example import Found, context_tokens

if TYPE_CHECKING:
    from manyheads.tasks.question_answering.task import QuestionAnswering
    from manyheads.text.pack import Encoding


def decode(task: QuestionAnswering, items: Sequence[Item]) -> list[Found]:
    """The n best spans of each question over all its windows."""
    return [_found(task, item) for item in items]


def _found(task: QuestionAnswering, item: Item) -> Found:
    context = item.source.second or ""
    best: dict[tuple[int, int], float] = {}
    null = np.inf
    for window, output in zip(item.encodings, item.outputs, strict=True):
        start_L, end_L = output["start_T"].astype(np.float64), output["end_T"].astype(np.float64)
        null = min(null, float(start_L[0] + end_L[0]))
        for first, last, score in _window_spans(task, window, start_L, end_L):
            start, end = int(window.start_L[first]), int(window.end_L[last])
            text = context[start:end]  # tokens of white space (RoBERTa) may be at either edge
            span = start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())
            if span[1] > span[0]:
                best[span] = max(score, best.get(span, -np.inf))
    ranked = sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))[: task.n_best]
    scores = np.array([score for _, score in ranked] + ([null] if task.no_answer else []))
    probabilities = np.exp(scores - scores.max()) if len(scores) else scores
    probabilities = task.scale.applied(probabilities / max(float(probabilities.sum()), 1e-300))
    spans = tuple(
        {"start": start, "end": end, "text": context[start:end], "score": float(p)}
        for ((start, end), _), p in zip(ranked, probabilities, strict=False)
    )
    if not task.no_answer:
        return Found(spans, None)
    if not ranked:
        return Found((), 1.0)
    return Found(spans, float(1 / (1 + np.exp(np.clip(ranked[0][1] - null, -700, 700)))))


def _window_spans(
    task: QuestionAnswering, window: Encoding, start_L: np.ndarray, end_L: np.ndarray
) -> list[tuple[int, int, float]]:
    """The n best (first token, last token, score) of one window."""
    place_N = context_tokens(window)
    count = len(place_N)
    if not count:
        return []
    lengths = min(task.max_answer_length, count)
    start_N, end_N = start_L[place_N], end_L[place_N]
    band = np.full((lengths, count), -np.inf)
    for extra in range(lengths):
        band[extra, : count - extra] = start_N[: count - extra] + end_N[extra:]
    flat = band.ravel()
    keep = min(task.n_best, int(np.isfinite(flat).sum()))
    chosen = np.argpartition(-flat, keep - 1)[:keep]
    return [(int(place_N[c % count]), int(place_N[c % count + c // count]), float(flat[c])) for c in chosen.tolist()]
