"""Spans from the scores of tags.

Decided here:
- Both decoders run Viterbi under the rules of IOB2, so an `I-` never opens a span; `softmax` has no learned transitions.
- The score of a span is the probability that it is right: its probability under the CRF, or the mean probability of its
  tags, calibrated on the spans found in validation data (`metrics/calibration.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.metrics.calibration import softmax
from manyheads.nn.forward_backward import marginals, span_probabilities
from manyheads.nn.iob2 import FORBIDDEN, iob2_rules
from manyheads.nn.multiword_pieces import word_scores
from manyheads.nn.viterbi import viterbi
from manyheads.tasks.base import Item
from manyheads.tasks.token_classification.tag_layers import apart
from manyheads.tasks.words import owned_words
from manyheads.text.spans import Span, spans_of_tags
from manyheads.text.units import first_units, units

if TYPE_CHECKING:
    from manyheads.tasks.token_classification.tag_layers import TagLayer
    from manyheads.tasks.token_classification.task import TokenClassification

Rules = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Transition, start and end scores."""


@dataclass(frozen=True, slots=True)
class Emissions:
    """Scores of the tags of a text's units, or of its given words."""

    offsets_W2: np.ndarray
    scores_WK: np.ndarray
    first_W: np.ndarray | None = None
    """For each unit, the first of its word; None where each unit is decoded by itself."""

    def word_path(self, path_W: np.ndarray) -> np.ndarray:
        """A path of tags in which all units of a word have the tag of its first."""
        if self.first_W is None:
            return path_W
        tag_W = path_W[self.first_W]
        return np.where(self.first_W < np.arange(len(path_W)), tag_W + tag_W % 2, tag_W)  # I follows B in the tags


def decode(task: TokenClassification, items: Sequence[Item]) -> list[list[dict[str, Any]]]:
    """Spans in reading order, outer ones first, each with `start`, `end`, `label`, `text`, `score`."""
    texts = [_emissions(task, item) for item in items]
    answers: list[list[dict[str, Any]]] = [[] for _ in items]
    for layer in task.layers:
        rules = transition_rules(task, layer, items)
        emissions = [text.scores_WK[:, layer.columns] for text in texts]
        paths = [text.word_path(path_W) for text, path_W in zip(texts, viterbi(emissions, *rules), strict=True)]
        tags = np.array(layer.tags)
        found = [spans_of_tags(tags[path_W].tolist()) if path_W.any() else [] for path_W in paths]
        scores = _span_scores(task, emissions, paths, found, rules)
        for answer, item, text, spans, raw in zip(answers, items, texts, found, scores, strict=True):
            scaled = task.scale.applied(np.array(raw)).tolist()
            answer.extend(_answer(item.source.first, text.offsets_W2, spans, scaled))
    if len(task.layers) > 1:
        answers = [apart(answer, task.may_overlap) for answer in answers]
        for answer in answers:
            answer.sort(key=lambda span: (span["start"], -span["end"], span["label"]))
    return [task.kept(answer) for answer in answers]


def word_probabilities(task: TokenClassification, item: Item) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the tags of each unit or given word, `(W, K)`: marginals of the CRF, or softmax, in each layer."""
    text = _emissions(task, item)
    chance_WK = layer_probabilities(task, text.scores_WK, [item], exact=task.decoder == "crf")
    if text.first_W is None:
        return text.offsets_W2, chance_WK
    first_V = np.unique(text.first_W)
    return text.offsets_W2[first_V], chance_WK[first_V]


def layer_probabilities(
    task: TokenClassification, scores_WK: np.ndarray, items: Sequence[Item], *, exact: bool
) -> np.ndarray:
    """Probabilities `(W, K)` of tags, which add up to 1 in each layer: by softmax, or if `exact` over all paths of tags."""
    chances = []
    for layer in task.layers:
        scores_WC = scores_WK[:, layer.columns]
        rules = transition_rules(task, layer, items)
        chances.append(marginals([scores_WC], *rules)[0] if exact else softmax(scores_WC.astype(np.float64)))
    return np.concatenate(chances, axis=1)


def unit_emissions(task: TokenClassification, item: Item) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offsets `(W, 2)` of the units of an item, their scores `(W, K)` from the windows that own them, and which have any."""
    offsets = units(item.source.first, task.unit, item.words)
    scores_WK = np.zeros((len(offsets), len(task.output_names)), np.float32)
    seen_W = np.zeros(len(offsets), bool)
    layers = [layer.columns for layer in task.layers]
    for window in owned_words(offsets, item):
        scores_LK = window.output[task.scores_key]
        scores_WK[window.word_W] = word_scores(scores_LK, window.output, window.piece_W, window.place_W, layers)
        seen_W[window.word_W] = True
    return offsets, scores_WK, seen_W


def transition_rules(task: TokenClassification, layer: TagLayer, items: Sequence[Item]) -> Rules:
    """Learned with a CRF; without one, zero or forbidden."""
    if task.decoder == "crf" and items:
        output = items[0].outputs[0]
        return layer.rules(tuple(np.asarray(output[key]) for key in task.rule_keys))
    transitions_CC, start_C, end_C = iob2_rules(layer.tags)
    return transitions_CC, start_C, end_C


def _emissions(task: TokenClassification, item: Item) -> Emissions:
    offsets, scores_WK, seen_W = unit_emissions(task, item)
    if item.words is None:
        return Emissions(offsets[seen_W], scores_WK[seen_W])
    words_W2 = np.array(item.words, np.int64)
    if task.decoder == "softmax":
        first = first_units(offsets, item.words)
        return Emissions(words_W2[seen_W[first]], scores_WK[first][seen_W[first]])
    units_U2, scores_UK = offsets[seen_W], scores_WK[seen_W]
    word_U = np.searchsorted(words_W2[:, 1], units_U2[:, 0], side="right")
    first_U = np.searchsorted(word_U, word_U)
    begins = np.array([name.startswith("B-") for name in task.output_names])
    scores_UK[np.ix_(first_U < np.arange(len(first_U)), begins)] += FORBIDDEN  # a span begins at the first unit of a word
    return Emissions(words_W2[word_U], scores_UK, first_U)


def _span_scores(
    task: TokenClassification,
    emissions: Sequence[np.ndarray],
    paths: Sequence[np.ndarray],
    found: Sequence[Sequence[Span]],
    rules: Rules,
) -> list[Any]:
    """The CRF's exact probability of each span; with softmax the mean probability of its tags."""
    if task.decoder == "crf":
        chosen = [
            [(s.start, s.end, path_W[s.start : s.end]) for s in spans] for spans, path_W in zip(found, paths, strict=True)
        ]
        return list(span_probabilities(emissions, chosen, *rules))
    scores: list[Any] = []
    for scores_WK, path_W, spans in zip(emissions, paths, found, strict=True):
        if not spans:
            scores.append([])
            continue
        chance_W = softmax(scores_WK)[np.arange(len(path_W)), path_W]
        scores.append([float(chance_W[s.start : s.end].mean()) for s in spans])
    return scores


def _answer(text: str, offsets: np.ndarray, spans: Sequence[Span], scores: Sequence[float]) -> list[dict[str, Any]]:
    answer = []
    for span, score in zip(spans, scores, strict=True):
        start, end = int(offsets[span.start, 0]), int(offsets[span.end - 1, 1])
        answer.append({"start": start, "end": end, "label": span.label, "text": text[start:end], "score": float(score)})
    return answer
