"""A class for each entity of another task: negated, hypothetical, of the family; any attribute with a few values.

Decided here:
- The score of a class is the sum of three means of a linear layer: over the words of the span, over up to REACH words before
  it and as many after it. The encoder's states already know their sentence; the neighbours let a head on a frozen encoder
  see the cue ("no", "mother has") as well. The problem stays convex, so it is solved before everything trains.
- Only entities of types that carry the attribute somewhere in the training data are classified. Those of them without it
  have the class `none`, or `false` if the attribute is true or false.
- `macro_f1`, `accuracy` and the rest are for gold entities. `strict_f1` counts entities that are found, with the right
  offsets, type and class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from annotated_types import Gt

from manyheads.errors import DataError, RowError
from manyheads.metrics.calibration import class_temperature, expected_calibration_error, softmax
from manyheads.metrics.entities import entity_scores
from manyheads.metrics.evidence import Tally, grouped
from manyheads.metrics.labels import label_counts, single_label_scores
from manyheads.tasks.base import AnswerForm, Array, DataStatistics, Encodings, Item, Level, Loss, Output, Row, Task
from manyheads.tasks.settings import DERIVED, NAMES, Doc, derived_settings
from manyheads.tasks.spans import (
    SpanExample,
    SpanTask,
    SpanWords,
    found_spans,
    neighbours,
    range_means,
    range_means_in_torch,
    spans_of_examples,
    spans_of_items,
    token_values,
)
from manyheads.tasks.statistics import grown_labels

if TYPE_CHECKING:
    import torch
    from torch import nn

    from manyheads.html.page import Part
    from manyheads.tasks.file_rows import FileRow, FileScores

REACH = 6
"""Words before and after a span that take part in its scores."""
HAS, LACKS, NAMED = "has", "lacks", "named values"
"""Flags of training data: types of entities with and without the attribute, and values other than true and false."""

Answer = list[dict[str, Any]] | None
"""For each entity its place, label, score, all scores, and `span`; None if there is no task to find entities."""


@dataclass(frozen=True, kw_only=True)
class SpanClassification(SpanTask):
    """One of several classes for each entity. The attribute of the rows' entities is named like the task."""

    kind: ClassVar[str] = "span-classification"
    main_metric: ClassVar[str] = "macro_f1"
    metric_names: ClassVar[tuple[str, ...]] = ("macro_f1", "accuracy", "micro_f1", "weighted_f1", "strict_f1")
    entry_keys: ClassVar[frozenset[str]] = frozenset({"entity", "label"})
    answer_form: ClassVar[AnswerForm] = "attributes"
    outputs: ClassVar[Mapping[str, Level]] = {"scores_TX": "token"}

    attribute: Annotated[str | None, Doc("of the entities in the rows; none: the name of the task")] = None
    labels: Annotated[tuple[str, ...], NAMES, Doc("the classes; none: those of the data")] = ()
    types: Annotated[tuple[str, ...], DERIVED] = ()
    """Types of the entities that are classified."""
    absent: Annotated[str, DERIVED] = "none"
    """The class of an entity of these types without the attribute."""
    temperature: Annotated[float, Gt(0), DERIVED] = 1.0
    """Divisor of the scores; fitted on validation data."""

    @property
    def reading(self) -> tuple[str, ...]:
        """The attribute, whose values are counted."""
        return (self.attribute or self.name,)

    def value(self, attributes: Mapping[str, Any]) -> str | None:
        """The attribute as a class; None if it is absent. Raises RowError for a list or an object."""
        value = attributes.get(self.attribute or self.name)
        if value is None:
            return None
        if isinstance(value, bool):
            return str(value).lower()
        if not isinstance(value, str | int | float) or value == "":
            name = self.attribute or self.name
            raise RowError(f"attribute '{name}' is {value!r:.80}; give a string, a number, true or false")
        return str(value)

    def gold(self, example: SpanExample) -> list[str | None]:
        """The class of each entity; None for entities of other types."""
        return [
            (self.value(one.attributes) or self.absent) if one.label in self.types else None for one in example.spans
        ]

    def collect(self, example: SpanExample) -> DataStatistics:
        """Counts of values, and which types of entities have the attribute."""
        values = [self.value(one.attributes) for one in example.spans]
        flags = {f"{LACKS if value is None else HAS} {one.label}" for one, value in zip(example.spans, values, strict=True)}
        given = Counter(value for value in values if value is not None)
        named = set() if {"true", "false"} >= set(given) else {NAMED}
        return DataStatistics(given, frozenset(flags | named))

    @classmethod
    def suitability(cls, statistics: DataStatistics) -> float:
        """0.95 if entities have the attribute."""
        return 0.95 if statistics.labels else 0.0

    def fit(self, statistics: DataStatistics) -> SpanClassification:
        """Classes, and the types of entities that have any."""
        flags = statistics.flags
        types = tuple(sorted(flag.partition(" ")[2] for flag in flags if flag.startswith(f"{HAS} ")))
        absent = "none" if NAMED in flags else "false"
        lacking = any(f"{LACKS} {name}" in flags for name in types)
        labels = self.labels or tuple(sorted({*statistics.labels, *([absent] if lacking else [])}))
        if len(labels) < 2:
            name = self.attribute or self.name
            seen = f"only the value {labels[0]!r}" if labels else "no value"
            raise DataError(f"task '{self.name}': the entities of the training data have {seen} of the attribute '{name}'; "
                            "set `attribute` to the name of one that varies")  # fmt: skip
        return replace(self, labels=labels, types=types, absent=absent)

    def fit_from(self, before: Task[SpanExample], statistics: DataStatistics) -> SpanClassification:
        """With the classes that the task had, and new ones of the data after them."""
        fitted = replace(self, **derived_settings(before)).fit(statistics)
        return replace(fitted, labels=grown_labels(self.labels, before.label_names, fitted.labels))

    @property
    def output_names(self) -> tuple[str, ...]:
        """The classes in the span, before it and after it."""
        return tuple(f"{label}{where}" for where in ("", " before", " after") for label in self.labels)

    def outputs_of_label(self, label: str) -> tuple[str, ...]:
        """Its three columns."""
        return (label, f"{label} before", f"{label} after")

    def validate(self, example: SpanExample) -> None:
        """Every class must be in the training data."""
        for value in self.gold(example):
            if value is not None and value not in self.label_places:
                raise RowError(f"class {value!r} is not in the training data, which has {', '.join(self.labels)[:200]}")

    def build_head(self, width: int) -> nn.Module:
        """Dropout and a linear layer on each token."""
        from manyheads.nn.heads import TokenHead

        return TokenHead(width, 3 * len(self.labels), self.dropout, key="scores_TX")

    def targets(self, examples: Sequence[SpanExample], encodings: Encodings) -> dict[str, Array]:
        """The class of each of N spans, and the bounds of its words and their neighbours."""
        place = {label: k for k, label in enumerate(self.labels)}
        gold = [place.get(label, -1) if label is not None else -1 for e in examples for label in self.gold(e)]
        return self._bounds(spans_of_examples(examples, encodings), np.array(gold, np.int64))

    def _bounds(self, words: SpanWords, label_N: Array) -> dict[str, Array]:
        """Of the spans that have a class and a token."""
        kept = np.flatnonzero((label_N >= 0) & (words.stop_N > words.first_N))
        begin_N, end_N = (edge_N[kept] for edge_N in words.texts)
        return {
            "row_W": words.row_W, "bounds": words.bounds, "first_N": words.first_N[kept], "stop_N": words.stop_N[kept],
            "begin_N": begin_N, "end_N": end_N, "label_N": label_N[kept],
        }  # fmt: skip

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Number of spans."""
        return float(len(targets["label_N"]))

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """Mean cross entropy over gold spans; the chance loss is log(K).

        A span that the entity task finds with other boundaries has half of its gold span's weight.
        """
        import torch
        from torch.nn.functional import cross_entropy

        scores_TX, label_N = output["scores_TX"], targets["label_N"]
        chance_loss = float(np.log(len(self.labels)))
        if not len(label_N):
            return Loss(scores_TX.sum() * 0.0, chance_loss)
        bounds = [targets[key] for key in ("first_N", "stop_N", "begin_N", "end_N")]
        place_V, *edges = (torch.from_numpy(part).to(label_N.device) for part in found_spans(output, targets))
        if len(place_V):
            added = [*edges, bounds[2][place_V], bounds[3][place_V]]
            bounds = [torch.cat(pair) for pair in zip(bounds, added, strict=True)]
        blocks = scores_TX[targets["row_W"]].chunk(3, 1)
        ranges = (bounds[:2], *neighbours(*bounds, words=REACH))
        means = [range_means_in_torch(block, *ends) for block, ends in zip(blocks, ranges, strict=True)]
        logits_MK = means[0] + means[1] + means[2]
        if not len(place_V):
            return Loss(cross_entropy(logits_MK, label_N), chance_loss)
        loss_M = cross_entropy(logits_MK, torch.cat([label_N, label_N[place_V]]), reduction="none")
        weight_N = loss_M.new_ones(len(label_N)).index_fill(0, place_V, 0.5)
        return Loss((loss_M * torch.cat([weight_N, weight_N[place_V]])).sum() / len(label_N), chance_loss)

    def decode(self, items: Sequence[Item]) -> list[Answer]:
        """The class of each entity of the types that are classified, with its place among the entities."""
        if not items:
            return []
        spans = [item.spans or () for item in items]
        asked = np.array([-1 if span[2] not in self.types else 0 for mine in spans for span in mine], np.int64)
        words = spans_of_items(items)
        bounds = self._bounds(words, asked)
        blocks = token_values(items, "scores_TX")[bounds["row_W"]].reshape(len(bounds["row_W"]), 3, -1)
        edges = [bounds[key] for key in ("first_N", "stop_N", "begin_N", "end_N")]
        ranges = (edges[:2], *neighbours(*edges, words=REACH))
        logits_NK = np.sum([range_means(blocks[:, k], *pair) for k, pair in enumerate(ranges)], axis=0)
        chance_NK = softmax(logits_NK / self.temperature)
        answers: list[list[dict[str, Any]]] = [[] for _ in items]
        places = [(i, k) for i, mine in enumerate(spans) for k in range(len(mine))]
        kept = np.flatnonzero((asked >= 0) & (words.stop_N > words.first_N)).tolist()
        for n, chance_K in zip(kept, chance_NK, strict=True):
            i, k = places[n]
            best = int(chance_K.argmax())
            scores = dict(zip(self.labels, chance_K.tolist(), strict=True))
            answers[i].append({"entity": k, "label": self.labels[best], "score": scores[self.labels[best]],
                               "scores": scores, "span": tuple(spans[i][k])})  # fmt: skip
        return [None if item.spans is None else answer for item, answer in zip(items, answers, strict=True)]

    def answer_keys(self, answer: Answer) -> dict[str, Any]:
        """`entity`, the place among the entities of the other task's answer, `label` and `score`."""
        keys = ("entity", "label")
        return {self.name: [{**{key: one[key] for key in keys}, "score": round(one["score"], 6)} for one in answer or ()]}

    # -- scores ---------------------------------------------------------------------------------------------------
    def score(self, answers: Sequence[Sequence[Answer]], examples: Sequence[SpanExample]) -> dict[str, float]:
        """For gold entities accuracy, macro, micro and weighted F1, and `ece`; for found ones `strict_f1`."""
        gold, found, sure = self._pairs(answers, examples)
        metrics = single_label_scores(gold, found)
        if gold:
            metrics["ece"] = expected_calibration_error(sure, [one == other for one, other in zip(gold, found, strict=True)])
        predicted = [answered[1] for answered in answers if len(answered) > 1]
        if examples and all(answer is not None for answer in predicted) and len(predicted) == len(examples):
            right = [
                {(*one.span[:2], f"{one.label} {label}") for one, label in zip(e.spans, self.gold(e), strict=True) if label}
                for e in examples
            ]
            given = [{(*a["span"][:2], f"{a['span'][2]} {a['label']}") for a in answer or ()} for answer in predicted]
            metrics["strict_f1"] = entity_scores(right, given).total.f1
        return metrics

    def _pairs(
        self, answers: Sequence[Sequence[Answer]], examples: Sequence[SpanExample]
    ) -> tuple[list[str], list[str | None], list[float]]:
        """The gold class of each gold entity, the class found, and its score; None and 0 for an entity without a token."""
        gold: list[str] = []
        found: list[str | None] = []
        sure: list[float] = []
        for answered, example in zip(answers, examples, strict=True):
            given = {one["entity"]: one for one in answered[0] or ()}
            for place, label in enumerate(self.gold(example)):
                if label is not None:
                    gold.append(label)
                    found.append(given[place]["label"] if place in given else None)
                    sure.append(given[place]["score"] if place in given else 0.0)
        return gold, found, sure

    def evidence(
        self, answers: Sequence[Sequence[Answer]], examples: Sequence[SpanExample], clusters: Sequence[str]
    ) -> Tally:
        """Right, found and gold entities of each class, for macro F1."""
        golds = {label for example in examples for label in self.gold(example) if label is not None}
        column = {label: 3 * k for k, label in enumerate(sorted({*self.labels, *golds}))}
        counts_EM = np.zeros((len(examples), 3 * len(column)))
        for row_M, answered, example in zip(counts_EM, answers, examples, strict=True):
            for gold, found, _ in zip(*self._pairs([answered], [example]), strict=True):
                row_M[column[gold] + 2] += 1
                if found is not None:
                    row_M[column[found] + 1] += 1
                    row_M[column[gold]] += gold == found
        return Tally(grouped(counts_EM, clusters), "macro_f1")

    def degenerate_reason(self, answers: Sequence[Sequence[Answer]], examples: Sequence[SpanExample]) -> str | None:
        """When every entity gets the same class."""
        gold, found, _ = self._pairs(answers, examples)
        if len(set(gold)) < 2 or len(set(found)) > 1:
            return None
        return f"answers '{found[0]}' for all {len(gold):,} entities"

    def chance(self, examples: Sequence[SpanExample]) -> dict[str, float]:
        """The most frequent class, for every entity."""
        gold = [label for example in examples for label in self.gold(example) if label is not None]
        return single_label_scores(gold, [Counter(gold).most_common(1)[0][0]] * len(gold)) if gold else {}

    def calibrate(self, answers: Sequence[Sequence[Answer]], examples: Sequence[SpanExample]) -> SpanClassification:
        """Fit the temperature to the gold entities."""
        place = {label: k for k, label in enumerate(self.labels)}
        rows = [
            (list(one["scores"].values()), place[gold])
            for answered, example in zip(answers, examples, strict=True)
            for one in answered[0] or ()
            if (gold := self.gold(example)[one["entity"]]) in place
        ]
        if not rows:
            return self
        chance_NK, label_N = np.array([row for row, _ in rows]), np.array([label for _, label in rows])
        return replace(self, temperature=class_temperature(self.temperature * np.log(np.maximum(chance_NK, 1e-30)), label_N))

    def recalibrate(self, answers: Sequence[Sequence[Answer]], before: Task[SpanExample]) -> Sequence[Sequence[Answer]]:
        """The same scores at this temperature."""
        power = getattr(before, "temperature", 1.0) / self.temperature

        def rescaled(one: dict[str, Any]) -> dict[str, Any]:
            chance_K = np.array(list(one["scores"].values())) ** power
            scores = dict(zip(one["scores"], (chance_K / chance_K.sum()).tolist(), strict=True))
            return {**one, "scores": scores, "score": scores[one["label"]]}

        return [[answer and [rescaled(one) for one in answer] for answer in answered] for answered in answers]

    @classmethod
    def score_rows(cls, golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
        """End to end, and the classes of entities that are found."""
        from manyheads.tasks.span_file_scores import score_attributes

        return score_attributes(golds, guesses)

    def findings(self, answers: Sequence[Sequence[Answer]], examples: Sequence[SpanExample]) -> Sequence[Part]:
        """Scores by class, and mistakes in context."""
        from manyheads.tasks.span_mistakes import SpanMistake, mistakes_in_context

        gold, found, _ = self._pairs(answers, examples)
        wrong = []
        for answered, example in zip(answers, examples, strict=True):
            labels = self.gold(example)
            for one in answered[0] or ():
                span, label = example.spans[one["entity"]], labels[one["entity"]]
                if label is not None and one["label"] != label:
                    wrong.append(SpanMistake(example.text, ((span.start, span.end),), label, one["label"], one["score"]))
        counts = label_counts([(label,) for label in gold], [() if label is None else (label,) for label in found])
        return mistakes_in_context(counts, wrong, len(gold), "gold entities")

    def renamed_row(self, row: Row, became: Mapping[str, str | None]) -> Row | None:
        """Entities whose class is removed lose the attribute."""
        name = self.attribute or self.name
        entities = []
        for entity in row["entities"]:
            attributes = dict(entity.get("attributes") or {})
            value = self.value(attributes)
            if value is not None and became.get(value, value) != value:
                after = became[value]
                attributes = {key: old for key, old in attributes.items() if key != name} | ({name: after} if after else {})
            entities.append({**entity, "attributes": attributes})
        return {**row, "entities": entities}
