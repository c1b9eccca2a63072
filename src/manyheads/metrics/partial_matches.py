"""Entity scores that give credit for partial matches, as defined for SemEval 2013 task 9 (Segura-Bedmar et al. 2013).

    exact     the boundaries are right, whatever the label
    partial   the same, and half a point for spans that merely overlap
    type      the label is right, and the spans overlap

`f1` of `metrics/entities.py` is the strict score: boundaries and label. Each span is matched at most once.

Decided here: spans that are entirely right are matched first, so that no overlapping neighbour takes their place. If spans of
one side never overlap, the scores equal nervaluate's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from manyheads.metrics.entities import Span

Match = Callable[[Span, Span], tuple[tuple[float, ...], float]]
"""Of a found and a gold span that overlap: the rank of the match, lower is better, and the credit it earns."""


def partial_scores(gold: Sequence[Collection[Span]], predicted: Sequence[Collection[Span]]) -> dict[str, float]:
    """Micro-averaged `exact_f1`, `partial_f1` and `type_f1` of spans, one collection per text.

    >>> scores = partial_scores([[(0, 8, "Drug")]], [[(0, 4, "Drug")]])
    >>> scores["exact_f1"], scores["partial_f1"], scores["type_f1"]
    (0.0, 0.5, 1.0)
    """
    credit = dict.fromkeys(SCHEMES, 0.0)
    total = 0
    for golds, found in zip(map(set, gold), map(set, predicted), strict=True):
        total += len(golds) + len(found)
        right = golds & found
        for name, match in SCHEMES.items():
            credit[name] += len(right) + _credit(sorted(golds - right), sorted(found - right), match)
    return {f"{name}_f1": 2 * credit[name] / total if total else 0.0 for name in SCHEMES}


def _credit(golds: list[Span], found: Sequence[Span], match: Match) -> float:
    """The credit of found spans, each matched with the best gold span that is left."""
    total = 0.0
    for one in found:
        ranked = [(*match(one, other), place) for place, other in enumerate(golds) if _overlap(one, other)]
        if ranked:
            _, credit, place = min(ranked, key=lambda entry: (entry[0], entry[2]))
            total += credit
            del golds[place]
    return total


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _exact(one: Span, other: Span) -> tuple[tuple[float, ...], float]:
    same = one[:2] == other[:2]
    return (float(not same),), float(same)


def _partial(one: Span, other: Span) -> tuple[tuple[float, ...], float]:
    same = one[:2] == other[:2]
    return (float(not same),), 1.0 if same else 0.5


def _type(one: Span, other: Span) -> tuple[tuple[float, ...], float]:
    same = one[2] == other[2]
    distance = abs(one[0] - other[0]) + abs(one[1] - other[1])
    return (float(not same), float(distance) if same else 0.0), float(same)


SCHEMES: dict[str, Match] = {"exact": _exact, "partial": _partial, "type": _type}
"""By the prefix of their metric."""
