"""Dividing the examples of a step among processes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate


def partition(sizes: Mapping[str, Sequence[int]], whole: Collection[str], count: int) -> list[dict[str, list[int]]]:
    """For each of `count` processes, the positions of its examples of each task in `sizes`, the tokens of all examples.

    Processes get the same number of tokens, give or take an example, in the order of the step. Tasks in `whole` are not
    divided: their losses compare examples with one another. A pure function, so processes need not exchange anything.

    >>> partition({"ner": [10, 10, 10, 10], "pairs": [8, 8]}, whole=["pairs"], count=2)
    [{'pairs': [0, 1], 'ner': [0]}, {'ner': [1, 2, 3]}]
    """
    loads = [0] * count
    shares: list[dict[str, list[int]]] = [{} for _ in range(count)]
    for name in sorted(whole, key=lambda name: (-sum(sizes.get(name, ())), name)):
        if sizes.get(name):
            least = loads.index(min(loads))
            shares[least][name] = list(range(len(sizes[name])))
            loads[least] += sum(sizes[name])
    left = sum(sum(some) for some in sizes.values())
    ends = list(accumulate(_quotas(loads, left - sum(loads))))
    process, taken = 0, 0
    for name, some in sizes.items():
        if name in whole:
            continue
        for position, size in enumerate(some):
            while process < count - 1 and taken + size / 2 > ends[process]:
                process += 1
            shares[process].setdefault(name, []).append(position)
            taken += size
    return shares


def _quotas(loads: Sequence[int], tokens: int) -> list[float]:
    """Tokens to add to each load so that the largest sum is as small as possible (water filling)."""
    for level in range(len(loads)):
        low = sorted(loads)[: len(loads) - level]
        even = (tokens + sum(low)) / len(low)
        if even >= low[-1]:
            return [max(0.0, even - load) for load in loads]
    return [float(tokens), *[0.0] * (len(loads) - 1)]
