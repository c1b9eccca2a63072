"""The choices of text classification: one label of K, or for multi-label data whether each of K labels applies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from manyheads.metrics.calibration import sigmoid, softmax
from manyheads.tasks.base import Array, Item
from manyheads.tasks.choices import Choices, Doubt, Judged, likeliest
from manyheads.tasks.text_classification.example import LabelledText
from manyheads.tasks.text_classification.training import indicators

if TYPE_CHECKING:
    from manyheads.tasks.text_classification.task import TextClassification

SHOWN = 3
"""Labels whose probabilities are given, beside the gold ones."""


class LabelChoices(Choices[LabelledText]):
    """`(1, K)` for single labels, `(K, 2)` (not given, given) for several."""

    reviews: ClassVar[bool] = True

    def __init__(self, task: TextClassification) -> None:
        self.task = task

    @property
    def separate(self) -> bool:
        """For several labels: each is a question of its own."""
        return self.task.multi_label

    def probabilities(self, items: Sequence[Item]) -> list[Array]:
        """Softmax or sigmoids of the logits, with the task's temperature."""
        logits_BK = self.task.logits(items) / self.task.temperature
        if not self.task.multi_label:
            return list(softmax(logits_BK)[:, None, :]) if items else []
        given_BK = sigmoid(logits_BK)
        return list(np.stack([1 - given_BK, given_BK], axis=-1))

    def describe(self, item: Item, chance_K: Array, choice: int) -> str:
        """The likeliest labels, or whether one label applies."""
        if not self.task.multi_label:
            return likeliest(chance_K, self.task.labels)
        return f"{self.task.labels[choice]} {chance_K[1]:.2f}"

    def gold(self, example: LabelledText, item: Item) -> Array:
        """The label, or for each label 1 where it applies."""
        given_K = indicators(self.task, [example])[0]
        return given_K.astype(np.int64) if self.task.multi_label else given_K.argmax(keepdims=True)

    def doubts(self, judged: Judged[LabelledText]) -> list[Doubt]:
        """One per text; of several labels, about the one most likely wrong."""
        return [self._several(judged) if self.task.multi_label else self._single(judged)]

    def _single(self, judged: Judged[LabelledText]) -> Doubt:
        chance_K, gold = judged.chance_UK[0], int(judged.gold_U[0])
        best = int(chance_K.argmax())
        order = [gold, *(k for k in np.argsort(-chance_K, kind="stable")[:SHOWN].tolist() if k != gold)]
        return Doubt(
            float(chance_K[gold]), "" if best == gold else "wrong label", self.task.labels[gold], self.task.labels[best],
            {self.task.labels[k]: float(chance_K[k]) for k in order}, bool(judged.suspected_U[0]),
        )  # fmt: skip

    def _several(self, judged: Judged[LabelledText]) -> Doubt:
        labels = np.array(self.task.labels, object)
        quality_K = judged.chance_UK[np.arange(len(labels)), judged.gold_U]
        worst = int(quality_K.argmin())
        flipped_K = judged.suspected_U.astype(bool) | ((np.arange(len(labels)) == worst) & (quality_K < 0.5))
        better_K = np.where(flipped_K, 1 - judged.gold_U, judged.gold_U).astype(bool)
        kind = "" if not flipped_K.any() else "spurious" if judged.gold_U[worst] else "missed"
        shown = np.argsort(quality_K, kind="stable")[:SHOWN].tolist()
        return Doubt(
            float(quality_K[worst]), kind, labels[judged.gold_U.astype(bool)].tolist(), labels[better_K].tolist(),
            {self.task.labels[k]: float(judged.chance_UK[k, 1]) for k in shown}, bool(judged.suspected_U.any()),
        )  # fmt: skip
