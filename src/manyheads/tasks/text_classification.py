"""Labels for a text or a pair of texts: one of several, or any number of them.

Decided here: a text longer than the encoder is read in windows, and its logits are the mean of its windows' logits
weighted by their tokens, in training and in answering alike. With a linear head that is the same as pooling the
whole text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from manyheads.errors import DataError, RowError
from manyheads.metrics.evidence import Tally, grouped
from manyheads.metrics.labels import multi_label_scores, single_label_scores
from manyheads.tasks.base import (
    AnswerType,
    Array,
    Ask,
    Facts,
    Item,
    Level,
    Loss,
    Output,
    Row,
    Task,
    merged,
    text_of,
    window_owners,
)
from manyheads.text.pack import Source
from manyheads.text.values import check_spelling, first_given, is_decimal, key_of, label_of, labels_of, optional_text

if TYPE_CHECKING:
    import torch
    from torch import nn

    from manyheads.text.pack import Encoding

MULTI_LABEL = "multi-label"
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
class TextClassification(Task[LabelledText]):
    """Classification of texts or pairs, single label (softmax) or multi-label (one sigmoid a label)."""

    kind: ClassVar[str] = "text-classification"
    main_metric: ClassVar[str] = "macro_f1"
    metric_names: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1", "micro_f1", "weighted_f1")

    labels: tuple[str, ...] = ()
    multi_label: bool = False
    pooling: Literal["mean", "cls"] = "mean"
    dropout: float = 0.1
    hidden: int | None = None
    """Width of one hidden layer between pooling and labels; None for a linear head."""
    class_weights: Literal["none", "balanced"] | dict[str, float] = "none"
    """`balanced`: each label weighs total / (labels * its count), as in scikit-learn; a mapping: as given, 1 if absent."""
    threshold: float = 0.5
    """Multi-label: a label is given when its probability reaches this."""
    stride: int = 64
    label_weights: tuple[float, ...] = field(default=(), repr=False)
    """Settled from `class_weights` and the training data, in the order of `labels`."""

    @property
    def outputs(self) -> Mapping[str, Level]:
        """Logits per window."""
        return {"logits_SK": "sequence"}

    # -- data ---------------------------------------------------------------------------------------------------
    def read(self, row: Row) -> LabelledText:
        """`text`, optional `text_pair`, and `label` or `labels`."""
        text = text_of(row)
        if not text.strip():
            raise RowError("has an empty 'text'; there is nothing to learn from it")
        pair = optional_text(row.get("text_pair"), "text_pair")
        document = key_of(row.get("document"), "document")
        check_spelling(row, ("text_pair", "document"))
        if row.get("labels") is not None:
            return LabelledText(text, pair, labels_of(row["labels"]), True, document)
        if "label" not in row:
            raise RowError("has no 'label'")
        return LabelledText(text, pair, (label_of(row["label"]),), False, document, is_decimal(row["label"]))

    def row_of_target(self, row: Row, target: Any) -> Row:
        """`targets: {NAME: "LABEL"}` or `{NAME: ["LABEL", ...]}`."""
        shared = {key: row[key] for key in ("text", "tokens", "text_pair") if row.get(key) is not None}
        document = first_given(row.get("document"), row.get("id"))
        return {**shared, "labels" if isinstance(target, list) else "label": target, "document": document}

    def facts(self, example: LabelledText) -> Facts:
        """Texts of each label, and whether labels come in lists."""
        flags = [MULTI_LABEL if example.multi else "single-label", *([DECIMAL_LABEL] if example.decimal else [])]
        return Facts(Counter(example.labels), frozenset(flags))

    def fitted(self, facts: Facts) -> TextClassification:
        """Labels of the training data unless listed; weights of the classes."""
        multi = MULTI_LABEL in facts.flags
        if multi and "single-label" in facts.flags:
            raise DataError(
                f"task '{self.name}': some rows have 'label' and others 'labels'; use one of them throughout"
            )
        labels = self.labels if self.labels else tuple(sorted(facts.labels))
        if len(labels) < (1 if multi else 2):
            raise DataError(f"task '{self.name}': the training data has only the label {', '.join(labels) or '(none)'}")
        return replace(self, labels=labels, multi_label=multi, label_weights=self._weights(labels, facts))

    def check(self, example: LabelledText) -> None:
        """Every label must be known, and come in the form of the training data."""
        if example.multi != self.multi_label:
            forms = ("'labels', a list", "'label', one string")
            want, seen = forms if self.multi_label else forms[::-1]
            raise RowError(f"has {seen}, but the training data has {want}")
        for label in example.labels:
            if label not in self.labels:
                known = ", ".join(self.labels[:20]) + (" …" if len(self.labels) > 20 else "")
                raise RowError(f"label {label!r} is not in the training data, which has {known}")

    def cluster(self, example: LabelledText) -> str:
        """The document, where rows name one."""
        return example.document

    # -- encoding -----------------------------------------------------------------------------------------------
    def asks(self, example: LabelledText) -> Sequence[Ask]:
        """The text, with its second one."""
        return [Ask(Source(example.text, example.pair, stride=self.stride))]

    def ask(self, row: Row) -> Ask | None:
        """`text`, and `text_pair` if it is there."""
        pair = optional_text(row.get("text_pair"), "text_pair")
        return Ask(Source(text_of(row), pair, stride=self.stride))

    # -- training -----------------------------------------------------------------------------------------------
    def build_head(self, width: int) -> nn.Module:
        """Pooling, dropout, and a linear or one-hidden-layer classifier."""
        from manyheads.nn.heads import PooledHead

        return PooledHead(width, len(self.labels), pooling=self.pooling, dropout=self.dropout, hidden=self.hidden)

    def targets(
        self, examples: Sequence[LabelledText], encodings: Sequence[Sequence[Sequence[Encoding]]]
    ) -> dict[str, Array]:
        """`owner_S` text of each window, `share_S` its weight there, `label_BK` 1.0 where a text has a label."""
        label_BK = np.zeros((len(examples), len(self.labels)), np.float32)
        index = {label: k for k, label in enumerate(self.labels)}
        for row, example in enumerate(examples):
            for label in example.labels:
                label_BK[row, index[label]] = 1.0
        owner_S, share_S = window_owners([asked[0] for asked in encodings])
        return {"owner_S": owner_S, "share_S": share_S, "label_BK": label_BK}

    def amount(self, targets: Mapping[str, Array]) -> float:
        """Texts; the sum of their class weights, where labels have weights."""
        label_BK = np.asarray(targets["label_BK"])
        if self.label_weights and not self.multi_label:
            return float(np.asarray(self.label_weights)[label_BK.argmax(-1)].sum())
        return float(len(label_BK))

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """Mean cross entropy, of which log(K) knows nothing; or mean binary cross entropy, of which log(2) does."""
        from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

        label_BK = targets["label_BK"]
        logits_BK = merged(output["logits_SK"], targets["owner_S"], targets["share_S"], len(label_BK))
        weight_K = logits_BK.new_tensor(self.label_weights) if self.label_weights else None
        if self.multi_label:
            uninformed = float(np.log(2))
            loss = binary_cross_entropy_with_logits(logits_BK, label_BK, pos_weight=weight_K)
        else:
            uninformed = float(np.log(len(self.labels)))
            loss = cross_entropy(logits_BK, label_BK.argmax(-1), weight=weight_K)
        return Loss(loss, len(label_BK), uninformed)

    # -- answering ----------------------------------------------------------------------------------------------
    def decode(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        """`{"label", "score", "scores"}`, or `{"labels", "scores"}`; scores in falling order."""
        if not items:
            return []
        owner_S, share_S = window_owners([item.encodings for item in items])
        logits_SK = np.concatenate([output["logits_SK"] for item in items for output in item.outputs]).astype(
            np.float64
        )
        logits_BK = np.zeros((len(items), len(self.labels)))
        np.add.at(logits_BK, owner_S, logits_SK * share_S[:, None])
        if self.multi_label:
            scores_BK = 1 / (1 + np.exp(-logits_BK))
        else:
            scores_BK = np.exp(logits_BK - logits_BK.max(-1, keepdims=True))
            scores_BK /= scores_BK.sum(-1, keepdims=True)
        return [self._answer(row_K) for row_K in scores_BK]

    @property
    def answer_types(self) -> dict[str, AnswerType]:
        """The best label and its score, or all that apply; the score of each label."""
        scores = ("map", "float")
        if self.multi_label:
            return {self.name: {"labels": ["string"], "scores": scores}}
        return {self.name: {"label": "string", "score": "float", "scores": scores}}

    def score(self, answers: Sequence[Sequence[dict[str, Any]]], examples: Sequence[LabelledText]) -> dict[str, float]:
        """Accuracy (of the whole set when multi-label), macro, micro and weighted F1."""
        if self.multi_label:
            return multi_label_scores([e.labels for e in examples], [a[0]["labels"] for a in answers])
        return single_label_scores([e.labels[0] for e in examples], [a[0]["label"] for a in answers])

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
        usual = sorted(golds.most_common(1)[0][0])
        same = [[{"labels": usual} if self.multi_label else {"label": usual[0]}]] * len(examples)
        blind, scores = self.score(same, examples), self.score(answers, examples)
        if all(scores[name] <= blind[name] for name in ("accuracy", "macro_f1")):
            return f"scores no better than always answering {_quoted(usual)}"
        return None

    def conditions(self) -> list[str]:
        """The probability from which one of several labels is given."""
        return [f"labels are given whose score is at least {self.threshold:.4g}"] if self.multi_label else []

    def describe(self) -> dict[str, Any]:
        """Settings as JSON."""
        weights = self.class_weights if isinstance(self.class_weights, str) else dict(self.class_weights)
        return {
            "name": self.name, "weight": self.weight, "labels": list(self.labels), "multi_label": self.multi_label,
            "pooling": self.pooling, "dropout": self.dropout, "hidden": self.hidden, "class_weights": weights,
            "threshold": self.threshold, "stride": self.stride, "label_weights": list(self.label_weights),
        }  # fmt: skip

    def _answer(self, score_K: np.ndarray) -> dict[str, Any]:
        order = np.argsort(-score_K, kind="stable")
        scores = {self.labels[k]: round(float(score_K[k]), 6) for k in order}
        if self.multi_label:
            return {"labels": [self.labels[k] for k in order if score_K[k] >= self.threshold], "scores": scores}
        best = self.labels[order[0]]
        return {"label": best, "score": scores[best], "scores": scores}

    def _weights(self, labels: Sequence[str], facts: Facts) -> tuple[float, ...]:
        if self.class_weights == "none":
            return ()
        if self.class_weights == "balanced":
            total = sum(facts.labels.values())
            return tuple(total / (len(labels) * max(facts.labels.get(label, 0), 1)) for label in labels)
        unknown = sorted(set(self.class_weights) - set(labels))
        if unknown:
            raise DataError(f"task '{self.name}': class_weights names {unknown[0]!r}; labels are {', '.join(labels)}")
        return tuple(float(self.class_weights.get(label, 1.0)) for label in labels)


def _quoted(labels: Iterable[str]) -> str:
    return ", ".join(f"'{label}'" for label in sorted(labels)) or "no label"
