"""Metrics of entity recognition, and the calibration and threshold fitted to the spans found in validation data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.metrics.calibration import expected_calibration_error, f1_threshold, fitted_scale
from manyheads.metrics.entities import Span, entity_scores, token_accuracy
from manyheads.metrics.evidence import Tally, grouped
from manyheads.metrics.partial_matches import partial_scores
from manyheads.text.entities import EntityExample
from manyheads.text.spans import edges_of, longest_apart, tags_of_char_spans
from manyheads.text.units import units

if TYPE_CHECKING:
    from manyheads.tasks.base import Task
    from manyheads.tasks.token_classification.task import TokenClassification

Answers = Sequence[Sequence[list[dict[str, Any]]]]

BELOW_ONE = float(np.nextafter(1.0, 0.0))
"""The highest threshold; a score can be rounded to 1."""
OUT_OF_REACH = "gold spans can equal no answer"
"""Warning about spans that begin or end inside a unit."""


def score(task: TokenClassification, answers: Answers, examples: Sequence[EntityExample]) -> dict[str, float]:
    """Micro precision, recall and F1 of entities by exact offsets; accuracy of word tags; `ece` of the spans found."""
    found = spans_of(answers)
    gold = [gold_spans(example) for example in examples]
    gold_tags, found_tags = [], []
    for example, spans in zip(examples, found, strict=True):
        offsets = example.words if example.words is not None else units(example.text, task.unit)
        gold_tags.append(word_tags(task, offsets, example.spans))
        found_tags.append(word_tags(task, offsets, spans))
    metrics = {**entity_scores(gold, found).to_metrics(), **partial_scores(gold, found)}
    confidences, right = _correctness(answers, examples)
    calibration = {"ece": expected_calibration_error(confidences, right)} if confidences else {}
    missed = sum(len(task.misfits(example)) + len(example.discontinuous) for example in examples)
    share = {"out_of_reach": missed / sum(map(len, gold))} if missed else {}
    return {**metrics, "token_accuracy": token_accuracy(gold_tags, found_tags), **share, **calibration}


def evidence(
    task: TokenClassification, answers: Answers, examples: Sequence[EntityExample], clusters: Sequence[str]
) -> Tally:
    """Correct, found and gold entities."""
    counts = []
    for example, found in zip(examples, map(set, spans_of(answers)), strict=True):
        gold = set(gold_spans(example))
        counts.append([len(gold & found), len(found), len(gold)])
    return Tally(grouped(np.array(counts), clusters), "f1")


def degenerate_reason(task: TokenClassification, answers: Answers, examples: Sequence[EntityExample]) -> str | None:
    """When no entity is found, or none that is right."""
    found_N = evidence(task, answers, examples, [""] * len(examples)).counts_CM.sum(0) if examples else np.zeros(3)
    right, found, gold = map(int, found_N)
    if right or not gold:
        return None
    return f"finds none of the {gold:,} entities" + (f"; the {found:,} it finds are wrong" if found else "")


def calibrate(task: TokenClassification, answers: Answers, examples: Sequence[EntityExample]) -> TokenClassification:
    """Fit the scale of scores to the spans found, and with `threshold: auto` the threshold with the best F1."""
    confidences, right = _correctness(answers, examples)
    if not confidences:
        return task
    raw_N = task.scale.undone(np.array(confidences))
    scale = fitted_scale(raw_N, right)
    fitted = replace(task, temperature=scale.temperature, score_bias=scale.bias)
    if task.threshold != "auto" or not any(right):
        return fitted
    golds = sum(len(gold_spans(example)) for example in examples)
    return replace(fitted, threshold=min(f1_threshold(scale.applied(raw_N), right, golds), BELOW_ONE))


def recalibrate(
    task: TokenClassification, answers: Answers, before: Task[EntityExample]
) -> list[list[list[dict[str, Any]]]]:
    """The same spans with calibrated scores, without those below the threshold."""
    assert isinstance(before, type(task)), "the same task"
    return [[task.kept(task.rescaled(answer[0], before.scale))] for answer in answers]


def spans_of(answers: Answers) -> list[list[Span]]:
    """The spans of each text, without their scores."""
    return [[(span["start"], span["end"], span["label"]) for span in answer[0]] for answer in answers]


def gold_spans(example: EntityExample) -> list[Span]:
    """The gold spans of a text. A discontinuous one has its extent, and a label that no answer has."""
    apart = [(span.start, span.end, f"{span.label} {span.pieces}") for span in example.discontinuous]
    return [*example.spans, *apart]


def word_tags(task: TokenClassification, offsets: Any, spans: Sequence[Span]) -> list[str]:
    """The tag of each word; with several layers, those that are not `O`."""
    layers = [[span for span in spans if span[2] in layer.labels] for layer in task.layers]
    if len(layers) == 1:
        return tags_of_char_spans(offsets, spans)[0]
    tags = zip(*(tags_of_char_spans(offsets, longest_apart(mine, edges_of))[0] for mine in layers), strict=True)
    return [" ".join(tag for tag in of_word if tag != "O") or "O" for of_word in tags]


def _correctness(answers: Answers, examples: Sequence[EntityExample]) -> tuple[list[float], list[bool]]:
    """The score of each span found, and whether it is right."""
    confidences = [span["score"] for answer in answers for span in answer[0]]
    right = [span in example.spans for example, found in zip(examples, spans_of(answers), strict=True) for span in found]
    return confidences, right
