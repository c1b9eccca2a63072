"""Answers about sentences from the scores of tokens.

Decided here: with a CRF each sentence gets its most probable label by forward-backward, not that of the best path. It is
right most often, scores are probabilities of the same kind with both decoders, and one temperature calibrates both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.metrics.calibration import softmax
from manyheads.nn.forward_backward import marginals
from manyheads.tasks.base import Array, Item
from manyheads.tasks.text_classification.decoding import LEAST, answers_of
from manyheads.tasks.text_classification.example import LabelledText
from manyheads.tasks.text_classification.sentences.example import LabelledDocument
from manyheads.tasks.text_classification.sentences.tokens import tokens_of_sentences

if TYPE_CHECKING:
    from manyheads.tasks.text_classification.sentence_task import SentenceClassification

DocumentAnswers = Sequence[Sequence[Sequence[dict[str, Any]]]]
"""For each document, a list with its answer: an entry for each sentence."""


def decode(task: SentenceClassification, items: Sequence[Item]) -> list[list[dict[str, Any]]]:
    """`start`, `end`, `label`, `score` and all `scores` of each sentence."""
    return [
        [{"start": start, "end": end, **answer}
         for (start, end), answer in zip(item.words or (), answers_of(task.plain, logits_NK), strict=True)]
        for item, logits_NK in zip(items, label_logits(task, items), strict=True)
    ]  # fmt: skip


def label_logits(task: SentenceClassification, items: Sequence[Item]) -> list[Array]:
    """Logits `(N, K)` of the sentences of each item, or log probabilities in place of them, float64."""
    logits = [_mean_logits(task, item) for item in items]
    if task.decoder == "softmax" or not items:
        return logits
    output = items[0].outputs[0]
    rules = [np.asarray(output[key]) for key in ("transitions_KK", "start_K", "end_K")]
    return [np.log(np.maximum(chance_NK, LEAST)) for chance_NK in marginals(logits, *rules)]


def probabilities(task: SentenceClassification, items: Sequence[Item]) -> list[Array]:
    """Calibrated probabilities `(N, K)` of the labels of the sentences of each item."""
    return [softmax(logits_NK / task.temperature) for logits_NK in label_logits(task, items)]


def one_by_one(
    answers: DocumentAnswers, examples: Sequence[LabelledDocument]
) -> tuple[list[list[dict[str, Any]]], list[LabelledText]]:
    """Answers and examples of documents as those of their sentences."""
    return [[entry] for [answer] in answers for entry in answer], [text for example in examples for text in example.texts()]


def _mean_logits(task: SentenceClassification, item: Item) -> Array:
    offsets_N2 = np.array(item.words or (), np.int64).reshape(-1, 2)
    if not len(offsets_N2):
        return np.zeros((0, len(task.labels)))
    row_P, sentence_P = tokens_of_sentences(offsets_N2, item.encodings)
    logits_TK = np.concatenate([output[task.scores_key] for output in item.outputs]).astype(np.float64)
    count_N = np.bincount(sentence_P)
    sums_NK: Array = np.add.reduceat(logits_TK[row_P], np.cumsum(count_N) - count_N)
    return sums_NK / count_N[:, None]
