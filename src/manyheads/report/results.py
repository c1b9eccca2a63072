"""The results of a comparison as they stand in `compare.json`, read with care: whatever is missing is None or empty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manyheads.html.numbers import Number, decimal, known

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
    def of(said: Json) -> Difference:
        """From JSON."""
        names = ("mean", "low", "high", "p", "p_holm", "p_equivalent", "p_sign_flip")
        return Difference(*(number(said.get(name)) for name in names))


@dataclass(frozen=True, slots=True)
class Result:
    """One task."""

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
    def of(name: str, said: Json) -> Result:
        """From JSON."""
        return Result(
            name=name, kind=text(said.get("type")), metric=text(said.get("metric")), split=text(said.get("split")),
            clusters=number(said.get("clusters")), cluster_kind=text(said.get("cluster_kind")) or "clusters",
            shared=numbers(said.get("shared")), single=numbers(said.get("single")),
            difference=Difference.of(section(said, "difference")), verdict=text(said.get("verdict")) or "inconclusive",
            seeds_needed=number(said.get("seeds_needed")), why=text(said.get("why")),
            advice=section(said, "advice"), curves=section(said, "curves"),
        )  # fmt: skip

    @property
    def size(self) -> str:
        """What the score was taken on: `216 documents`."""
        return f"{decimal(self.clusters, 0)} {self.cluster_kind}" if known(self.clusters) else self.cluster_kind


def results(compare: Json) -> list[Result]:
    """All tasks, in their order."""
    return [Result.of(name, said) for name, said in section(compare, "tasks").items() if isinstance(said, Mapping)]


def mean(values: Sequence[Number]) -> Number:
    """Of those that are known."""
    found = [value for value in values if known(value)]
    return sum(found) / len(found) if found else None


def deviation(values: Sequence[Number]) -> Number:
    """Standard deviation of a sample."""
    found = [value for value in values if known(value)]
    middle = mean(found)
    if middle is None or len(found) < 2:
        return None
    return math.sqrt(sum((value - middle) ** 2 for value in found) / (len(found) - 1))


def section(said: Json, key: str) -> Json:
    """An object of an object; an empty one where there is none."""
    found = said.get(key)
    return found if isinstance(found, Mapping) else {}


def number(value: Any) -> Number:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def numbers(value: Any) -> list[Number]:
    """A list of them."""
    return [number(one) for one in listed(value)]


def listed(value: Any) -> list[Any]:
    """A list; an empty one for anything else."""
    return list(value) if isinstance(value, list | tuple) else []


def text(value: Any) -> str:
    """A string; empty for None."""
    return "" if value is None else str(value)
