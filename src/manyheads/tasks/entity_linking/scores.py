"""Metrics of linking, and what is fitted on validation data.

    accuracy_at_1      gold entities of linked types with the right identifier, or with none where the dictionary lacks theirs
    accuracy_at_5      the same, if one of the first five candidates is right
    candidate_recall   of the entities whose concept the dictionary has, those whose concept is a candidate at all
    nil_f1             of the answer "none", if some gold entities are outside the dictionary
    strict_f1          end to end: offsets and type of the entity, and the identifier

An entity with several identifiers (a composite mention) is right with any of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from manyheads.metrics.calibration import expected_calibration_error
from manyheads.metrics.evidence import Tally, grouped
from manyheads.metrics.labels import Counts
from manyheads.tasks.entity_linking.decoding import Link, ranked, shares
from manyheads.tasks.entity_linking.ranking import Ranked, fit_threshold, fit_weights
from manyheads.tasks.spans import GoldSpan, SpanExample

if TYPE_CHECKING:
    from manyheads.html.page import Part
    from manyheads.tasks.entity_linking.task import EntityLinking

Answers = Sequence[Sequence["list[Link] | None"]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One gold entity with its answer."""

    example: SpanExample
    gold: GoldSpan
    outside: bool
    """Whether the dictionary has none of its identifiers."""
    link: Link | None
    """None for an entity without a token."""

    @property
    def answered(self) -> str | None:
        """The identifier given."""
        return None if self.link is None else self.link["id"]

    @property
    def score(self) -> float:
        """The score of the answer."""
        return 0.0 if self.link is None else self.link["score"]

    @property
    def right(self) -> bool:
        """Whether the answer is right."""
        return self.answered is None if self.outside else self.answered in self.gold.links

    @property
    def near(self) -> bool:
        """Whether one of the first candidates is."""
        listed = [] if self.link is None else self.link["candidates"]
        return self.right if self.outside else any(one["id"] in self.gold.links for one in listed)


def outcomes(task: EntityLinking, answers: Answers, examples: Sequence[SpanExample]) -> Iterator[Outcome]:
    """All gold entities of linked types, with answers as the task scores them now."""
    for answered, example in zip(answers, examples, strict=True):
        found = {one["entity"]: ranked(task, one) for one in answered[0] or ()}
        for place, one in enumerate(example.spans):
            if one.label in task.types:
                yield Outcome(example, one, not _places(task, one), found.get(place))


def _places(task: EntityLinking, one: GoldSpan) -> list[int]:
    return [] if task.dictionary is None else task.dictionary.places(one.links)


def score(task: EntityLinking, answers: Answers, examples: Sequence[SpanExample]) -> dict[str, float]:
    """The metrics above, and `ece` of the scores."""
    every = list(outcomes(task, answers, examples))
    metrics = {"accuracy_at_1": _mean([one.right for one in every]), "accuracy_at_5": _mean([one.near for one in every])}
    inside = [one for one in every if not one.outside]
    if inside:
        metrics["candidate_recall"] = _mean([_is_candidate(task, one) for one in inside])
    if len(inside) < len(every):
        none = [one for one in every if one.answered is None]
        metrics["nil_f1"] = Counts(sum(one.right for one in none), len(every) - len(inside), len(none)).f1
    sure = [one for one in every if one.link is not None]
    if sure:
        metrics["ece"] = expected_calibration_error([one.score for one in sure], [one.right for one in sure])
    ends = [answered[1] for answered in answers if len(answered) > 1 and answered[1] is not None]
    if examples and len(ends) == len(examples):
        metrics["strict_f1"] = _end_to_end(task, ends, examples).f1
    return metrics


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0


def _is_candidate(task: EntityLinking, one: Outcome) -> bool:
    return one.link is not None and bool(np.isin(_places(task, one.gold), one.link["concepts"]).any())


def _end_to_end(task: EntityLinking, ends: Sequence[Sequence[Link]], examples: Sequence[SpanExample]) -> Counts:
    right = found = gold = 0
    for links, example in zip(ends, examples, strict=True):
        wanted = {one.span: one.links for one in example.spans if one.label in task.types and _places(task, one)}
        given = {(one["span"], identifier) for one in links if (identifier := ranked(task, one)["id"]) is not None}
        gold += len(wanted)
        found += len(given)
        right += sum(identifier in wanted.get(span, ()) for span, identifier in given)
    return Counts(right, gold, found)


def evidence(task: EntityLinking, answers: Answers, examples: Sequence[SpanExample], clusters: Sequence[str]) -> Tally:
    """Right and all gold entities."""
    counts_E2 = np.zeros((len(examples), 2))
    for row_2, answered, example in zip(counts_E2, answers, examples, strict=True):
        right = [one.right for one in outcomes(task, [answered], [example])]
        row_2[:] = sum(right), len(right)
    return Tally(grouped(counts_E2, clusters), "mean")


def degenerate_reason(task: EntityLinking, answers: Answers, examples: Sequence[SpanExample]) -> str | None:
    """When every entity gets the same answer."""
    every = list(outcomes(task, answers, examples))
    golds, given = {frozenset(one.gold.links) for one in every}, {one.answered for one in every}
    if len(golds) < 2 or len(given) > 1:
        return None
    [only] = given
    return f"links all {len(every):,} entities to {'nothing' if only is None else repr(only)}"


def chance(task: EntityLinking, examples: Sequence[SpanExample]) -> dict[str, float]:
    """The most frequent identifier, or none, for every entity."""
    golds: Counter[str | None] = Counter()
    count = 0
    for one in (one for example in examples for one in example.spans if one.label in task.types):
        golds.update(set(one.links) if _places(task, one) else {None})
        count += 1
    return {"accuracy_at_1": max(golds.values()) / count} if count else {}


def calibrate(task: EntityLinking, answers: Answers, examples: Sequence[SpanExample]) -> EntityLinking:
    """Fit weights and threshold to gold entities."""
    found = [(one, one.link) for one in outcomes(task, answers, examples) if one.link is not None]
    if not any(not one.outside for one, _ in found):
        return task
    mentions = [
        Ranked(link["features"], np.isin(link["concepts"], _places(task, one.gold)), one.outside) for one, link in found
    ]
    weights, none = fit_weights(mentions)
    fitted = replace(task, weights=weights, none_logit=none, tuned_threshold=0.0)
    best, right, outside = [], [], []
    for one in mentions:
        share_C, left = shares(fitted, one.feature_CF)
        top = int(share_C.argmax()) if len(share_C) else -1
        if top >= 0 and share_C[top] >= left:
            best.append(share_C[top])
            right.append(bool(one.right_C[top]))
            outside.append(one.outside)
    return replace(fitted, tuned_threshold=fit_threshold(np.array(best), np.array(right, bool), np.array(outside, bool)))


def recalibrate(task: EntityLinking, answers: Answers, before: object) -> list[list[list[Link] | None]]:
    """The same candidates, scored anew."""
    return [
        [None if answer is None else [ranked(task, one) for one in answer] for answer in answered] for answered in answers
    ]


def findings(task: EntityLinking, answers: Answers, examples: Sequence[SpanExample]) -> list[Part]:
    """Scores by type of entity, and mistakes in context."""
    from manyheads.tasks.span_mistakes import SpanMistake, mistakes_in_context

    every, counts = list(outcomes(task, answers, examples)), dict[str, Counts]()
    for label in sorted({one.gold.label for one in every}):
        mine = [one for one in every if one.gold.label == label]
        given = [one for one in mine if one.answered is not None]
        counts[label] = Counts(sum(one.right for one in given), sum(not one.outside for one in mine), len(given))
    wrong = []
    for one in (one for one in every if not one.right and one.link is not None):
        gold = "" if one.outside else " or ".join(_named(task, c) for c in _places(task, one.gold))
        answered = "" if one.link is None or one.answered is None else f"{one.answered} {one.link['name']}"
        wrong.append(SpanMistake(one.example.text, ((one.gold.start, one.gold.end),), gold, answered, one.score))
    return mistakes_in_context(counts, wrong, len(every), "gold entities")


def _named(task: EntityLinking, concept: int) -> str:
    assert task.dictionary is not None, "concepts come from a dictionary"
    return f"{task.dictionary.ids[concept]} {task.dictionary.name_of(concept)}"
