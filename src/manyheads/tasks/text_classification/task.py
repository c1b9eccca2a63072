"""Labels for a text or a pair of texts: one of several, or any number of them.

Decided here: a text longer than the encoder is read in windows, and its logits are the mean of its windows' logits
weighted by their tokens, in training and in answering alike. With a linear head that is the same as pooling the
whole text.

On validation data a temperature is fitted to the scores, and with several labels a threshold for each, unless the run file
gives one for all (`metrics/calibration.py`). Without validation data the threshold is 0.5: scores of training texts are too
high to choose one by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from manyheads.errors import DataError, RowError
from manyheads.metrics.calibration import (
    class_temperature,
    expected_calibration_error,
    label_temperature,
    label_thresholds,
    logit,
    sigmoid,
    softmax,
)
from manyheads.metrics.evidence import Tally, grouped
from manyheads.metrics.labels import multi_label_scores, single_label_scores
from manyheads.tasks.base import (
    AnswerForm,
    AnswerType,
    Array,
    DataStatistics,
    Item,
    Loss,
    Output,
    Row,
    Task,
    merged,
    window_owners,
)
from manyheads.tasks.pooled import TextTask, document_of, shared_keys, text_and_pair
from manyheads.tasks.settings import NAMES, SETTLED, Doc
from manyheads.tasks.text_classification.class_weights import balanced, credible
from manyheads.text.values import is_decimal, label_of, labels_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from manyheads.html.page import Part
    from manyheads.tasks.distillation import Distillation
    from manyheads.tasks.file_rows import FileRow, FileScores
    from manyheads.tasks.stock import StockClass
    from manyheads.text.pack import Encoding

MULTI_LABEL = "multi-label"
UNTUNED = 0.5
"""The threshold of labels where none has been tuned."""
LEAST = 1e-300
"""Scores below have no logarithm."""
DECIMAL_LABEL = "decimal-label"


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text, perhaps a second one, and its labels: exactly one unless the data is multi-label."""

    text: str
    pair: str | None
    labels: tuple[str, ...]
    multi: bool
    document: str = ""
    decimal: bool = False
    """Whether the label came as a decimal number."""


@dataclass(frozen=True, kw_only=True)
class TextClassification(TextTask[LabelledText]):
    """Classification of texts or pairs, single label (softmax) or multi-label (one sigmoid a label)."""

    kind: ClassVar[str] = "text-classification"
    main_metric: ClassVar[str] = "macro_f1"
    metric_names: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1", "micro_f1", "weighted_f1")
    columns: ClassVar[tuple[tuple[str, ...], ...]] = (("text", "label"), ("text", "labels"))
    answer_form: ClassVar[AnswerForm] = "classes"
    cluster_noun: ClassVar[str] = "documents"

    labels: Annotated[tuple[str, ...], NAMES, Doc("none: those of the training data")] = ()
    multi_label: Annotated[bool, SETTLED] = False
    class_weights: Annotated[
        Literal["auto", "none", "balanced"] | dict[str, Annotated[float, Ge(0)]],
        NAMES,
        Doc("how much texts of each label weigh in the loss; or a mapping label to weight"),
    ] = "auto"
    """`auto`: single labels whose counts differ by chance weigh the same in total (`class_weights.py`); `balanced`: all
    do, as in scikit-learn; a mapping: as given, 1 if absent."""
    threshold: Annotated[
        Literal["auto"] | Annotated[float, Gt(0), Lt(1)],
        Doc("of several labels those are given whose score reaches it; auto: tuned, label by label"),
    ] = "auto"
    """Multi-label: a label is given when its probability reaches this; `auto`: tuned on validation data, label by label."""
    thresholds: Annotated[tuple[float, ...], SETTLED] = field(default=(), repr=False)
    """Tuned with `threshold: auto`, in the order of `labels`; empty before."""
    temperature: Annotated[float, Gt(0), SETTLED] = 1.0
    """Logits are divided by it; fitted on validation data."""
    label_weights: Annotated[tuple[float, ...], SETTLED] = field(default=(), repr=False)
    """Settled from `class_weights` and the training data, in the order of `labels`."""

    def __post_init__(self) -> None:
        """Raises ValueError for thresholds that are not those of the labels."""
        if self.thresholds and len(self.thresholds) != len(self.labels):
            raise ValueError(f"{len(self.thresholds)} thresholds for {len(self.labels)} labels")

    @property
    def limits(self) -> np.ndarray:
        """The probability from which each label is given, where a text may have several."""
        alone = UNTUNED if self.threshold == "auto" else self.threshold
        return np.array(self.thresholds or [alone] * len(self.labels))

    @property
    def size(self) -> int:
        """One output for each label."""
        return len(self.labels)

    @property
    def distillation(self) -> Distillation[LabelledText]:
        """By probabilities of labels."""
        from manyheads.tasks.text_classification.distillation import LabelDistillation

        return LabelDistillation(self)

    # -- data ---------------------------------------------------------------------------------------------------
    def read(self, row: Row) -> LabelledText:
        """`text`, optional `text_pair`, and `label` or `labels`."""
        (text, pair), document = text_and_pair(row), document_of(row)
        if row.get("labels") is not None:
            return LabelledText(text, pair, labels_of(row["labels"]), True, document)
        if "label" not in row:
            raise RowError("has no 'label'")
        return LabelledText(text, pair, (label_of(row["label"]),), False, document, is_decimal(row["label"]))

    def row_of_target(self, row: Row, target: Any) -> Row:
        """`targets: {NAME: "LABEL"}` or `{NAME: ["LABEL", ...]}`."""
        return {**shared_keys(row), "labels" if isinstance(target, list) else "label": target}

    def collect(self, example: LabelledText) -> DataStatistics:
        """Texts of each label, and whether labels come in lists."""
        flags = [MULTI_LABEL if example.multi else "single-label", *([DECIMAL_LABEL] if example.decimal else [])]
        return DataStatistics(Counter(example.labels), frozenset(flags))

    def fit(self, statistics: DataStatistics) -> TextClassification:
        """Labels of the training data unless listed; weights of the classes."""
        multi = MULTI_LABEL in statistics.flags
        if multi and "single-label" in statistics.flags:
            raise DataError(
                f"task '{self.name}': some rows have 'label' and others 'labels'; use one of them throughout"
            )
        labels = self.labels if self.labels else tuple(sorted(statistics.labels))
        if len(labels) < (1 if multi else 2):
            raise DataError(f"task '{self.name}': the training data has only the label {', '.join(labels) or '(none)'}")
        return replace(self, labels=labels, multi_label=multi, label_weights=self._weights(labels, statistics, multi=multi))

    def validate(self, example: LabelledText) -> None:
        """Every label must be known, and come in the form of the training data."""
        if example.multi != self.multi_label:
            forms = ("'labels', a list", "'label', one string")
            want, seen = forms if self.multi_label else forms[::-1]
            raise RowError(f"has {seen}, but the training data has {want}")
        for label in example.labels:
            if label not in self.labels:
                known = ", ".join(self.labels[:20]) + (" …" if len(self.labels) > 20 else "")
                raise RowError(f"label {label!r} is not in the training data, which has {known}")

    # -- training -----------------------------------------------------------------------------------------------
    def targets(
        self, examples: Sequence[LabelledText], encodings: Sequence[Sequence[Sequence[Encoding]]]
    ) -> dict[str, Array]:
        """`owner_S` text of each window, `share_S` its weight there, `label_BK` 1.0 where a text has a label."""
        label_BK = self._indicators(examples).astype(np.float32)
        owner_S, share_S = window_owners([asked[0] for asked in encodings])
        return {"owner_S": owner_S, "share_S": share_S, "label_BK": label_BK}

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Texts; the sum of their class weights, where labels have weights."""
        label_BK = np.asarray(targets["label_BK"])
        if self.label_weights and not self.multi_label:
            return float(np.asarray(self.label_weights)[label_BK.argmax(-1)].sum())
        return float(len(label_BK))

    def among(
        self, part: Sequence[Mapping[str, torch.Tensor]], whole: Sequence[Mapping[str, torch.Tensor]]
    ) -> TextClassification:
        """Labels weigh as much in total as in the whole; those that the part lacks weigh nothing."""
        if self.multi_label:
            return self
        count_K, all_K = (sum(t["label_BK"].sum(0).double().cpu().numpy() for t in some) for some in (part, whole))
        weight_K = np.array(self.label_weights or [1.0] * len(self.labels))
        if self.label_weights and not isinstance(self.class_weights, dict):
            weight_K = weight_K * all_K / np.maximum(count_K, 1)
        return replace(self, label_weights=tuple((weight_K * (count_K > 0)).tolist()))

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """Mean cross entropy, of which log(K) knows nothing; or mean binary cross entropy, of which log(2) does."""
        from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

        label_BK = targets["label_BK"]
        logits_BK = merged(output["logits_SK"], targets["owner_S"], targets["share_S"], len(label_BK))
        weight_K = logits_BK.new_tensor(self.label_weights) if self.label_weights else None
        if self.multi_label:
            chance_loss = float(np.log(2))
            loss = binary_cross_entropy_with_logits(logits_BK, label_BK, pos_weight=weight_K)
        else:
            chance_loss = float(np.log(len(self.labels)))
            loss = cross_entropy(logits_BK, label_BK.argmax(-1), weight=weight_K)
        return Loss(loss, chance_loss)

    # -- answering ----------------------------------------------------------------------------------------------
    def decode(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        """`{"label", "score", "scores"}`, or `{"labels", "scores"}`; scores in falling order."""
        return self._answered(self.logits(items)) if items else []

    def answer_keys(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer, its scores with six decimals."""
        scores = {label: round(value, 6) for label, value in answer["scores"].items()}
        given = {"labels": answer["labels"]} if self.multi_label else {
            "label": answer["label"], "score": scores[answer["label"]],
        }  # fmt: skip
        return {self.name: {**given, "scores": scores}}

    @property
    def answer_types(self) -> dict[str, AnswerType]:
        """The best label and its score, or all that apply; the score of each label."""
        scores = ("map", "float")
        if self.multi_label:
            return {self.name: {"labels": ["string"], "scores": scores}}
        return {self.name: {"label": "string", "score": "float", "scores": scores}}

    def score(self, answers: Sequence[Sequence[dict[str, Any]]], examples: Sequence[LabelledText]) -> dict[str, float]:
        """Accuracy (of the whole set when multi-label), macro, micro and weighted F1; `ece`.

        The calibration error is of the best label's score, and with several labels to a text of the score of each.
        """
        return {**self._label_scores(answers, examples), **self._calibration(answers, examples)}

    def _label_scores(
        self, answers: Sequence[Sequence[dict[str, Any]]], examples: Sequence[LabelledText]
    ) -> dict[str, float]:
        if self.multi_label:
            return multi_label_scores([e.labels for e in examples], [a[0]["labels"] for a in answers])
        return single_label_scores([e.labels[0] for e in examples], [a[0]["label"] for a in answers])

    def _calibration(
        self, answers: Sequence[Sequence[dict[str, Any]]], examples: Sequence[LabelledText]
    ) -> dict[str, float]:
        """`ece`, where there are examples and answers that have scores."""
        if not examples or "scores" not in answers[0][0]:
            return {}
        if self.multi_label:
            return {"ece": expected_calibration_error(self._scores_of(answers), self._indicators(examples))}
        right = [a[0]["label"] == e.labels[0] for a, e in zip(answers, examples, strict=True)]
        return {"ece": expected_calibration_error([a[0]["score"] for a in answers], right)}

    def evidence(
        self, answers: Sequence[Sequence[dict[str, Any]]], examples: Sequence[LabelledText], clusters: Sequence[str]
    ) -> Tally:
        """Right, predicted and gold texts of each label, for macro F1."""
        column = {
            label: 3 * k for k, label in enumerate(sorted({*self.labels, *(x for e in examples for x in e.labels)}))
        }
        counts_EM = np.zeros((len(examples), 3 * len(column)))
        for row_M, example, answer in zip(counts_EM, examples, answers, strict=True):
            gold = set(example.labels)
            found = set(answer[0]["labels"]) if self.multi_label else {answer[0]["label"]}
            for offset, labels in enumerate((gold & found, found, gold)):
                row_M[[column[label] + offset for label in labels]] += 1
        return Tally(grouped(counts_EM, clusters), "macro_f1")

    def shortcoming(self, answers: Sequence[Sequence[dict[str, Any]]], examples: Sequence[LabelledText]) -> str | None:
        """Every text gets the same label or labels, or the scores are no better than if it did."""
        golds = Counter(frozenset(example.labels) for example in examples)
        if len(golds) < 2:
            return None
        given = {frozenset(a[0]["labels"]) if self.multi_label else frozenset([a[0]["label"]]) for a in answers}
        if len(given) == 1:
            return f"answers {_quoted(given.pop())} for all {len(examples):,} texts"
        blind, scores = self.chance(examples), self._label_scores(answers, examples)
        if all(scores[name] <= blind[name] for name in ("accuracy", "macro_f1")):
            return f"scores no better than always answering {_quoted(_commonest(examples))}"
        return None

    def chance(self, examples: Sequence[LabelledText]) -> dict[str, float]:
        """Always the commonest label, or set of labels."""
        usual = _commonest(examples)
        same = [[{"labels": usual} if self.multi_label else {"label": usual[0]}]] * len(examples) if examples else []
        return self._label_scores(same, examples)

    def calibrated(
        self, answers: Sequence[Sequence[dict[str, Any]]], examples: Sequence[LabelledText]
    ) -> TextClassification:
        """With a temperature fitted to these examples, and with `threshold: auto` a threshold for each label."""
        if not examples:
            return self
        logits_BK, label_BK = self._logits_of(answers), self._indicators(examples)
        if not self.multi_label:
            known_B = label_BK.any(-1)
            return replace(self, temperature=class_temperature(logits_BK[known_B], label_BK[known_B].argmax(-1)))
        temperature = label_temperature(logits_BK, label_BK)
        if self.threshold != "auto":
            return replace(self, temperature=temperature)
        threshold_K = label_thresholds(sigmoid(logits_BK / temperature), label_BK)
        return replace(self, temperature=temperature, thresholds=tuple(threshold_K.tolist()))

    def restated(
        self, answers: Sequence[Sequence[dict[str, Any]]], before: Task[LabelledText]
    ) -> list[list[dict[str, Any]]]:
        """The same scores at this temperature, with the labels that reach these thresholds."""
        assert isinstance(before, TextClassification), "the same task"
        return [[answer] for answer in self._answered(before._logits_of(answers))] if answers else []

    def conditions(self) -> list[str]:
        """The probability from which one of several labels is given."""
        if not self.multi_label:
            return []
        low, high = float(self.limits.min()), float(self.limits.max())
        if low == high:
            return [f"labels are given whose score is at least {low:.4g}"]
        return [f"labels are given whose score reaches the threshold of each, {low:.2g} to {high:.2g}"]

    def form_warnings(self, statistics: DataStatistics, used: int) -> Sequence[str]:
        """Labels that are numbers, zeros and ones, or unevenly frequent."""
        from manyheads.tasks.text_classification.form_warnings import form_warnings

        return form_warnings(self, statistics, used)

    # -- files, reports, other tools ------------------------------------------------------------------------------
    @classmethod
    def holds(cls, entry: Any) -> bool | None:
        """A label, a list of labels, or an object that has some."""
        first = entry[0] if isinstance(entry, list) and entry else None
        keys = set(entry) if isinstance(entry, Mapping) else set()
        return None if entry == [] else isinstance(entry, str) or isinstance(first, str) or bool({"label", "labels"} & keys)

    @classmethod
    def row_of_entry(cls, row: Row, entry: Any) -> Row:
        """`label` or `labels`."""
        return entry if isinstance(entry, Mapping) else {"labels" if isinstance(entry, list) else "label": entry}

    @classmethod
    def score_rows(cls, golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
        """Accuracy, macro, micro and weighted F1."""
        from manyheads.tasks.text_classification.file_scores import score_labels

        return score_labels(golds, guesses)

    def findings(self, answers: Sequence[Sequence[Any]], examples: Sequence[LabelledText]) -> Sequence[Part]:
        """Which label is taken for which, and the mistakes that the model is surest of."""
        from manyheads.tasks.text_classification.mistakes import label_findings

        return label_findings(self, answers, examples)

    def stock_class(self, head: nn.Module, family: str, width: int) -> StockClass | None:
        """Of heads that read the first token."""
        from manyheads.tasks.text_classification.stock import stock_class

        return stock_class(self, head, family, width)

    def _answered(self, logits_BK: np.ndarray) -> list[dict[str, Any]]:
        """Answers from logits, scores in falling order and not rounded: calibration needs the smallest, too."""
        scaled_BK = logits_BK / self.temperature
        score_BK = sigmoid(scaled_BK) if self.multi_label else softmax(scaled_BK)
        limit_K = self.limits
        return [self._answer(score_K, limit_K) for score_K in score_BK]

    def _answer(self, score_K: np.ndarray, limit_K: np.ndarray) -> dict[str, Any]:
        order = np.argsort(-score_K, kind="stable")
        scores = {self.labels[k]: float(score_K[k]) for k in order}
        if self.multi_label:
            return {"labels": [self.labels[k] for k in order if score_K[k] >= limit_K[k]], "scores": scores}
        best = self.labels[order[0]]
        return {"label": best, "score": scores[best], "scores": scores}

    def _scores_of(self, answers: Sequence[Sequence[dict[str, Any]]]) -> np.ndarray:
        """Scores of answers, in the order of the labels."""
        return np.array([[answer[0]["scores"][label] for label in self.labels] for answer in answers])

    def _logits_of(self, answers: Sequence[Sequence[dict[str, Any]]]) -> np.ndarray:
        """The logits that answers come from, but for a constant in each row of single labels."""
        score_BK = self._scores_of(answers)
        logits_BK = logit(score_BK) if self.multi_label else np.log(np.maximum(score_BK, LEAST))
        return np.asarray(logits_BK * self.temperature)

    def _indicators(self, examples: Sequence[LabelledText]) -> np.ndarray:
        """1.0 where a text has a label. Labels the head does not know are passed over."""
        place = {label: k for k, label in enumerate(self.labels)}
        label_BK = np.zeros((len(examples), len(self.labels)))
        for row_K, example in zip(label_BK, examples, strict=True):
            row_K[[place[label] for label in example.labels if label in place]] = 1.0
        return label_BK

    def _weights(self, labels: Sequence[str], statistics: DataStatistics, *, multi: bool) -> tuple[float, ...]:
        if isinstance(self.class_weights, dict):
            unknown = sorted(set(self.class_weights) - set(labels))
            if unknown:
                raise DataError(
                    f"task '{self.name}': class_weights names {unknown[0]!r}; labels are {', '.join(labels)}"
                )
            return tuple(float(self.class_weights.get(label, 1.0)) for label in labels)
        counts = [statistics.labels.get(label, 0) for label in labels]
        if self.class_weights == "balanced":
            return balanced(counts)
        return credible(counts) if self.class_weights == "auto" and not multi else ()


def _commonest(examples: Sequence[LabelledText]) -> list[str]:
    """The commonest label or set of labels; none without examples."""
    golds = Counter(frozenset(example.labels) for example in examples)
    return sorted(golds.most_common(1)[0][0]) if golds else []


def _quoted(labels: Iterable[str]) -> str:
    return ", ".join(f"'{label}'" for label in sorted(labels)) or "no label"
