"""The concept of a dictionary that each entity of another task names.

The dictionary is a file of the run (`terms.py`) and part of the model afterwards (`store.py`). An entity is linked in two
steps: candidates by equal names, spelling and vectors (`dictionary.py`), then their ranking (`decoding.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Lt

from manyheads.errors import DataError
from manyheads.tasks.base import AnswerForm, Array, DataStatistics, EncoderInput, ExampleWarning, Level
from manyheads.tasks.entity_linking import decoding, scores, training
from manyheads.tasks.entity_linking.dictionary import Dictionary
from manyheads.tasks.entity_linking.ranking import NONE, WEIGHTS
from manyheads.tasks.entity_linking.store import DictionaryStore
from manyheads.tasks.settings import DERIVED, HELD, PATH, Doc
from manyheads.tasks.spans import SpanExample, SpanTask
from manyheads.text.pack import Source

if TYPE_CHECKING:
    from torch import nn

    from manyheads.html.page import Part
    from manyheads.tasks.entity_linking.decoding import Link
    from manyheads.tasks.file_rows import FileRow, FileScores

HAS, LACKS = "has", "lacks"
"""Flags of training data: types of entities with and without identifiers."""


@dataclass(frozen=True, kw_only=True)
class EntityLinking(SpanTask):
    """The entry of a dictionary that each entity names, or none. Rows give identifiers under `links` of an entity."""

    kind: ClassVar[str] = "entity-linking"
    main_metric: ClassVar[str] = "accuracy_at_1"
    metric_names: ClassVar[tuple[str, ...]] = ("accuracy_at_1", "accuracy_at_5", "candidate_recall", "nil_f1", "strict_f1")
    entry_keys: ClassVar[frozenset[str]] = frozenset({"entity", "id"})
    answer_form: ClassVar[AnswerForm] = "links"
    outputs: ClassVar[Mapping[str, Level]] = {"vector_TX": "token"}

    terms: Annotated[str, PATH, Doc("the dictionary: a table of id, name, and optionally type and synonyms")]
    negatives: Annotated[int, Ge(0), Doc("names of similar spelling that each mention is trained against")] = 2
    threshold: Annotated[
        Literal["auto"] | Annotated[float, Ge(0), Lt(1)], Doc("no concept is given with a lower score; auto: tuned")
    ] = "auto"
    tuned_threshold: Annotated[float | None, DERIVED] = None
    """The threshold with the most right answers on validation data."""
    types: Annotated[tuple[str, ...], DERIVED] = ()
    """Types of the entities that are linked."""
    weights: Annotated[tuple[float, ...], DERIVED] = WEIGHTS
    """Of a candidate's features: equal name, cosine of trigrams, cosine of vectors; fitted on validation data."""
    none_logit: Annotated[float, DERIVED] = NONE
    """The logit of the answer that no candidate is right."""
    dictionary: Annotated[Dictionary | None, HELD] = field(default=None, repr=False, compare=False)

    @property
    def compares_examples(self) -> bool:
        """Names of other examples are negatives."""
        return True

    @property
    def store(self) -> DictionaryStore:
        """The dictionary."""
        return DictionaryStore(self)

    @property
    def limit(self) -> float:
        """The threshold; 0 until it is tuned."""
        return (self.tuned_threshold or 0.0) if self.threshold == "auto" else self.threshold

    # -- data ---------------------------------------------------------------------------------------------------
    def collect(self, example: SpanExample) -> DataStatistics:
        """Linked entities by type, and which types have entities with and without identifiers."""
        flags = frozenset(f"{HAS if one.links else LACKS} {one.label}" for one in example.spans)
        return DataStatistics(Counter(one.label for one in example.spans if one.links), flags)

    @classmethod
    def suitability(cls, statistics: DataStatistics) -> float:
        """0: the rows do not say which dictionary their identifiers are from."""
        return 0.0

    def fit(self, statistics: DataStatistics) -> EntityLinking:
        """The types of entities that have identifiers."""
        types = tuple(sorted(statistics.labels))
        if not types:
            raise DataError(f"task '{self.name}': no entity of the training data has an identifier; give them as 'links' "
                            "of the entities, or in a format that holds them (PubTator, BioC, brat)")  # fmt: skip
        return replace(self, types=types)

    def example_warnings(self, example: SpanExample) -> Sequence[ExampleWarning]:
        """Identifiers that the dictionary lacks."""
        known = {} if self.dictionary is None else self.dictionary.place_of_id
        return [
            ExampleWarning("gold identifiers are not in the dictionary", repr(link)[:80],
                           "such entities count as outside the dictionary; add the concepts, or correct the identifiers")
            for one in example.spans for link in one.links if link not in known
        ]  # fmt: skip

    # -- training, answering, scoring -----------------------------------------------------------------------------
    def sources_of_example(self, example: SpanExample) -> Sequence[EncoderInput]:
        """The text, and the names that its mentions are trained with."""
        names = [] if self.dictionary is None else training.names_to_read(self, example)
        texts = [self.dictionary.names[name] for name in names] if self.dictionary is not None else []
        return [EncoderInput(Source(text, stride=self.stride)) for text in (example.text, *texts)]

    def build_head(self, width: int) -> nn.Module:
        """A square linear layer on each token, at first the identity."""
        from manyheads.nn.heads import ProjectedTokens

        return ProjectedTokens(width, self.dropout)

    targets = training.targets
    loss = training.loss
    decode = decoding.decode

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Number of mentions."""
        return float(len(targets["name_N"]))

    def threshold_notes(self) -> list[str]:
        """The score below which no concept is given."""
        return [f"entities whose best concept has a score below {self.limit:.4g} get none"] if self.limit else []

    def answer_keys(self, answer: Sequence[Link] | None) -> dict[str, Any]:
        """`entity`, the place among the entities of the other task's answer, `id`, `name`, `score` and `candidates`."""

        def shown(one: Mapping[str, Any], *keys: str) -> dict[str, Any]:
            return {**{key: one[key] for key in keys}, "score": round(one["score"], 6)}

        return {self.name: [
            {**shown(one, "entity", "id", "name"), "candidates": [shown(other, "id", "name") for other in one["candidates"]]}
            for one in answer or ()
        ]}  # fmt: skip

    score = scores.score
    evidence = scores.evidence
    degenerate_reason = scores.degenerate_reason
    chance = scores.chance
    calibrate = scores.calibrate
    recalibrate = scores.recalibrate

    @classmethod
    def score_rows(cls, golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
        """End to end, and the identifiers of entities that are found."""
        from manyheads.tasks.span_file_scores import score_links

        return score_links(golds, guesses)

    def findings(self, answers: scores.Answers, examples: Sequence[SpanExample]) -> Sequence[Part]:
        """Scores by type of entity, and mistakes in context."""
        return scores.findings(self, answers, examples)
