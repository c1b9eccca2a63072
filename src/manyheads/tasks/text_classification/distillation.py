"""Text classification learned from a teacher's probabilities of the labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.errors import DataError, RowError
from manyheads.metrics.calibration import sigmoid, softmax
from manyheads.tasks.base import Array, Encodings, Item, Loss, Output, Row, Task
from manyheads.tasks.distillation import (
    KEPT,
    Distillation,
    Soft,
    aligned,
    answer_of,
    label_mismatch,
    listed,
    probability,
)
from manyheads.tasks.inputs import merge_windows, window_weights
from manyheads.tasks.text_classification.example import LabelledText

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.text_classification.task import TextClassification

SURE = 0.5
"""Probability from which a label is taken from the teacher."""
LEAST = 1e-9
"""Least sum that probabilities are divided by."""
SLACK = 0.01
"""Tolerance on the sum of the probabilities of a text: files have few decimals."""


class LabelDistillation(Distillation[LabelledText]):
    """Cross entropy with the teacher's distribution, or binary cross entropy with its probability of each label.

    A text that also has a gold label gets the weight of that label, so that both of its losses have one denominator.
    """

    def __init__(self, task: TextClassification) -> None:
        self.task = task

    @property
    def terms(self) -> Any:
        """Labels in order, and whether texts have several."""
        return [list(self.task.labels), self.task.multi_label]

    def check_teacher(self, teacher: Task[Any]) -> None:
        """The same labels, and one or several per text in both."""
        if (unit := getattr(teacher, "unit", "text")) != self.task.unit:
            raise DataError(f"the teacher labels each {unit} and the task each {self.task.unit}")
        several = getattr(teacher, "multi_label", None)
        if several != self.task.multi_label:
            forms = ("several labels", "one label") if several else ("one label", "several labels")
            raise DataError(f"the teacher gives {forms[0]} to a text and the task {forms[1]}")
        if problem := label_mismatch(self.task.labels, getattr(teacher, "labels", ())):
            raise DataError(problem)

    def unlabelled(self, row: Row) -> LabelledText:
        """`text`, and `text_pair` if present."""
        plain = {key: row[key] for key in ("text", "tokens", "space_after", "text_pair", "document") if key in row}
        return self.task.read({**plain, "labels": []})

    def of_model(
        self, teacher: Task[Any], example: LabelledText, items: Sequence[Item], became: Mapping[str, str | None] = KEPT
    ) -> Soft:
        """`chance_K`, in the order of the task's own labels."""
        head: TextClassification = teacher  # type: ignore[assignment]
        logits_K = head.logits(items)[0]
        chance_K = aligned(sigmoid(logits_K) if head.multi_label else softmax(logits_K), head, self.task, became)
        if head.multi_label:
            chance_K = chance_K.clip(max=1.0)
        elif None in became.values():
            chance_K /= max(chance_K.sum(), LEAST)
        return {"chance_K": np.asarray(chance_K, np.float32)}

    @property
    def completes(self) -> bool:
        """With several labels: one that the data does not annotate may be right too."""
        return self.task.multi_label

    def completed(self, example: LabelledText, soft: Soft, labels: Collection[str]) -> LabelledText:
        """With labels of a probability of at least 0.5."""
        if not self.completes:
            return example
        chance = dict(zip(self.task.labels, soft["chance_K"].tolist(), strict=True))
        more = tuple(label for label in self.task.labels if label in labels and chance[label] >= SURE)
        return replace(example, labels=tuple(dict.fromkeys((*example.labels, *more))))

    def of_row(self, row: Row, example: LabelledText) -> Soft:
        """`scores`, a probability for each label."""
        scores = answer_of(row, self.task.name, "scores")
        if not isinstance(scores, Mapping):
            raise RowError(f"'scores' must be an object with a probability for each label, seen {scores!r:.80}")
        if set(scores) != set(self.task.labels):
            raise RowError(f"'scores' has the labels {listed(sorted(map(str, scores)))}, and the task has "
                           f"{listed(sorted(self.task.labels))}; give each of them a probability")  # fmt: skip
        chance_K = np.array([probability(scores[label], f"the score of {label!r}") for label in self.task.labels])
        total = float(chance_K.sum())
        if not self.task.multi_label:
            if abs(total - 1) > SLACK:
                raise RowError(f"'scores' add up to {total:.4g}, not to 1; give probabilities of labels")
            chance_K /= total
        return {"chance_K": chance_K.astype(np.float32)}

    def targets(
        self, examples: Sequence[LabelledText], encodings: Encodings, softs: Sequence[Soft]
    ) -> dict[str, Array]:
        """`owner_S`, `share_S` as in the task, `chance_BK`, and `weight_B` if labels have weights."""
        owner_S, share_S = window_weights([asked[0] for asked in encodings])
        arrays = {"owner_S": owner_S, "share_S": share_S, "chance_BK": np.stack([soft["chance_K"] for soft in softs])}
        if self.task.label_weights and not self.task.multi_label:
            weight = dict(zip(self.task.labels, self.task.label_weights, strict=True))
            weights = [weight[example.labels[0]] if example.labels else 1.0 for example in examples]
            arrays["weight_B"] = np.array(weights, np.float32)
        return arrays

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Number of texts, or the sum of their weights."""
        return float(targets["weight_B"].sum()) if "weight_B" in targets else float(len(targets["chance_BK"]))

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """Weighted mean over texts; the chance loss is log(K), or log(2) for multi-label data."""
        from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

        chance_BK = targets["chance_BK"]
        logits_BK = merge_windows(output["logits_SK"], targets["owner_S"], targets["share_S"], len(chance_BK))
        chance_BK = chance_BK.to(logits_BK.dtype)
        if self.task.multi_label:
            loss, chance_loss = binary_cross_entropy_with_logits(logits_BK, chance_BK), float(np.log(2))
        else:
            loss_B, chance_loss = cross_entropy(logits_BK, chance_BK, reduction="none"), float(np.log(len(self.task.labels)))
            weight_B = targets.get("weight_B")
            loss = loss_B.mean() if weight_B is None else (loss_B * weight_B).sum() / weight_B.sum()
        return Loss(loss, chance_loss)
