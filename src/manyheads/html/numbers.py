"""Figures as a reader wants them: scores in points of 100, a true minus sign, digits that mean something.

Decided here: scores have one decimal and differences two, since differences between seeds are near 0.3 points.
"""

from __future__ import annotations

import math
from typing import TypeGuard

Number = float | None
"""None where there is no such figure: shown as a dash."""

NONE = "–"
MINUS = "\u2212"


def points(score: Number) -> str:
    """A score, a fraction, in points: 62.3."""
    return decimal(score * 100, 1) if known(score) else NONE


def difference(value: Number) -> str:
    """A difference of scores in points, with its sign: +1.20."""
    return signed(value * 100, 2) if known(value) else NONE


def interval(low: Number, high: Number) -> str:
    """`[−2.00, −0.40]`; nothing where there is none."""
    return f"[{difference(low)}, {difference(high)}]" if known(low) and known(high) else ""


def probability(value: Number) -> str:
    """A p-value: three decimals, or `< 0.001`."""
    if not known(value):
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(value: Number) -> str:
    """A whole number with thousands apart."""
    return f"{round(value):,}".replace("-", MINUS) if known(value) else NONE


def share(value: Number) -> str:
    """A fraction in percent: 36 %, and 0.4 % where it is small."""
    if not known(value):
        return NONE
    return f"{decimal(100 * value, 1 if 0 < abs(value) < 0.0995 else 0)} %"


def decimal(value: float, places: int) -> str:
    """With so many decimals, and no minus sign at zero."""
    text = f"{value:,.{places}f}"
    return text.lstrip("-") if not text.strip("-0.,") else text.replace("-", MINUS)


def signed(value: float, places: int) -> str:
    """With a sign, whichever it is; zero has none."""
    text = decimal(value, places)
    return text if text.startswith(MINUS) or not text.strip("0.") else f"+{text}"


def significant(value: Number, digits: int = 3) -> str:
    """So many digits that count, without exponents: 0.0123, 4.56, 12,345."""
    if not known(value):
        return NONE
    if not value:
        return "0"
    return decimal(value, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def large(value: Number) -> str:
    """Parameters and the like: 22.7 million."""
    if not known(value):
        return NONE
    for size, name in ((1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{significant(value / size)} {name}"
    return count(value)


def known(value: Number) -> TypeGuard[float]:
    """Whether there is such a figure."""
    return value is not None and math.isfinite(value)


def hundredfold(value: Number) -> Number:
    """A fraction in points or percent."""
    return 100 * value if known(value) else None


def counted(number: int, noun: str) -> str:
    """`1 task`, `4 tasks`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
