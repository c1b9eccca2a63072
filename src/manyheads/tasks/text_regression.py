"""Numbers for texts or pairs of texts. The head learns standardised numbers, so the chance loss is 1 at any scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from manyheads.errors import DataError
from manyheads.metrics.evidence import Tally
from manyheads.metrics.numbers import correlation_tally, number_scores
from manyheads.tasks.answers import NUMBER_KEYS, Numbers, number_matrix, numbers_answer, numbers_in
from manyheads.tasks.base import AnswerForm, AnswerType, Array, DataStatistics, Item, Loss, Moments, Output, Row, Task
from manyheads.tasks.pooled import PooledTask, Text
from manyheads.tasks.settings import DERIVED

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.distillation import Distillation


@dataclass(frozen=True, kw_only=True)
class TextRegression(PooledTask[Numbers]):
    """Linear regression on the pooled vector, with squared error. Rows have a `value` (or `score`), or `values` by name."""

    kind: ClassVar[str] = "text-regression"
    main_metric: ClassVar[str] = "pearson"
    metric_names: ClassVar[tuple[str, ...]] = ("pearson", "spearman", "r2")
    columns: ClassVar[tuple[tuple[str, ...], ...]] = tuple(("text", key) for key in NUMBER_KEYS)
    optional_columns: ClassVar[tuple[str, ...]] = ("text_pair",)
    answer_form: ClassVar[AnswerForm] = "numbers"
    pipeline_tag: ClassVar[str | None] = "text-classification"

    standards: Annotated[dict[str, tuple[float, float]], DERIVED] = field(default_factory=dict)
    """Mean and standard deviation of each number in the training data."""

    @property
    def size(self) -> int:
        """One output per number."""
        return len(self.standards)

    @property
    def distillation(self) -> Distillation[Text[Numbers]]:
        """By its numbers."""
        from manyheads.tasks.number_distillation import NumberDistillation

        return NumberDistillation(self)

    def read_gold(self, row: Row) -> Numbers:
        """The same numbers in every row."""
        return numbers_in(row, self.standards)

    def collect(self, example: Text[Numbers]) -> DataStatistics:
        """Moments of the numbers."""
        return DataStatistics(numbers={name: Moments.of(value) for name, value in example.gold.items()})

    def fit(self, statistics: DataStatistics) -> TextRegression:
        """Mean and deviation of each number. Raises DataError."""
        return replace(self, standards=self.standards or statistics.means_and_deviations(self.name))

    def fit_from(self, before: Task[Text[Numbers]], statistics: DataStatistics) -> TextRegression:
        """The scales of old numbers stay. Every row needs the old numbers too."""
        kept: dict[str, tuple[float, float]] = getattr(before, "standards", {})
        found = sorted(statistics.numbers)
        if missing := sorted(set(kept) - set(found)):
            raise DataError(f"task '{self.name}': its rows have the numbers {', '.join(found)}, and lack {missing[0]!r} of "
                            "the model that it starts from; add it, or give the task another name to begin anew")  # fmt: skip
        new = {} if set(kept) == set(found) else statistics.means_and_deviations(self.name)
        return replace(self, standards={name: kept[name] if name in kept else new[name] for name in found})

    @property
    def output_names(self) -> tuple[str, ...]:
        """The numbers, in the order of their names."""
        return tuple(self.standards)

    def gold_array(self, examples: Sequence[Text[Numbers]]) -> Array:
        """Standardised numbers, `(B, K)`."""
        mean_K, deviation_K = np.array(list(self.standards.values())).T
        return ((number_matrix([e.gold for e in examples]) - mean_K) / deviation_K).astype(np.float32)

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """Mean squared error of standardised numbers."""
        return Loss((self.text_logits(output, targets) - targets["gold"]).square().mean())

    @property
    def answer_types(self) -> Mapping[str, AnswerType]:
        """`{"value": 3.2}`, or `{"values": {NAME: 3.2}}` for several numbers."""
        return {self.name: numbers_answer(dict.fromkeys(self.standards, "float"), ("map", "float"))}

    def decode(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        """`{"value": 3.2}`, or `{"values": {NAME: 3.2}}` for several numbers."""
        mean_K, deviation_K = np.array(list(self.standards.values())).T
        value_BK = self.logits(items) * deviation_K + mean_K
        return [numbers_answer(dict(zip(self.standards, value_K, strict=True))) for value_K in value_BK.tolist()]

    def score(self, answers: Sequence[Sequence[Any]], examples: Sequence[Text[Numbers]]) -> dict[str, float]:
        """Pearson's and Spearman's correlation, R2, and mean squared error, each averaged over the numbers."""
        return number_scores(*self._matrices(answers, examples))

    def evidence(
        self, answers: Sequence[Sequence[Any]], examples: Sequence[Text[Numbers]], clusters: Sequence[str]
    ) -> Tally:
        """Sums for Pearson's correlation."""
        return correlation_tally(*self._matrices(answers, examples), clusters)

    def chance(self, examples: Sequence[Text[Numbers]]) -> dict[str, float]:
        """The mean of the training data, for every text."""
        means = numbers_answer({name: mean for name, (mean, _) in self.standards.items()})
        return self.score([[means]] * len(examples), examples)

    def _matrices(self, answers: Sequence[Sequence[Any]], examples: Sequence[Text[Numbers]]) -> tuple[Array, Array]:
        """Numbers answered and gold numbers, `(N, K)` each."""
        return number_matrix([self.read_gold(answer[0]) for answer in answers]), number_matrix([e.gold for e in examples])
