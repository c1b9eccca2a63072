"""Labels for the sentences of a text that is read as a whole, so that each sentence sees its neighbours (`unit: sentence`).

Decided here:
- The head scores tokens, and a sentence is the mean of its tokens (`sentences/tokens.py`). As the layer is linear, that
  equals pooling the hidden states first, and ONNX and the protocol need no other kind of output.
- One label per sentence. Scores, calibration, class weights and reports are those of texts, over the sentences.
- A row is cut into sentences by `text/sentences.py`, unless it brings its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt

from manyheads.errors import RowError
from manyheads.tasks.base import AnswerForm, DataStatistics, EncoderInput, ExampleWarning, Level, Row, Task
from manyheads.tasks.pooled import shared_keys
from manyheads.tasks.settings import DERIVED, NAMES, Doc, Dropout, Stride
from manyheads.tasks.text_classification.sentences import decoding, example, training
from manyheads.tasks.text_classification.sentences.decoding import DocumentAnswers, one_by_one
from manyheads.tasks.text_classification.sentences.example import LabelledDocument
from manyheads.tasks.text_classification.task import TextClassification
from manyheads.text.pack import Source

if TYPE_CHECKING:
    from torch import nn

    from manyheads.html.page import Part
    from manyheads.metrics.evidence import Tally
    from manyheads.tasks.choices import Choices
    from manyheads.tasks.distillation import Distillation

ALONE = "documents have a single sentence"


@dataclass(frozen=True, kw_only=True)
class SentenceClassification(Task[LabelledDocument]):
    """Classification of the sentences of a text, read together, with a softmax or a CRF over their labels."""

    kind: ClassVar[str] = TextClassification.kind
    chosen_by: ClassVar[Mapping[str, Any]] = {"unit": "sentence"}
    main_metric: ClassVar[str] = TextClassification.main_metric
    metric_names: ClassVar[tuple[str, ...]] = TextClassification.metric_names
    columns: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("text", "label", "document"), ("sentences", "labels"), ("text", "sentences"),
    )  # fmt: skip
    optional_columns: ClassVar[tuple[str, ...]] = ("document",)
    answer_form: ClassVar[AnswerForm] = "sentences"
    cluster_noun: ClassVar[str] = "documents"
    example_noun: ClassVar[str] = "documents"
    part_noun: ClassVar[str] = "sentences"
    targets_on_cpu: ClassVar[frozenset[str]] = frozenset({"sentences_B"})

    unit: Annotated[Literal["sentence"], Doc("what gets a label: each sentence of the text")]
    labels: Annotated[tuple[str, ...], NAMES, Doc("none: those of the training data")] = ()
    class_weights: Annotated[
        Literal["auto", "none", "balanced"] | dict[str, Annotated[float, Ge(0)]],
        NAMES,
        Doc("how much sentences of each label weigh in the loss; or a mapping label to weight"),
    ] = "auto"
    """As for texts; a CRF has none."""
    decoder: Annotated[Literal["softmax", "crf"], Doc("crf: with learned transitions between sentences")] = "softmax"
    dropout: Dropout = 0.1
    stride: Stride = 64
    temperature: Annotated[float, Gt(0), DERIVED] = 1.0
    """Divisor of the logits; fitted on validation data."""
    label_weights: Annotated[tuple[float, ...], DERIVED] = field(default=(), repr=False)
    """Weights from `class_weights` and the training data, in the order of `labels`."""

    def __post_init__(self) -> None:
        """Raises ValueError for class weights that a CRF cannot apply."""
        if self.decoder == "crf" and self.class_weights not in ("auto", "none"):
            raise ValueError("class_weights need decoder: softmax, because a CRF scores all labels of a text at once")

    @property
    def plain(self) -> TextClassification:
        """The task of labelling single texts with the same labels, which scores the sentences."""
        return TextClassification(
            name=self.name, labels=self.labels, temperature=self.temperature, label_weights=self.label_weights,
            class_weights="none" if self.decoder == "crf" else self.class_weights,
        )  # fmt: skip

    def _as(self, plain: TextClassification) -> SentenceClassification:
        """The task with the labels, weights and temperature of one on single texts."""
        return replace(self, labels=plain.labels, label_weights=plain.label_weights, temperature=plain.temperature)

    @property
    def scores_key(self) -> str:
        """The output with the scores of tokens."""
        return "logits_TK" if self.decoder == "softmax" else "emissions_TK"

    @property
    def outputs(self) -> Mapping[str, Level]:
        """Scores of labels per token, and the transition scores of a CRF."""
        rules: dict[str, Level] = {"transitions_KK": "constant", "start_K": "constant", "end_K": "constant"}
        return {self.scores_key: "token", **(rules if self.decoder == "crf" else {})}

    @property
    def distillation(self) -> Distillation[LabelledDocument]:
        """By probabilities of the labels of each sentence."""
        from manyheads.tasks.text_classification.sentences.distillation import SentenceDistillation

        return SentenceDistillation(self)

    @property
    def choices(self) -> Choices[LabelledDocument]:
        """The label of each sentence."""
        from manyheads.tasks.text_classification.sentences.choices import SentenceChoices

        return SentenceChoices(self)

    # -- data ---------------------------------------------------------------------------------------------------
    def read(self, row: Row) -> LabelledDocument:
        """`sentences` with `labels`, `text` with `sentences` as spans, or a single sentence with its `label`."""
        return example.read_document(row)

    def document_of(self, row: Row) -> str | None:
        """`document`, for rows of single sentences."""
        return example.sentence_document(row)

    def joined_rows(self, rows: Sequence[Row]) -> Row:
        """`sentences`, `labels` and `document`."""
        return example.joined_rows(rows)

    def row_of_target(self, row: Row, target: Any) -> Row:
        """`targets: {NAME: [{"start", "end", "label"}, ...]}`, `{NAME: ["LABEL", ...]}` beside `sentences`, or `"LABEL"`."""
        own = shared_keys(row)
        if not isinstance(target, list):
            return {**own, "label": target}
        if any(isinstance(part, Mapping) for part in target):
            return {**own, "sentences": target}
        if "sentences" not in row:
            raise RowError("has a list of labels, but no 'sentences'; give the sentences too, or spans with labels")
        return {**own, "sentences": row["sentences"], "labels": target}

    def collect(self, example: LabelledDocument) -> DataStatistics:
        """Counts of the labels of sentences."""
        return DataStatistics(Counter(example.labels))

    def fit(self, statistics: DataStatistics) -> SentenceClassification:
        """Labels of the training data, unless listed, and their weights."""
        return self._as(self.plain.fit(statistics))

    def fit_from(self, before: Task[LabelledDocument], statistics: DataStatistics) -> SentenceClassification:
        """With the labels that the task had, and new ones of the data after them."""
        assert isinstance(before, SentenceClassification), "the same task"
        return self._as(self.plain.fit_from(before.plain, statistics))

    @property
    def output_names(self) -> tuple[str, ...]:
        """The labels."""
        return self.labels

    def with_labels(self, labels: Sequence[str]) -> SentenceClassification:
        """Without the weights of the labels before."""
        return self._as(self.plain.with_labels(labels))

    def renamed_row(self, row: Row, became: Mapping[str, str | None]) -> Row | None:
        """None for a text with a sentence whose label is removed: every sentence needs one."""
        found = self.read(row)
        labels = [became.get(label, label) for label in found.labels]
        if None in labels:
            return None
        spans = [{"start": start, "end": end, "label": label}
                 for (start, end), label in zip(found.sentences, labels, strict=True)]  # fmt: skip
        return {"text": found.text, "sentences": spans, "document": found.document}

    def validate(self, example: LabelledDocument) -> None:
        """Every label must be in the training data."""
        for text in example.texts():
            self.plain.validate(text)

    def data_warnings(self, statistics: DataStatistics, rows: int) -> Sequence[str]:
        """As for texts."""
        return self.plain.data_warnings(statistics, rows)

    def example_warnings(self, example: LabelledDocument) -> Sequence[ExampleWarning]:
        """A document of one sentence."""
        if len(example.sentences) > 1:
            return []
        advice = "there is nothing to learn from neighbours; keep the rows of a document together and in order"
        return [ExampleWarning(ALONE, repr(example.text[:60]), advice)]

    def cluster(self, example: LabelledDocument) -> str:
        """The document, if rows name one."""
        return example.document

    def sources_of_example(self, example: LabelledDocument) -> Sequence[EncoderInput]:
        """The text with its sentences."""
        return [EncoderInput(Source(example.text, stride=self.stride), example.sentences)]

    def source_of_row(self, row: Row) -> EncoderInput:
        """`text`, `sentences` (texts), or `text` and `sentences` (texts or offsets)."""
        text, sentences = example.sentences_of(row)
        return EncoderInput(Source(text, stride=self.stride), sentences)

    # -- training, answering, scoring -----------------------------------------------------------------------------
    def build_head(self, width: int) -> nn.Module:
        """Dropout and a linear layer; with `crf`, transitions too."""
        from manyheads.nn.heads import CRFTokenHead, TokenHead

        if self.decoder == "crf":  # of tags that all begin a span, IOB2 allows every sequence
            return CRFTokenHead(width, [f"B-{label}" for label in self.labels], self.dropout)
        return TokenHead(width, len(self.labels), self.dropout)

    targets = training.targets
    denominator = training.denominator
    reweighted = training.reweighted
    loss = training.loss

    decode = decoding.decode

    def answer_keys(self, answer: list[dict[str, Any]]) -> dict[str, Any]:
        """`start`, `end`, `label` and `score` of each sentence, scores rounded to six decimals."""
        kept = [{key: part[key] for key in ("start", "end", "label")} | {"score": round(part["score"], 6)} for part in answer]
        return {self.name: kept}

    def score(self, answers: DocumentAnswers, examples: Sequence[LabelledDocument]) -> dict[str, float]:
        """Accuracy, macro, micro and weighted F1 over sentences; `ece` of the best label's score."""
        return self.plain.score(*one_by_one(answers, examples))

    def evidence(self, answers: DocumentAnswers, examples: Sequence[LabelledDocument], clusters: Sequence[str]) -> Tally:
        """Correct, predicted and gold sentences of each label; an unnamed document is a cluster of its own."""
        own = [key or f"\0{i}" for i, key in enumerate(clusters)]
        repeated = [key for key, e in zip(own, examples, strict=True) for _ in e.sentences]
        return self.plain.evidence(*one_by_one(answers, examples), repeated)

    def degenerate_reason(self, answers: DocumentAnswers, examples: Sequence[LabelledDocument]) -> str | None:
        """When every sentence gets the same label, or scores are no better than if it did."""
        return self.plain.degenerate_reason(*one_by_one(answers, examples), "sentences")

    def chance(self, examples: Sequence[LabelledDocument]) -> dict[str, float]:
        """Always the most frequent label."""
        return self.plain.chance(one_by_one([], examples)[1])

    def calibrate(self, answers: DocumentAnswers, examples: Sequence[LabelledDocument]) -> SentenceClassification:
        """Fit the temperature to the sentences of these examples."""
        return self._as(self.plain.calibrate(*one_by_one(answers, examples)))

    def recalibrate(self, answers: DocumentAnswers, before: Task[LabelledDocument]) -> list[list[list[dict[str, Any]]]]:
        """The same logits at this temperature."""
        assert isinstance(before, SentenceClassification), "the same task"
        entries = [entry for [answer] in answers for entry in answer]
        scaled = iter(self.plain.recalibrate([[entry] for entry in entries], before.plain))
        return [[[{"start": e["start"], "end": e["end"], **next(scaled)[0]} for e in answer]] for [answer] in answers]

    # -- reports ------------------------------------------------------------------------------------------------
    def findings(self, answers: DocumentAnswers, examples: Sequence[LabelledDocument]) -> Sequence[Part]:
        """Confusions of labels, and the sentences it is surest of and wrong."""
        from manyheads.tasks.text_classification.mistakes import label_findings

        return label_findings(*one_by_one(answers, examples), noun="sentence")
