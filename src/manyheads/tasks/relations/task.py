"""Relations between the entities of another task: settings, labels, candidates.

A label may hold for several types of ends, and a pair may have several labels. See `nn/pairs.py` for the head.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from manyheads.errors import DataError, RowError
from manyheads.tasks.base import AnswerForm, Array, DataStatistics, Level, Moments, Row, Task
from manyheads.tasks.relations import decoding, scores, training
from manyheads.tasks.relations.candidates import CROWDS, DISTANCES, gold_pairs, words_between
from manyheads.tasks.scored import ScoredSpans
from manyheads.tasks.settings import DERIVED, NAMES, Doc, derived_settings
from manyheads.tasks.spans import SpanExample, SpanTask
from manyheads.tasks.statistics import add_moments, grown_labels
from manyheads.text.units import units

if TYPE_CHECKING:
    from torch import nn

    from manyheads.html.page import Part
    from manyheads.tasks.file_rows import FileRow, FileScores
    from manyheads.tasks.relations.decoding import Relation

UNTUNED = 0.5
"""Threshold until one is tuned."""
CONCEPTS, MENTIONS = "relations of concepts", "relations of mentions"
"""Flags of training data."""
SEPARATOR = "\t"
"""Between types and labels in the names of statistics."""


@dataclass(frozen=True, kw_only=True)
class Relations(ScoredSpans, SpanTask):
    """Typed, directed relations between two entities."""

    kind: ClassVar[str] = "relations"
    main_metric: ClassVar[str] = "f1"
    metric_names: ClassVar[tuple[str, ...]] = ("f1", "precision", "recall", "strict_f1", "boundaries_f1")
    entry_keys: ClassVar[frozenset[str]] = frozenset({"head", "tail"})
    columns: ClassVar[tuple[tuple[str, ...], ...]] = (("text", "entities", "relations"),)
    answer_form: ClassVar[AnswerForm] = "relations"
    outputs: ClassVar[Mapping[str, Level]] = {
        "ends_TX": "token", "head_type_LR": "constant", "tail_type_LR": "constant", "distance_BR": "constant",
        "crowd_CR": "constant",
        "output_KR": "constant", "bias_K": "constant",
    }  # fmt: skip

    labels: Annotated[tuple[str, ...], NAMES, Doc("the labels of relations; none: those of the data")] = ()
    rank: Annotated[int, Gt(0), Doc("width of the hidden layer on pairs")] = 64
    threshold: Annotated[
        Literal["auto"] | Annotated[float, Ge(0), Lt(1)], Doc("relations with a lower score are left out; auto: tuned")
    ] = "auto"
    tuned_threshold: Annotated[float | None, DERIVED] = None
    """The threshold with the best F1 on validation data."""
    types: Annotated[tuple[str, ...], DERIVED] = ()
    """Types of the entities that may be ends."""
    triples: Annotated[tuple[tuple[str, str, str, int], ...], DERIVED] = ()
    """Types of head and tail, label, and number of pairs in the training data."""
    most_words: Annotated[int, Ge(0), DERIVED] = 0
    """The most words between the two ends."""
    frequency: Annotated[float, Gt(0), Lt(1), DERIVED] = 0.5
    """Share of the labels of candidate pairs that hold."""
    concepts: Annotated[bool, DERIVED] = False
    """Whether the data relates concepts (identifiers in a knowledge base), not mentions."""

    @property
    def allowed_types(self) -> Array:
        """Whether a type of head and a type of tail can be related, `(L, L)`."""
        place = {name: k for k, name in enumerate(self.types)}
        allowed_LL = np.zeros((len(place), len(place)), bool)
        for head, tail, _, _ in self.triples:
            allowed_LL[place[head], place[tail]] = True
        return allowed_LL

    @property
    def usual_labels(self) -> dict[tuple[str, str], str]:
        """The most frequent label of each pair of types."""
        return {(head, tail): label for head, tail, label, _ in sorted(self.triples, key=lambda triple: triple[3])}

    @property
    def chance_loss(self) -> float:
        """Entropy of a label with the frequency of the training data, in nats."""
        share = self.frequency
        return float(-share * np.log(share) - (1 - share) * np.log1p(-share))

    # -- data ---------------------------------------------------------------------------------------------------
    def collect(self, example: SpanExample) -> DataStatistics:
        """Labels; by label and types the words between ends; by types the pairs in a text."""
        pairs = sorted(gold_pairs(example))
        types = [one.label for one in example.spans]
        offsets_W2 = units(example.text) if pairs else np.zeros((0, 2), np.int64)
        first_N = np.searchsorted(offsets_W2[:, 1], [one.start for one in example.spans], side="right")
        stop_N = np.searchsorted(offsets_W2[:, 0], [one.end for one in example.spans], side="left")
        ends_2P = np.array([pair[:2] for pair in pairs], np.int64).reshape(-1, 2).T
        between_2P, _ = words_between(first_N, stop_N, *ends_2P)
        numbers: dict[str, Moments] = {}
        for (head, tail, label), gap in zip(pairs, (between_2P[1] - between_2P[0]).tolist(), strict=True):
            numbers = add_moments(numbers, {SEPARATOR.join((types[head], types[tail], label)): Moments.of(gap)})
        of_types = Counter(types)
        for one, other in product(of_types, of_types):
            count = of_types[one] * (of_types[other] - (one == other))
            numbers |= {SEPARATOR.join((one, other)): Moments.of(count)} if count else {}
        flags = frozenset(CONCEPTS if one.concepts else MENTIONS for one in example.relations)
        return DataStatistics(Counter(label for *_, label in pairs), flags, numbers)

    @classmethod
    def suitability(cls, statistics: DataStatistics) -> float:
        """0.95 if there are relations."""
        return 0.95 if statistics.flags else 0.0

    def fit(self, statistics: DataStatistics) -> Relations:
        """Labels, types of ends and distances of the training data."""
        found = {tuple(key.split(SEPARATOR)): moments for key, moments in statistics.numbers.items()}
        triples = tuple(sorted((*key, moments.count) for key, moments in found.items() if len(key) == 3))
        labels = self.labels or tuple(sorted(statistics.labels))
        if not triples:
            raise DataError(f"task '{self.name}': the training data has no relations; check 'relations' of its rows")
        if {CONCEPTS, MENTIONS} <= statistics.flags:
            raise DataError(f"task '{self.name}': some rows relate mentions (by 'id'), others concepts (by 'links'); use one "
                            "of them throughout")  # fmt: skip
        ends = {triple[:2] for triple in triples}
        pairs = sum(found[pair].count * found[pair].mean for pair in ends)
        share = sum(triple[3] for triple in triples) / (pairs * len(labels))
        return replace(
            self, labels=labels, triples=triples, types=tuple(sorted({name for pair in ends for name in pair})),
            most_words=int(max(moments.high for key, moments in found.items() if len(key) == 3)),
            frequency=min(max(share, 1e-4), 0.5), concepts=CONCEPTS in statistics.flags,
        )  # fmt: skip

    def fit_from(self, before: Task[SpanExample], statistics: DataStatistics) -> Relations:
        """With the labels that the task had, and new ones of the data after them."""
        fitted = replace(self, **derived_settings(before)).fit(statistics)
        kept: tuple[str, ...] = getattr(before, "types", ())
        return replace(
            fitted, labels=grown_labels(self.labels, before.label_names, fitted.labels),
            types=(*kept, *(name for name in fitted.types if name not in kept)),
            triples=tuple(dict.fromkeys((*fitted.triples, *getattr(before, "triples", ())))),
        )  # fmt: skip

    @property
    def output_names(self) -> tuple[str, ...]:
        """The labels."""
        return self.labels

    def validate(self, example: SpanExample) -> None:
        """Every label must be in the training data."""
        for one in example.relations:
            if one.label not in self.label_places:
                known = ", ".join(self.labels)[:200]
                raise RowError(f"relation {one.label!r} is not in the training data, which has {known}")

    def renamed_row(self, row: Row, became: Mapping[str, str | None]) -> Row | None:
        """Relations whose label is removed are left out."""
        after = [(relation, became.get(relation["label"], relation["label"])) for relation in row["relations"]]
        return {**row, "relations": [{**relation, "label": label} for relation, label in after if label is not None]}

    # -- training, answering, scoring -----------------------------------------------------------------------------
    def build_head(self, width: int) -> nn.Module:
        """See `nn/pairs.py`."""
        from manyheads.nn.pairs import PairHead

        return PairHead(width, rank=self.rank, outputs=len(self.labels), types=len(self.types), distances=DISTANCES,
                        crowds=CROWDS, dropout=self.dropout)  # fmt: skip

    targets = training.targets
    loss = training.loss
    decode = decoding.decode

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Number of candidate pairs."""
        return float(len(targets["gold_PK"]))

    def kept(self, answer: Sequence[Relation]) -> list[Relation]:
        """Relations whose score reaches the threshold; all of them while it is to be tuned."""
        return list(answer) if self.limit is None else self.given(answer)

    def given(self, answer: Sequence[Relation] | None) -> list[Relation]:
        """Relations that are answered: those whose score reaches the threshold, or 0.5 until it is tuned."""
        limit = UNTUNED if self.limit is None else self.limit
        return [one for one in answer or () if one["score"] >= limit]

    @property
    def limit(self) -> float | None:
        """The threshold; None until it is tuned."""
        return self.tuned_threshold if self.threshold == "auto" else self.threshold

    def threshold_notes(self) -> list[str]:
        """The score below which relations are left out."""
        return [] if self.limit is None else [f"relations with a score below {self.limit:.4g} are left out"]

    def answer_keys(self, answer: Sequence[Relation] | None) -> dict[str, Any]:
        """`head` and `tail`, places among the entities of the other task's answer, `label` and `score`."""
        keys = ("head", "tail", "label")
        given = self.given(answer)
        return {self.name: [{**{key: one[key] for key in keys}, "score": round(one["score"], 6)} for one in given]}

    score = scores.score
    evidence = scores.evidence
    degenerate_reason = scores.degenerate_reason
    chance = scores.chance
    calibrate = scores.calibrate
    recalibrate = scores.recalibrate

    @classmethod
    def score_rows(cls, golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
        """End to end, strictly and by boundaries; between concepts where gold relates concepts."""
        from manyheads.tasks.span_file_scores import score_relations

        return score_relations(golds, guesses)

    def findings(self, answers: scores.Answers, examples: Sequence[SpanExample]) -> Sequence[Part]:
        """Scores by label, and mistakes in context."""
        return scores.findings(self, answers, examples)
