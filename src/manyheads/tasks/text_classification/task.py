"""Labels for a text or a pair of texts: exactly one, or any number of them.

Decided here: a text longer than the encoder is read in windows, and its logits are the mean of its windows' logits weighted
by their tokens, in training and in answering. With a linear head that equals pooling over the whole text.

`training.py` has the targets and the loss, `decoding.py` turns logits into answers, `scores.py` has metrics and calibration.
Sentences of a text, read together, are classified by `sentence_task.py`; by labels in words, `by_name_task.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from manyheads.errors import DataError, RowError
from manyheads.tasks.base import AnswerForm, AnswerType, DataStatistics, Row, Task
from manyheads.tasks.labels import relabel
from manyheads.tasks.pooled import TextTask, shared_keys
from manyheads.tasks.settings import DERIVED, NAMES, Doc, derived_settings
from manyheads.tasks.statistics import grown_labels
from manyheads.tasks.text_classification import decoding, scores, training
from manyheads.tasks.text_classification.class_weights import label_weights
from manyheads.tasks.text_classification.example import DECIMAL_LABEL, MULTI_LABEL, LabelledText, read_labelled_text

if TYPE_CHECKING:
    from torch import nn

    from manyheads.html.page import Part
    from manyheads.tasks.choices import Choices
    from manyheads.tasks.distillation import Distillation
    from manyheads.tasks.file_rows import FileRow, FileScores
    from manyheads.tasks.stock import StockClass

MANY_NUMBERS = 20
"""Labels that are more numbers than this are probably quantities."""
_DECIMAL = re.compile(r"[+-]?\d*\.\d+", re.ASCII)
UNTUNED = 0.5
"""Threshold of labels until one is tuned. Scores of training texts are too high to tune it without validation data."""


@dataclass(frozen=True, kw_only=True)
class TextClassification(TextTask[LabelledText]):
    """Classification of texts or pairs, single-label (softmax) or multi-label (a sigmoid per label)."""

    kind: ClassVar[str] = "text-classification"
    main_metric: ClassVar[str] = "macro_f1"
    metric_names: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1", "micro_f1", "weighted_f1")
    columns: ClassVar[tuple[tuple[str, ...], ...]] = (("text", "label"), ("text", "labels"))
    optional_columns: ClassVar[tuple[str, ...]] = ("text_pair",)
    answer_form: ClassVar[AnswerForm] = "classes"
    pipeline_tag: ClassVar[str | None] = "text-classification"
    cluster_noun: ClassVar[str] = "documents"

    unit: Annotated[Literal["text", "sentence"], Doc("what gets a label: the text, or each sentence of it")] = "text"
    by_name: Annotated[bool, Doc("compare texts with the labels in words, so that other labels can be given later")] = False
    labels: Annotated[tuple[str, ...], NAMES, Doc("none: those of the training data")] = ()
    multi_label: Annotated[bool, DERIVED] = False
    class_weights: Annotated[
        Literal["auto", "none", "balanced"] | dict[str, Annotated[float, Ge(0)]],
        NAMES,
        Doc("how much texts of each label weigh in the loss; or a mapping label to weight"),
    ] = "auto"
    """`auto`: single labels whose counts differ only by chance get equal total weight (`class_weights.py`); `balanced`: all
    labels do, as in scikit-learn; a mapping: the given weights, 1 if absent."""
    threshold: Annotated[
        Literal["auto"] | Annotated[float, Gt(0), Lt(1)],
        Doc("of several labels those are given whose score reaches it; auto: tuned, label by label"),
    ] = "auto"
    """Multi-label: the probability from which a label is given; `auto`: tuned on validation data for each label."""
    thresholds: Annotated[tuple[float, ...], DERIVED] = field(default=(), repr=False)
    """Thresholds tuned with `threshold: auto`, in the order of `labels`; empty until then."""
    temperature: Annotated[float, Gt(0), DERIVED] = 1.0
    """Divisor of the logits; fitted on validation data."""
    label_weights: Annotated[tuple[float, ...], DERIVED] = field(default=(), repr=False)
    """Weights from `class_weights` and the training data, in the order of `labels`."""

    def __post_init__(self) -> None:
        """Raises ValueError if the number of thresholds is not that of the labels."""
        if self.thresholds and len(self.thresholds) != len(self.labels):
            raise ValueError(f"{len(self.thresholds)} thresholds for {len(self.labels)} labels")

    @property
    def limits(self) -> np.ndarray:
        """The threshold of each label, for multi-label data."""
        single = UNTUNED if self.threshold == "auto" else self.threshold
        return np.array(self.thresholds or [single] * len(self.labels))

    @property
    def size(self) -> int:
        """One output per label."""
        return len(self.labels)

    @property
    def distillation(self) -> Distillation[LabelledText] | None:
        """By probabilities of labels."""
        from manyheads.tasks.text_classification.distillation import LabelDistillation

        return LabelDistillation(self)

    @property
    def choices(self) -> Choices[LabelledText]:
        """The label, or whether each label applies."""
        from manyheads.tasks.text_classification.choices import LabelChoices

        return LabelChoices(self)

    # -- data ---------------------------------------------------------------------------------------------------
    def read(self, row: Row) -> LabelledText:
        """`text`, optional `text_pair`, and `label` or `labels`."""
        return read_labelled_text(row)

    def row_of_target(self, row: Row, target: Any) -> Row:
        """`targets: {NAME: "LABEL"}` or `{NAME: ["LABEL", ...]}`."""
        return {**shared_keys(row), "labels" if isinstance(target, list) else "label": target}

    def collect(self, example: LabelledText) -> DataStatistics:
        """Counts of labels, and whether they come in lists."""
        return DataStatistics(Counter(example.labels), example.flags)

    @classmethod
    def suitability(cls, statistics: DataStatistics) -> float:
        """Low for labels that are decimal numbers, that are many numbers, or of which hardly any occurs twice."""
        labels = statistics.labels
        decimal = sum(_DECIMAL.fullmatch(label) is not None for label in labels)
        if not labels or DECIMAL_LABEL in statistics.flags or 2 * decimal > len(labels):
            return 0.1
        unlike = len(labels) > max(MANY_NUMBERS, 0.5 * sum(labels.values()))
        many = len(labels) > MANY_NUMBERS and MULTI_LABEL not in statistics.flags
        return 0.1 if unlike else 0.3 if many and all(label.isdecimal() for label in labels) else 0.8

    def fit(self, statistics: DataStatistics) -> TextClassification:
        """Labels of the training data, unless listed, and their weights."""
        multi = MULTI_LABEL in statistics.flags
        if multi and "single-label" in statistics.flags:
            raise DataError(
                f"task '{self.name}': some rows have 'label' and others 'labels'; use one of them throughout"
            )
        labels = self.labels if self.labels else tuple(sorted(statistics.labels))
        if len(labels) < (1 if multi else 2):
            raise DataError(f"task '{self.name}': the training data has only the label {', '.join(labels) or '(none)'}")
        if isinstance(self.class_weights, dict) and (unknown := sorted(set(self.class_weights) - set(labels))):
            raise DataError(f"task '{self.name}': class_weights names {unknown[0]!r}; labels are {', '.join(labels)}")
        counts = {label: statistics.labels.get(label, 0) for label in labels}
        weights = label_weights(self.class_weights, counts, multi=multi)
        return replace(self, labels=labels, multi_label=multi, label_weights=weights)

    def fit_from(self, before: Task[LabelledText], statistics: DataStatistics) -> TextClassification:
        """With the labels that the task had, and new ones of the data after them."""
        labels = grown_labels(self.labels, before.label_names, statistics.labels)
        derived = derived_settings(before.with_labels(labels))
        fitted = replace(self, labels=labels, **derived).fit(statistics)
        if fitted.multi_label != derived["multi_label"]:
            now, then = ("'labels'", "'label'") if fitted.multi_label else ("'label'", "'labels'")
            raise DataError(f"task '{self.name}': its rows have {now}, those of the model that it starts from had {then}; "
                            "give the task another name to begin anew")  # fmt: skip
        return fitted

    @property
    def output_names(self) -> tuple[str, ...]:
        """The labels."""
        return self.labels

    def with_labels(self, labels: Sequence[str]) -> TextClassification:
        """Without the weights and thresholds of the labels before."""
        same = tuple(labels) == self.labels
        return self if same else replace(self, labels=tuple(labels), thresholds=(), label_weights=())

    def renamed_row(self, row: Row, became: Mapping[str, str | None]) -> Row | None:
        """None for a text whose only label is removed, if texts have exactly one."""
        example = self.read(row)
        labels = list(relabel(example.labels, became))
        if example.multi:
            return {**row, "labels": labels}
        return {**row, "label": labels[0]} if labels else None

    def validate(self, example: LabelledText) -> None:
        """Every label must be in the training data, and in the same form (`label` or `labels`)."""
        if example.multi != self.multi_label:
            forms = ("'labels', a list", "'label', one string")
            want, seen = forms if self.multi_label else forms[::-1]
            raise RowError(f"has {seen}, but the training data has {want}")
        for label in example.labels:
            if label not in self.label_places:
                known = ", ".join(self.labels[:20]) + (" …" if len(self.labels) > 20 else "")
                raise RowError(f"label {label!r} is not in the training data, which has {known}")

    def data_warnings(self, statistics: DataStatistics, rows: int) -> Sequence[str]:
        """Labels that are numbers, zeros and ones, or very unevenly distributed."""
        from manyheads.tasks.text_classification.data_warnings import data_warnings

        return data_warnings(self, statistics, rows)

    # -- training, answering, scoring -----------------------------------------------------------------------------
    targets = training.targets
    denominator = training.denominator
    reweighted = training.reweighted
    loss = training.loss

    decode = decoding.decode
    answer_keys = decoding.answer_keys

    @property
    def answer_types(self) -> dict[str, AnswerType]:
        """The best label with its score, or all that apply; the score of each label."""
        scores = ("map", "float")
        if self.multi_label:
            return {self.name: {"labels": ["string"], "scores": scores}}
        return {self.name: {"label": "string", "score": "float", "scores": scores}}

    score = scores.score
    evidence = scores.evidence
    degenerate_reason = scores.degenerate_reason
    chance = scores.chance
    calibrate = scores.calibrate
    recalibrate = scores.recalibrate

    def threshold_notes(self) -> list[str]:
        """The score from which a label is given, for multi-label data."""
        if not self.multi_label:
            return []
        low, high = float(self.limits.min()), float(self.limits.max())
        if low == high:
            return [f"labels with a score of at least {low:.4g} are given"]
        return [f"labels are given from their own thresholds, which range from {low:.2g} to {high:.2g}"]

    # -- files, reports, other tools ------------------------------------------------------------------------------
    @classmethod
    def matches_entry(cls, entry: Any) -> bool | None:
        """A label, a list of labels, or an object with either. Labels of sentences are spans, which may be entities."""
        first = entry[0] if isinstance(entry, list) and entry else None
        keys = set(entry) if isinstance(entry, Mapping) else set()
        if entry == [] or (isinstance(first, Mapping) and {"start", "end", "label"} <= set(first) and "text" not in first):
            return None
        return isinstance(entry, str) or isinstance(first, str) or bool({"label", "labels"} & keys)

    @classmethod
    def row_of_entry(cls, row: Row, entry: Any) -> Row:
        """`label` or `labels`; for spans `sentences`."""
        if isinstance(entry, list) and any(isinstance(part, Mapping) for part in entry):
            return {"sentences": entry}
        return entry if isinstance(entry, Mapping) else {"labels" if isinstance(entry, list) else "label": entry}

    @classmethod
    def score_rows(cls, golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
        """Accuracy, macro, micro and weighted F1."""
        from manyheads.tasks.text_classification.file_scores import score_labels
        from manyheads.tasks.text_classification.sentences.file_scores import score_sentences

        sentences = any("sentences" in row.values for row in (*golds, *guesses))
        return score_sentences(golds, guesses) if sentences else score_labels(golds, guesses)

    def findings(self, answers: Sequence[Sequence[Any]], examples: Sequence[LabelledText]) -> Sequence[Part]:
        """Confusions of labels, and the most confident mistakes."""
        from manyheads.tasks.text_classification.mistakes import label_findings

        return label_findings(answers, examples, multi_label=self.multi_label)

    def stock_class(self, head: nn.Module, family: str, width: int) -> StockClass | None:
        """For heads on the first token."""
        from manyheads.tasks.text_classification.stock import stock_class

        return stock_class(self, head, family, width)
