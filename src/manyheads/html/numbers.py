"""Formatting of numbers: scores in points of 100, a true minus sign, significant digits.

Decided here: scores have one decimal and differences two, since seeds differ by about 0.3 points.
"""

from __future__ import annotations

import math
from typing import TypeGuard

Number = float | None
"""None: missing, shown as a dash."""

NONE = "–"
MINUS = "\u2212"


def points(score: Number) -> str:
    """A score, given as a fraction, in points of 100.

    >>> points(0.6234), points(None)
    ('62.3', '–')
    """
    return decimal(score * 100, 1) if is_number(score) else NONE


def difference(value: Number) -> str:
    """A difference of scores in points, with its sign: +1.20."""
    return signed(value * 100, 2) if is_number(value) else NONE


def interval(low: Number, high: Number) -> str:
    """`[−2.00, −0.40]`; empty if a bound is missing."""
    return f"[{difference(low)}, {difference(high)}]" if is_number(low) and is_number(high) else ""


def probability(value: Number) -> str:
    """A p-value: three decimals, or `< 0.001`."""
    if not is_number(value):
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(value: Number) -> str:
    """A whole number with thousands separators."""
    return f"{round(value):,}".replace("-", MINUS) if is_number(value) else NONE


def share(value: Number) -> str:
    """A fraction in percent: 36 %, or 0.4 % if it is small."""
    if not is_number(value):
        return NONE
    return f"{decimal(100 * value, 1 if 0 < abs(value) < 0.0995 else 0)} %"


def decimal(value: float, places: int) -> str:
    """A number with `places` decimals and no minus sign at zero."""
    text = f"{value:,.{places}f}"
    return text.lstrip("-") if not text.strip("-0.,") else text.replace("-", MINUS)


def signed(value: float, places: int) -> str:
    """A number with its sign; zero has none."""
    text = decimal(value, places)
    return text if text.startswith(MINUS) or not text.strip("0.") else f"+{text}"


def significant(value: Number, digits: int = 3) -> str:
    """A number with `digits` significant digits and no exponent.

    >>> significant(0.01234), significant(12345.0)
    ('0.0123', '12,345')
    """
    if not is_number(value):
        return NONE
    if not value:
        return "0"
    return decimal(value, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def large(value: Number) -> str:
    """A large count, such as parameters: 22.7 million."""
    if not is_number(value):
        return NONE
    for size, name in ((1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{significant(value / size)} {name}"
    return count(value)


def is_number(value: Number) -> TypeGuard[float]:
    """Whether the value is neither None, NaN nor infinite."""
    return value is not None and math.isfinite(value)


def to_points(value: Number) -> Number:
    """A fraction in points of 100, unformatted."""
    return 100 * value if is_number(value) else None


def plural(number: int, noun: str) -> str:
    """`1 task`, `4 tasks`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
