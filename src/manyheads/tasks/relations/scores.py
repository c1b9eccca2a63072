"""Metrics of relations, and the calibration and threshold fitted on validation data.

    f1, precision, recall   for gold entities; between concepts where the data relates concepts (as BC5CDR's scorer counts:
                            each pair of identifiers of a document once)
    strict_f1               end to end: offsets and types of both entities, and the label
    boundaries_f1           end to end, whatever the types of the entities
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.metrics.calibration import expected_calibration_error, f1_threshold, fitted_scale
from manyheads.metrics.entities import entity_scores
from manyheads.metrics.evidence import Tally, grouped
from manyheads.tasks.relations.candidates import gold_pairs
from manyheads.tasks.spans import SpanExample

if TYPE_CHECKING:
    from manyheads.html.page import Part
    from manyheads.tasks.base import Task
    from manyheads.tasks.relations.decoding import Relation
    from manyheads.tasks.relations.task import Relations

Answers = Sequence[Sequence["list[Relation] | None"]]
Key = tuple[Any, Any, str]
"""Head, tail and label of a relation."""
BELOW_ONE = float(np.nextafter(1.0, 0.0))


def score(task: Relations, answers: Answers, examples: Sequence[SpanExample]) -> dict[str, float]:
    """The metrics above; `ece` of the relations found between gold entities; `out_of_reach`, if any, of gold ones."""
    gold = [_gold(task, example) for example in examples]
    found = [_found(task, task.given(answered[0]), example) for answered, example in zip(answers, examples, strict=True)]
    metrics = entity_scores(gold, found).to_metrics()
    sure, right = _correctness([[task.given(answered[0])] for answered in answers], examples)
    if sure:
        metrics["ece"] = expected_calibration_error(sure, right)
    ends = [answered[1] for answered in answers if len(answered) > 1 and answered[1] is not None]
    if not task.concepts and examples and len(ends) == len(examples):
        for name, part in (("strict_f1", slice(None)), ("boundaries_f1", slice(2))):
            wanted = [
                {(e.spans[head].span[part], e.spans[tail].span[part], label) for head, tail, label in gold_pairs(e)}
                for e in examples
            ]
            given = [{(*(end[part] for end in one["spans"]), one["label"]) for one in task.given(answer)} for answer in ends]
            metrics[name] = entity_scores(wanted, given).total.f1  # type: ignore[arg-type]
    return metrics


def evidence(task: Relations, answers: Answers, examples: Sequence[SpanExample], clusters: Sequence[str]) -> Tally:
    """Right, found and gold relations between gold entities."""
    counts = []
    for answered, example in zip(answers, examples, strict=True):
        gold, found = _gold(task, example), _found(task, task.given(answered[0]), example)
        counts.append([len(gold & found), len(found), len(gold)])
    return Tally(grouped(np.array(counts), clusters), "f1")


def degenerate_reason(task: Relations, answers: Answers, examples: Sequence[SpanExample]) -> str | None:
    """When no relation is found, or none that is right."""
    if not examples:
        return None
    right, found, gold = map(int, evidence(task, answers, examples, [""] * len(examples)).counts_CM.sum(0))
    if right or not gold:
        return None
    return f"finds none of the {gold:,} relations" + (f"; the {found:,} it finds are wrong" if found else "")


def chance(task: Relations, examples: Sequence[SpanExample]) -> dict[str, float]:
    """Every candidate pair of types related by its most frequent label, at any distance."""
    usual = task.usual_labels
    found = []
    for example in examples:
        spans = list(enumerate(example.spans))
        pairs = [(h, t, usual.get((one.label, other.label))) for (h, one), (t, other) in product(spans, spans) if h != t]
        found.append(_found(task, [{"head": h, "tail": t, "label": label} for h, t, label in pairs if label], example))
    return entity_scores([_gold(task, example) for example in examples], found).to_metrics()


def calibrate(task: Relations, answers: Answers, examples: Sequence[SpanExample]) -> Relations:
    """Fit the scale of scores to the pairs of gold entities, and the threshold with the best F1."""
    sure, right = _correctness(answers, examples)
    if not any(right):
        return task
    raw_N = task.scale.undone(np.array(sure))
    scale = fitted_scale(raw_N, right)
    golds = sum(len(gold_pairs(example)) for example in examples)
    best = min(f1_threshold(scale.applied(raw_N), right, golds), BELOW_ONE)
    return replace(task, temperature=scale.temperature, score_bias=scale.bias, tuned_threshold=best)


def recalibrate(task: Relations, answers: Answers, before: Task[SpanExample]) -> list[list[list[Relation] | None]]:
    """The same relations with calibrated scores, without those below the threshold."""
    assert isinstance(before, type(task)), "the same task"
    return [
        [None if answer is None else task.kept(task.rescaled(answer, before.scale)) for answer in answered]
        for answered in answers
    ]


def findings(task: Relations, answers: Answers, examples: Sequence[SpanExample]) -> list[Part]:
    """Scores by label, and mistakes between gold entities in context."""
    from manyheads.tasks.span_mistakes import SpanMistake, mistakes_in_context

    gold, found = [], []
    wrong = []
    for answered, example in zip(answers, examples, strict=True):
        given = {(one["head"], one["tail"], one["label"]): one["score"] for one in task.given(answered[0])}
        right = gold_pairs(example)
        gold.append(right)
        found.append(set(given))
        for head, tail, label in sorted(right ^ set(given)):
            ends = tuple((example.spans[place].start, example.spans[place].end) for place in (head, tail))
            is_gold = (head, tail, label) in right
            named = f"{example.text[slice(*ends[0])]} {label} {example.text[slice(*ends[1])]}"
            wrong.append(SpanMistake(example.text, ends, named if is_gold else "", "" if is_gold else named,
                                     given.get((head, tail, label), 0.0)))  # fmt: skip
    scores = entity_scores(gold, found)
    return mistakes_in_context(dict(scores.labels), wrong, scores.total.gold, "gold relations")


def _gold(task: Relations, example: SpanExample) -> set[Key]:
    if task.concepts:
        return {(*one.concepts, one.label) for one in example.relations if one.concepts}
    return gold_pairs(example)


def _found(task: Relations, answer: Sequence[Relation], example: SpanExample) -> set[Key]:
    """What is found between gold entities, in terms of `_gold`."""
    if not task.concepts:
        return {(one["head"], one["tail"], one["label"]) for one in answer}
    return {
        (head, tail, one["label"])
        for one in answer
        for head, tail in product(example.spans[one["head"]].links, example.spans[one["tail"]].links)
    }


def _correctness(answers: Answers, examples: Sequence[SpanExample]) -> tuple[list[float], list[bool]]:
    """The score of each relation between gold entities, and whether it is right."""
    sure, right = [], []
    for answered, example in zip(answers, examples, strict=True):
        gold = gold_pairs(example)
        for one in answered[0] or ():
            sure.append(one["score"])
            right.append((one["head"], one["tail"], one["label"]) in gold)
    return sure, right
