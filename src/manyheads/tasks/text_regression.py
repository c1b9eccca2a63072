"""Numbers for texts or pairs of texts. The head learns them standardised, so that a loss of 1 knows nothing at any scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from manyheads.errors import RowError
from manyheads.metrics.evidence import Tally
from manyheads.metrics.numbers import correlation_tally, number_scores
from manyheads.tasks.base import AnswerForm, Array, DataStatistics, Item, Loss, Moments, Output, Row
from manyheads.tasks.pooled import PooledTask, Text
from manyheads.tasks.settings import SETTLED
from manyheads.text.values import number_of

if TYPE_CHECKING:
    import torch

Numbers = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class TextRegression(PooledTask[Numbers]):
    """Linear regression on the pooled vector, by squared error. Rows have a `score`, or `scores` by name."""

    kind: ClassVar[str] = "text-regression"
    main_metric: ClassVar[str] = "pearson"
    metric_names: ClassVar[tuple[str, ...]] = ("pearson", "spearman", "r2")
    columns: ClassVar[tuple[tuple[str, ...], ...]] = (("text", "score"), ("text", "scores"))
    answer_form: ClassVar[AnswerForm] = "numbers"

    standards: Annotated[dict[str, tuple[float, float]], SETTLED] = field(default_factory=dict)
    """Mean and standard deviation of each number in the training data."""

    @property
    def size(self) -> int:
        """One output for each number."""
        return len(self.standards)

    def gold(self, row: Row) -> Numbers:
        """`score` or `scores`."""
        scores = row.get("scores", {"score": row.get("score")})
        if not isinstance(scores, Mapping) or not scores or (self.standards and set(scores) != set(self.standards)):
            raise RowError(f"'scores' must be an object of {', '.join(self.standards) or 'numbers'}, seen {scores!r:.80}")
        return {name: number_of(scores[name], name) for name in sorted(scores)}

    def collect(self, example: Text[Numbers]) -> DataStatistics:
        """The numbers."""
        return DataStatistics(numbers={name: Moments.of(value) for name, value in example.gold.items()})

    def fit(self, statistics: DataStatistics) -> TextRegression:
        """Mean and deviation of each number. Raises DataError."""
        return replace(self, standards=statistics.standards(self.name))

    def golds(self, examples: Sequence[Text[Numbers]]) -> Array:
        """Standardised, `(B, K)`."""
        mean_K, deviation_K = np.array(list(self.standards.values())).T
        return ((_matrix([e.gold for e in examples]) - mean_K) / deviation_K).astype(np.float32)

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """Mean squared error of standardised numbers."""
        return Loss((self.of_texts(output, targets) - targets["gold"]).square().mean())

    def decode(self, items: Sequence[Item]) -> list[Numbers]:
        """The numbers by name."""
        mean_K, deviation_K = np.array(list(self.standards.values())).T
        value_BK = self.logits(items) * deviation_K + mean_K
        return [dict(zip(self.standards, value_K, strict=True)) for value_K in value_BK.tolist()]

    def score(self, answers: Sequence[Sequence[Numbers]], examples: Sequence[Text[Numbers]]) -> dict[str, float]:
        """Means over the numbers: Pearson's and Spearman's correlation, R2, and squared error."""
        return number_scores(_matrix([answer[0] for answer in answers]), _matrix([e.gold for e in examples]))

    def evidence(
        self, answers: Sequence[Sequence[Numbers]], examples: Sequence[Text[Numbers]], clusters: Sequence[str]
    ) -> Tally:
        """Sums for Pearson's correlation."""
        return correlation_tally(_matrix([a[0] for a in answers]), _matrix([e.gold for e in examples]), clusters)

    def chance(self, examples: Sequence[Text[Numbers]]) -> dict[str, float]:
        """The mean of the training data for every text."""
        return self.score([[{name: mean for name, (mean, _) in self.standards.items()}]] * len(examples), examples)


def _matrix(numbers: Sequence[Numbers]) -> Array:
    return np.array([list(found.values()) for found in numbers])
