"""Axis scales: positions of numbers, with ticks at round numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from manyheads.html.numbers import decimal

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
"""Distances between ticks, times a power of ten."""


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis from `low` to `high`."""

    low: float
    high: float
    ticks: tuple[float, ...]
    places: int
    """Decimals of the tick labels."""

    def at(self, value: float) -> float:
        """Position of a value from 0 to 1, clipped to the axis."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def name(self, tick: float) -> str:
        """Label of a tick."""
        return decimal(tick, self.places)


def round_scale(values: Iterable[float], *, ticks: int = 5) -> Scale:
    """An axis that covers all values and starts and ends at a tick.

    >>> round_scale([0.1, 0.93]).ticks
    (0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0)
    """
    low, high = _ends(values)
    step = _step((high - low) / ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Scale(first * step, last * step, tuple(i * step for i in range(first, last + 1)), _places(step))


def tight_scale(values: Iterable[float], *, ticks: int = 5) -> Scale:
    """An axis that starts and ends with the values, for steps and examples."""
    low, high = _ends(values)
    step = max(_step((high - low) / ticks), 1.0 if high - low >= 1 else 0.0)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Scale(low, high, tuple(i * step for i in range(first, last + 1)), _places(step))


def _ends(values: Iterable[float]) -> tuple[float, float]:
    """Lowest and highest value, widened if they are equal."""
    found = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(found), max(found)
    if high - low < 1e-9 * max(1.0, abs(low), abs(high)):
        margin = abs(low) * 0.05 if abs(low) > 1e-6 else 0.5
        return low - margin, high + margin
    return low, high


def _step(least: float) -> float:
    """The smallest round number that is at least `least`."""
    power: float = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in STEPS if step * power >= least * (1 - 1e-9))


def _places(step: float) -> int:
    for places in range(12):
        whole = round(step * 10**places)
        if whole and abs(step * 10**places - whole) < 1e-6 * whole:
            return places
    return 12
