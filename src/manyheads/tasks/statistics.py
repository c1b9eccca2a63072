"""Statistics of training data, from which `Task.fit` settles labels and whatever else fixes the shape of a head."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from manyheads.errors import DataError


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, range, mean and sum of squared deviations of a number.

    Added by the formulas of Chan, Golub & LeVeque (1979), which lose no digits when the mean is far from 0.

    >>> both = Moments.of(1.0) + Moments.of(3.0)
    >>> both.mean, both.deviation
    (2.0, 1.0)
    """

    count: int
    low: float
    high: float
    mean: float
    squares: float = 0.0

    @staticmethod
    def of(value: float) -> Moments:
        """Moments of a single number."""
        return Moments(1, value, value, value)

    def __add__(self, other: Moments) -> Moments:
        count, gap = self.count + other.count, other.mean - self.mean
        mean = self.mean + gap * other.count / count
        squares = self.squares + other.squares + gap**2 * self.count * other.count / count
        return Moments(count, min(self.low, other.low), max(self.high, other.high), mean, squares)

    @property
    def deviation(self) -> float:
        """The standard deviation; 0 for a constant."""
        return math.sqrt(self.squares / self.count) if self.low < self.high else 0.0


@dataclass(frozen=True, slots=True)
class DataStatistics:
    """What one pass over the training data collects. Statistics of parts add up to those of the whole.

    >>> DataStatistics({"a": 1}) + DataStatistics({"a": 2, "b": 1})
    DataStatistics(labels=Counter({'a': 3, 'b': 1}), flags=frozenset(), numbers={})
    """

    labels: Mapping[str, int] = field(default_factory=dict)
    """Labels with their counts."""
    flags: frozenset[str] = frozenset()
    """Properties of the data that change the task, such as `multi-label`, `unanswerable`, `pairs`."""
    numbers: Mapping[str, Moments] = field(default_factory=dict)
    """Moments of the numbers in the data, by name: scores of pairs or texts."""

    def __add__(self, other: DataStatistics) -> DataStatistics:
        labels = Counter(self.labels) + Counter(other.labels)
        return DataStatistics(labels, self.flags | other.flags, add_moments(self.numbers, other.numbers))

    def widened(self, other: DataStatistics) -> DataStatistics:
        """The same, with ranges of numbers extended to include those of another split."""
        wider = {name: replace(m, low=min(m.low, more.low), high=max(m.high, more.high))
                 for name, m in self.numbers.items() if (more := other.numbers.get(name)) is not None}  # fmt: skip
        return replace(self, numbers={**self.numbers, **wider})

    def means_and_deviations(self, task: str) -> dict[str, tuple[float, float]]:
        """Mean and deviation of each number by name. Raises DataError for one that is constant, or missing in a row."""
        found = dict(sorted(self.numbers.items()))
        if not found or len({m.count for m in found.values()}) > 1 or not all(m.deviation for m in found.values()):
            each = (f"'{name}' in {m.count:,} rows, {m.low:g} to {m.high:g}" for name, m in found.items())
            seen = ", ".join(each) or "none"
            raise DataError(f"task '{task}': every row needs the same numbers, and each must vary; seen {seen}")
        return {name: (m.mean, m.deviation) for name, m in found.items()}


def grown_labels(given: Sequence[str], before: Sequence[str], found: Iterable[str]) -> tuple[str, ...]:
    """Labels of a task that continues: those given, or else those it had, then new ones of the data.

    >>> grown_labels((), ("b", "c"), ["a", "c"])
    ('b', 'c', 'a')
    """
    return tuple(given) or (*before, *sorted(set(found) - set(before)))


def add_moments(one: Mapping[str, Moments], other: Mapping[str, Moments]) -> dict[str, Moments]:
    """Moments of the numbers of both, by name."""
    return {**one, **{name: one[name] + more if name in one else more for name, more in other.items()}}
