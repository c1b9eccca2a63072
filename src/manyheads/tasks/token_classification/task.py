"""Named entities and other spans: a tag for each word; answers are spans with character offsets.

Decided here:
- Words are runs of letters and digits, or single symbols, whatever the tokenizer and the format of the data (`text.words`),
  so a head trained on CoNLL columns reads raw text the same way.
- Rows with given words (CoNLL) are answered at those words; the first unit of each decides. With a CRF their other units
  are decoded too, since its transitions were learned between units.

`training.py` has the targets and the loss, `decoding.py` turns scores into spans, `scores.py` has metrics and calibration.
Labels that are given in words with the texts: `by_name_task.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le, Lt

from manyheads.errors import DataError, RowError
from manyheads.nn.multiword_pieces import INNER, PLACES
from manyheads.tasks.base import AnswerForm, Array, DataStatistics, ExampleWarning, Level, Row, Task, text_of
from manyheads.tasks.labels import relabel
from manyheads.tasks.scored import ScoredSpans, round_scores
from manyheads.tasks.settings import DERIVED, NAMES, Doc, Dropout, Stride, derived_settings
from manyheads.tasks.statistics import grown_labels
from manyheads.tasks.token_classification import decoding, scores, training
from manyheads.tasks.token_classification.tag_layers import (
    Overlap,
    TagLayer,
    label_sequences,
    output_names,
    overlapping_labels,
    tag_layers,
)
from manyheads.tasks.words import WordTask
from manyheads.text.entities import EntityExample, Misfit, followed, misfits, shift, spanned_example, tagged_example
from manyheads.text.spans import overlapping, tags_of_char_spans
from manyheads.text.units import Unit
from manyheads.text.values import first_given, key_of

if TYPE_CHECKING:
    from torch import nn

    from manyheads.html.page import Part
    from manyheads.tasks.choices import Choices
    from manyheads.tasks.distillation import Distillation
    from manyheads.tasks.file_rows import FileRow, FileScores
    from manyheads.tasks.stock import StockClass

OVERLAPPING, DISCONTINUOUS = "overlapping entities", "discontinuous entities"
"""What training data may have, for `fit`; overlaps with their labels."""
SEPARATOR = "\t"


@dataclass(frozen=True, kw_only=True)
class TokenClassification(ScoredSpans, WordTask[EntityExample]):
    """Entity recognition with a linear head and a softmax or CRF decoder."""

    kind: ClassVar[str] = "token-classification"
    main_metric: ClassVar[str] = "f1"
    rule_keys: ClassVar[tuple[str, str, str]] = ("transitions_KK", "start_K", "end_K")
    """Outputs of a CRF: transition, start and end scores."""
    metric_names: ClassVar[tuple[str, ...]] = (
        "f1", "precision", "recall", "token_accuracy", "exact_f1", "partial_f1", "type_f1"
    )  # fmt: skip
    columns: ClassVar[tuple[tuple[str, ...], ...]] = (("tokens", "tags"), ("text", "entities"))
    suggested: ClassVar[Mapping[str, tuple[Any, str]]] = {
        "decoder": ("crf", "learns which tags follow one another; softmax is faster")
    }
    answer_form: ClassVar[AnswerForm] = "spans"
    pipeline_tag: ClassVar[str | None] = "token-classification"

    by_name: Annotated[
        bool, Doc("also compare words with the labels in words, so that other labels can be given later")
    ] = False
    labels: Annotated[tuple[str, ...], NAMES, Doc("entity labels, without B- and I-; none: those of the data")] = ()
    """Sorted entity labels; the tags are `O`, and `B-` and `I-` of each."""
    decoder: Annotated[Literal["softmax", "crf"], Doc("crf: with learned transitions between tags")] = "softmax"
    dropout: Dropout = 0.1
    stride: Stride = 64
    join_sentences: Annotated[float, Ge(0), Le(1), Doc("share of the rows that are read joined to neighbours")] = 0.1
    """Share of the training rows that are concatenated with their neighbours, so that the head also learns long texts."""
    overlap: Annotated[Overlap, Doc("per-label: spans of different labels may overlap")] = "none"
    """`per-label`: each label that overlaps another in the data has a sequence of tags of its own."""
    may_overlap: Annotated[tuple[tuple[str, str], ...], DERIVED] = ()
    """Pairs of labels, each in alphabetical order, that overlap somewhere in the training data."""
    sequences: Annotated[tuple[tuple[str, ...], ...], DERIVED] = ()
    """With `overlap: per-label`, the labels of each sequence of tags; in older models every label had its own."""
    unit: Annotated[Unit, Doc("what is tagged; letter for spans that begin or end inside words")] = "word"
    """What is tagged: words, or their letters, for spans that begin or end inside words."""
    places: Annotated[int, Ge(0), DERIVED] = 0
    """Positions after the first that the head distinguishes in a piece of several words; 0 in older models."""
    threshold: Annotated[
        Literal["auto"] | Annotated[float, Ge(0), Lt(1)], Doc("spans with a lower score are left out; auto: tuned")
    ] = 0.0
    """Spans with a lower score are left out; `auto`: tuned for F1 on validation data."""

    @property
    def distillation(self) -> Distillation[EntityExample]:
        """By probabilities of the tags of each unit."""
        from manyheads.tasks.token_classification.distillation import TagDistillation

        return TagDistillation(self)

    @property
    def choices(self) -> Choices[EntityExample] | None:
        """The tag of each word; None if a word has several."""
        if len(self.layers) > 1:
            return None
        from manyheads.tasks.token_classification.choices import TagChoices

        return TagChoices(self)

    @property
    def reads_overlaps(self) -> bool:
        """With `overlap: per-label`."""
        return self.overlap != "none"

    @property
    def concatenated_share(self) -> float:
        """`join_sentences`."""
        return self.join_sentences

    @property
    def scores_key(self) -> str:
        """The output with the scores of tags."""
        return "logits_TK" if self.decoder == "softmax" else "emissions_TK"

    @property
    def outputs(self) -> Mapping[str, Level]:
        """Scores of tags per token, and the transition scores of a CRF."""
        rules: dict[str, Level] = dict.fromkeys(self.rule_keys, "constant")
        return {self.scores_key: "token", **(rules if self.decoder == "crf" else {}), **(INNER if self.places else {})}

    @property
    def layers(self) -> tuple[TagLayer, ...]:
        """The sequences of tags: one, or with `overlap: per-label` one for each label that overlaps another."""
        if self.overlap == "none":
            return tag_layers([self.labels])
        return tag_layers(self.sequences or [(label,) for label in self.labels])

    # -- data ---------------------------------------------------------------------------------------------------
    def read(self, row: Row) -> EntityExample:
        """`{"tokens", "tags"}` or `{"text", "entities"}`."""
        document = key_of(row.get("document"), "document")
        if "tokens" in row:
            return tagged_example(row, document)
        text = text_of(row)
        if "entities" not in row:
            raise RowError("has neither 'tokens' with 'tags' nor 'entities'; give one of them")
        return spanned_example(text, row["entities"], document)

    def row_of_target(self, row: Row, target: Any) -> Row:
        """`targets: {NAME: [{"start", "end", "label"}, ...]}`."""
        return {
            "text": text_of(row),
            "entities": target,
            "document": first_given(row.get("document"), row.get("id")),
        }

    def collect(self, example: EntityExample) -> DataStatistics:
        """Counts of entity labels, and whether entities overlap or are discontinuous."""
        labels = Counter(label for _, _, label in example.spans) + Counter(span.label for span in example.discontinuous)
        flags = {SEPARATOR.join((OVERLAPPING, *pair)) for pair in overlapping_labels(example.spans)}
        return DataStatistics(labels, frozenset(flags | ({DISCONTINUOUS} if example.discontinuous else set())))

    @classmethod
    def suitability(cls, statistics: DataStatistics) -> float:
        """High if there are entities."""
        return 0.9 if statistics.labels else 0.2

    def fit(self, statistics: DataStatistics) -> TokenClassification:
        """Labels of the training data, unless the run file lists them."""
        labels = self.labels or tuple(sorted(statistics.labels))
        if not labels:
            raise DataError(f"task '{self.name}': the training data has no entities; check the last column")
        fitted = replace(self, labels=labels, places=PLACES, may_overlap=self._overlaps(statistics), sequences=())
        if self.overlap == "none":
            return fitted
        return replace(fitted, sequences=label_sequences(labels, fitted.may_overlap, self.sequences))

    def _overlaps(self, statistics: DataStatistics) -> tuple[tuple[str, str], ...]:
        """Pairs of labels that overlap, in the data or in that of the model before."""
        if self.overlap == "none":
            return ()
        found = (flag.split(SEPARATOR) for flag in statistics.flags)
        return tuple(sorted({*self.may_overlap, *((rest[0], rest[1]) for kind, *rest in found if kind == OVERLAPPING)}))

    def fit_from(self, before: Task[EntityExample], statistics: DataStatistics) -> TokenClassification:
        """With the labels that the task had, and new ones of the data after them."""
        assert isinstance(before, TokenClassification), "the same task"
        labels = grown_labels(self.labels, before.label_names, statistics.labels)
        derived = {**derived_settings(before), "labels": labels, "sequences": tuple(layer.labels for layer in before.layers)}
        return replace(self, **derived).fit(statistics)

    def relabelled(self, became: Mapping[str, str | None]) -> Task[EntityExample]:
        """Pairs and sequences of labels are renamed with the labels."""
        pairs = {tuple(sorted(relabel(pair, became))) for pair in self.may_overlap}
        changes: dict[str, Any] = {
            "may_overlap": tuple(sorted(pair for pair in pairs if len(pair) == 2)),
            "sequences": tuple(self._sequences_after(became)) if self.overlap != "none" else (),
        }
        return replace(super().relabelled(became), **changes)

    def _sequences_after(self, became: Mapping[str, str | None]) -> Iterator[tuple[str, ...]]:
        """The renamed sequences; a merged label stays in the first."""
        seen: set[str] = set()
        for layer in self.layers:
            found = tuple(label for label in relabel(layer.labels, became) if label not in seen)
            seen.update(found)
            yield found

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of each sequence in turn."""
        return output_names(self.layers)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The tags."""
        return self.tags

    def outputs_of_label(self, label: str) -> tuple[str, ...]:
        """Its two tags."""
        return (f"B-{label}", f"I-{label}")

    def renamed_row(self, row: Row, became: Mapping[str, str | None]) -> Row | None:
        """A text without any entity is still something to learn from."""
        example = self.read(row)
        after = [(start, end, became.get(label, label)) for start, end, label in example.spans]
        spans = [(start, end, label) for start, end, label in after if label is not None]
        if example.words is not None:
            return {**row, "tags": tags_of_char_spans(np.array(example.words, np.int64), spans)[0]}
        entities: list[dict[str, Any]] = [{"start": start, "end": end, "label": label} for start, end, label in spans]
        for span in example.discontinuous:
            if (label := became.get(span.label, span.label)) is not None:
                pieces = list(map(list, span.pieces))
                entities.append({"start": span.start, "end": span.end, "label": label, "pieces": pieces})
        return {**row, "entities": entities}

    def validate(self, example: EntityExample) -> None:
        """Every label must be in the training data, and spans may overlap only with `overlap: per-label`."""
        for start, end, label in example.spans:
            if label not in self.label_places:
                known = ", ".join(self.labels[:20]) + (" …" if len(self.labels) > 20 else "")
                seen = example.text[start:end]
                raise RowError(f"label {label!r} (of {seen!r}) is not in the training data, which has {known}")
        if self.overlap != "none":
            return
        if pair := overlapping(example.spans):
            one, two = (f"{start}-{end} ({label})" for start, end, label in pair)
            raise RowError(f"entities {one} and {two} overlap; keep one of them, or set `overlap: per-label`")
        for span in example.discontinuous:
            raise RowError(f"entity {span.start}-{span.end} ({span.label}) is in {len(span.pieces)} pieces; remove it, or "
                           "set `overlap: per-label`, which learns its pieces and counts it as missed")  # fmt: skip

    def misfits(self, example: EntityExample) -> list[Misfit]:
        """Gold spans in one piece that no answer can equal."""
        if self.overlap == "none":
            return misfits(example, self.unit)
        layers = ([span for span in example.spans if span[2] in layer.labels] for layer in self.layers)
        return [misfit for spans in layers for misfit in misfits(example, self.unit, spans)]

    def example_warnings(self, example: EntityExample) -> Sequence[ExampleWarning]:
        """Spans that were trimmed, and spans that no answer can equal."""
        found = [
            ExampleWarning("gold spans have white space or invisible characters at their edges",
                           repr(example.text[start:end]), "these are trimmed")
            for start, end in example.trimmed
        ]  # fmt: skip
        for span in example.discontinuous:
            quoted = " … ".join(example.text[start:end] for start, end in span.pieces)
            found.append(ExampleWarning("gold spans are discontinuous", repr(quoted),
                                        "their pieces are learned, and they count as missed"))  # fmt: skip
        advice = "they count as missed"
        if self.unit != "letter":
            advice += "; correct them, or set `unit: letter` if they are intended"
        misfit = self.misfits(example)
        for one in misfit:
            answer = f"an answer would be {one.answer!r}" if one.answer else "another span has its words"
            found.append(ExampleWarning(scores.OUT_OF_REACH, f"{one.gold!r}, where {answer}", advice))
        if misfit and (how := shift(example.text, example.spans)):
            found.append(ExampleWarning("rows have spans that do not fit", f"all offsets of that row {how}"))
        return found

    def concatenate(self, examples: Sequence[EntityExample]) -> EntityExample:
        """Sentences in sequence, separated as their script requires."""
        return followed(examples)

    @property
    def _tags_per_sequence(self) -> int | None:
        """Of an older model, whose labels each had their own."""
        return 3 if self.overlap != "none" and not self.sequences else None

    # -- training, answering, scoring -----------------------------------------------------------------------------
    def build_head(self, width: int) -> nn.Module:
        """Dropout and a linear layer; with `crf`, transitions too."""
        from manyheads.nn.heads import CRFTokenHead, TokenHead

        tags = [tag for layer in self.layers for tag in layer.tags]
        if self.decoder == "crf":
            return CRFTokenHead(width, tags, self.dropout, self.places, self._tags_per_sequence)
        return TokenHead(width, len(tags), self.dropout, self.places)

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Number of words."""
        return float(len(targets["tag_PN"]))

    targets = training.targets
    loss = training.loss
    marks = training.marks

    decode = decoding.decode
    word_probabilities = decoding.word_probabilities

    def answer_keys(self, answer: list[dict[str, Any]]) -> dict[str, Any]:
        """The spans, with scores rounded to six decimals."""
        return {self.name: round_scores(answer)}

    def threshold_notes(self) -> list[str]:
        """The score below which spans are left out."""
        if self.threshold in ("auto", 0.0):
            return []
        return [f"spans with a score below {self.threshold:.4g} are left out"]

    def kept(self, spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Spans whose score reaches the threshold, once that is tuned."""
        limit = self.threshold
        return spans if limit == "auto" else [span for span in spans if span["score"] >= limit]

    score = scores.score
    evidence = scores.evidence
    degenerate_reason = scores.degenerate_reason
    calibrate = scores.calibrate
    recalibrate = scores.recalibrate

    def chance(self, examples: Sequence[EntityExample]) -> dict[str, float]:
        """No entity in any text, the most frequent answer."""
        return self.score([[[]]] * len(examples), examples)

    # -- files, reports, other tools ------------------------------------------------------------------------------
    @classmethod
    def matches_entry(cls, entry: Any) -> bool | None:
        """A list of spans with labels."""
        first = entry[0] if isinstance(entry, list) and entry else None
        return None if entry == [] else isinstance(first, Mapping) and "label" in first

    @classmethod
    def row_of_entry(cls, row: Row, entry: Any) -> Row:
        """`entities`."""
        return {"entities": entry}

    @classmethod
    def score_rows(cls, golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
        """Precision, recall and F1 of entities; token accuracy if there are words."""
        from manyheads.tasks.token_classification.file_scores import score_tokens

        return score_tokens(golds, guesses)

    def findings(self, answers: Sequence[Sequence[Any]], examples: Sequence[EntityExample]) -> Sequence[Part]:
        """Counts by type of error, and examples of each."""
        from manyheads.tasks.token_classification.mistakes import entity_findings

        return entity_findings(answers, examples)

    def stock_class(self, head: nn.Module, family: str, width: int) -> StockClass | None:
        """For `softmax` heads, on any family of encoders."""
        from manyheads.tasks.token_classification.stock import stock_class

        return stock_class(self, head, family, width)
