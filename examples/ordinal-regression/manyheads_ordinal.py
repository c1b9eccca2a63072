"""Ordinal regression: labels with an order, such as `mild`, `moderate`, `severe`.

For each level but the lowest, the head predicts whether a text is above the level before it (Frank & Hall 2001). The main
metric is the quadratic weighted kappa (Cohen 1968), which weights errors by their squared distance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from manyheads.errors import DataError, RowError
from manyheads.metrics.evidence import FORMULAS, Formula, Tally, grouped
from manyheads.tasks.base import AnswerForm, Array, DataStatistics, Item, Loss, Output, Row
from manyheads.tasks.pooled import PooledTask, Text
from manyheads.tasks.settings import Doc

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class OrdinalRegression(PooledTask[str]):
    """One of several ordered levels per text."""

    kind: ClassVar[str] = "ordinal-regression"
    main_metric: ClassVar[str] = "quadratic_kappa"
    metric_names: ClassVar[tuple[str, ...]] = ("quadratic_kappa", "accuracy")
    columns: ClassVar[tuple[tuple[str, ...], ...]] = (("text", "level"),)
    answer_form: ClassVar[AnswerForm] = "classes"

    levels: Annotated[tuple[str, ...], Doc("from the lowest to the highest; none: whole numbers")] = ()

    @property
    def size(self) -> int:
        """One output per step between two levels."""
        return len(self.levels) - 1

    def read_gold(self, row: Row) -> str:
        """`level`."""
        level = row.get("level")
        if not isinstance(level, str | int) or (self.levels and str(level) not in self.levels):
            raise RowError(f"'level' must be one of {', '.join(self.levels) or 'the levels'}, seen {level!r:.80}")
        return str(level)

    def collect(self, example: Text[str]) -> DataStatistics:
        """The level."""
        return DataStatistics(labels={example.gold: 1})

    def fit(self, statistics: DataStatistics) -> OrdinalRegression:
        """Whole numbers are ordered by value. Raises DataError for other levels, unless the run file lists them."""
        levels = self.levels or tuple(sorted(statistics.labels, key=lambda level: (len(level), level)))
        if len(levels) < 2 or not (self.levels or all(level.isdecimal() for level in levels)):
            seen = ", ".join(sorted(statistics.labels))
            raise DataError(f"tasks.{self.name}.levels: list the levels from the lowest to the highest; the data has {seen}")
        return replace(self, levels=levels)

    def gold_array(self, examples: Sequence[Text[str]]) -> Array:
        """`(B, K - 1)`: whether a text is above each level."""
        return (self._numbers(e.gold for e in examples)[:, None] > np.arange(self.size)).astype(np.float32)

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """Mean binary cross entropy; the chance loss is log(2)."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        loss = binary_cross_entropy_with_logits(self.text_logits(output, targets), targets["gold"])
        return Loss(loss, float(np.log(2)))

    def decode(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        """`{"label", "score", "scores"}`: the most probable level."""
        above_BK = 1 / (1 + np.exp(-self.logits(items)))
        above_BK = np.minimum.accumulate(above_BK, axis=1)  # above the third level implies above the second
        edges = np.ones((len(above_BK), 1)), np.zeros((len(above_BK), 1))
        chance_BK = -np.diff(np.concatenate([edges[0], above_BK, edges[1]], axis=1), axis=1)
        return [self._answer(chance_K) for chance_K in chance_BK]

    def _answer(self, chance_K: Array) -> dict[str, Any]:
        best = int(chance_K.argmax())
        scores = dict(zip(self.levels, chance_K.tolist(), strict=True))
        return {"label": self.levels[best], "score": scores[self.levels[best]], "scores": scores}

    def score(self, answers: Sequence[Sequence[dict[str, Any]]], examples: Sequence[Text[str]]) -> dict[str, float]:
        """Quadratic weighted kappa, accuracy, and mean distance in levels."""
        given, gold = self._numbers(a[0]["label"] for a in answers), self._numbers(e.gold for e in examples)
        kappa = self.evidence(answers, examples, [""] * len(examples)).scores(np.ones((1, len(examples))))
        return {"quadratic_kappa": float(kappa[0]), "accuracy": float((given == gold).mean()),
                "distance": float(np.abs(given - gold).mean())}  # fmt: skip

    def evidence(
        self, answers: Sequence[Sequence[dict[str, Any]]], examples: Sequence[Text[str]], clusters: Sequence[str]
    ) -> Tally:
        """The confusion matrix."""
        K = len(self.levels)
        given, gold = self._numbers(a[0]["label"] for a in answers), self._numbers(e.gold for e in examples)
        return Tally(grouped(np.eye(K * K)[K * gold + given], clusters), "quadratic-kappa")

    def _numbers(self, levels: Any) -> Array:
        return np.array([self.levels.index(level) for level in levels], dtype=np.int64)


def quadratic_kappa(sums_BM: Array) -> Array:
    """From confusion matrices `(B, K * K)`, gold by given: 1 minus mean squared distance over that of independent answers."""
    K = round(np.sqrt(sums_BM.shape[1]))
    found_BKK = sums_BM.reshape(-1, K, K)
    far_KK = np.subtract.outer(np.arange(K), np.arange(K)) ** 2
    gold_BK, given_BK, total_B = found_BKK.sum(2), found_BKK.sum(1), found_BKK.sum((1, 2))
    expected_B = (far_KK * gold_BK[:, :, None] * given_BK[:, None, :]).sum((1, 2)) / np.maximum(total_B, 1)
    seen_B = (far_KK * found_BKK).sum((1, 2))
    return np.asarray(1 - np.divide(seen_B, expected_B, out=np.ones(len(expected_B)), where=expected_B > 0))


FORMULAS["quadratic-kappa"] = Formula(quadratic_kappa, columns=1, repeats=True)
