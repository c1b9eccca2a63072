"""Results of a comparison, read from `compare.json`. Missing or malformed values become None or empty."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from manyheads.html.numbers import Number, decimal, is_number

Json = Mapping[str, Any]

VERDICTS = ("helps", "hurts", "equivalent", "no worse", "inconclusive")


@dataclass(frozen=True, slots=True)
class Difference:
    """Shared minus single, as fractions."""

    mean: Number
    low: Number
    high: Number
    p: Number
    p_holm: Number
    p_equivalent: Number
    p_sign_flip: Number

    @staticmethod
    def of(data: Json) -> Difference:
        """From JSON."""
        return Difference(*(number(data.get(field.name)) for field in fields(Difference)))


@dataclass(frozen=True, slots=True)
class Result:
    """Shared and single scores of one task, with the verdict."""

    name: str
    kind: str
    metric: str
    split: str
    clusters: Number
    cluster_kind: str
    shared: Sequence[Number]
    single: Sequence[Number]
    difference: Difference
    verdict: str
    seeds_needed: Number
    why: str
    advice: Json
    curves: Json

    @staticmethod
    def of(name: str, data: Json) -> Result:
        """From JSON."""
        return Result(
            name=name, kind=text(data.get("type")), metric=text(data.get("metric")), split=text(data.get("split")),
            clusters=number(data.get("clusters")), cluster_kind=text(data.get("cluster_kind")) or "clusters",
            shared=numbers(data.get("shared")), single=numbers(data.get("single")),
            difference=Difference.of(section(data, "difference")), verdict=text(data.get("verdict")) or "inconclusive",
            seeds_needed=number(data.get("seeds_needed")), why=text(data.get("why")),
            advice=section(data, "advice"), curves=section(data, "curves"),
        )  # fmt: skip

    @property
    def size(self) -> str:
        """Size of the test data: `216 documents`."""
        return f"{decimal(self.clusters, 0)} {self.cluster_kind}" if is_number(self.clusters) else self.cluster_kind


def results(compare: Json) -> list[Result]:
    """All tasks, in order."""
    return [Result.of(name, data) for name, data in section(compare, "tasks").items() if isinstance(data, Mapping)]


def mean(values: Sequence[Number]) -> Number:
    """Mean of the values that are not missing."""
    found = [value for value in values if is_number(value)]
    return sum(found) / len(found) if found else None


def deviation(values: Sequence[Number]) -> Number:
    """Sample standard deviation of the values that are not missing."""
    found = [value for value in values if is_number(value)]
    return statistics.stdev(found) if len(found) > 1 else None


def section(data: Json, key: str) -> Json:
    """The object under a key; empty if there is none."""
    found = data.get(key)
    return found if isinstance(found, Mapping) else {}


def number(value: Any) -> Number:
    """The value if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def numbers(value: Any) -> list[Number]:
    """The items of a list, as numbers or None."""
    return [number(one) for one in listed(value)]


def listed(value: Any) -> list[Any]:
    """The value as a list; empty if it is not one."""
    return list(value) if isinstance(value, list | tuple) else []


def text(value: Any) -> str:
    """The value as a string; empty for None."""
    return "" if value is None else str(value)
