"""From numbers to places along an axis, with ticks at round numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from manyheads.html.numbers import decimal

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
"""What ticks are apart, times a power of ten."""


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis from `low` to `high`."""

    low: float
    high: float
    ticks: tuple[float, ...]
    places: int
    """Decimals that tell the ticks apart."""

    def at(self, value: float) -> float:
        """The place of a value, 0 to 1; what is beyond an end stands at that end."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def name(self, tick: float) -> str:
        """A tick as it is written."""
        return decimal(tick, self.places)


def round_scale(values: Iterable[float], *, ticks: int = 5) -> Scale:
    """An axis that begins and ends at ticks and holds all values."""
    low, high = _ends(values)
    step = _step((high - low) / ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Scale(first * step, last * step, tuple(i * step for i in range(first, last + 1)), _places(step))


def tight_scale(values: Iterable[float], *, ticks: int = 5) -> Scale:
    """An axis that begins and ends with the values; ticks are those between. For steps and examples."""
    low, high = _ends(values)
    step = max(_step((high - low) / ticks), 1.0 if high - low >= 1 else 0.0)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Scale(low, high, tuple(i * step for i in range(first, last + 1)), _places(step))


def _ends(values: Iterable[float]) -> tuple[float, float]:
    """Lowest and highest, apart at least by a little."""
    found = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(found), max(found)
    if high - low < 1e-9 * max(1.0, abs(low), abs(high)):
        apart = abs(low) * 0.05 if abs(low) > 1e-6 else 0.5
        return low - apart, high + apart
    return low, high


def _step(least: float) -> float:
    """The smallest round number that is not below."""
    power: float = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in STEPS if step * power >= least * (1 - 1e-9))


def _places(step: float) -> int:
    for places in range(12):
        whole = round(step * 10**places)
        if whole and abs(step * 10**places - whole) < 1e-6 * whole:
            return places
    return 12
