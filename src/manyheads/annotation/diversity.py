"""Choosing points that are unlike one another.

A point is a vector, or the product of two: the gradient of the loss in the last layer is the product of the residual of the
probabilities and the vector that the layer reads (BADGE, Ash et al. 2020). Distances of products follow from inner products
of their factors, so the products themselves, K times as large, are never built.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]


class Points:
    """N points, each the outer product of one row of every factor."""

    def __init__(self, factors: Sequence[Array]) -> None:
        """`factors`: arrays `(N, d)`, of any widths d."""
        self.factors = [np.asarray(factor, np.float64) for factor in factors]
        self.square_N = np.prod([(factor**2).sum(-1) for factor in self.factors], axis=0)

    def __len__(self) -> int:
        return len(self.square_N)

    def distances(self, i: int) -> npt.NDArray[np.float64]:
        """Squared distance of every point from point `i`, `(N,)`.

        >>> Points([np.array([[1.0, 0.0], [0.0, 1.0]])]).distances(0).tolist()
        [0.0, 2.0]
        """
        inner_N = np.prod([factor @ factor[i] for factor in self.factors], axis=0)
        distance_N = np.maximum(self.square_N + self.square_N[i] - 2 * inner_N, 0.0)
        distance_N[i] = 0.0
        return distance_N


def spread(points: Points, weight_N: Array, count: int, seed: int) -> list[int]:
    """Points drawn one by one with a probability that grows with their weight and their squared distance from those drawn.

    k-means++ (Arthur & Vassilvitskii 2007) with weights. The first has the highest weight. Once all other points coincide
    with drawn ones, the rest follow by weight.
    """
    draws = np.random.default_rng(seed)
    weight_N = np.asarray(weight_N, np.float64)
    chosen = [int(weight_N.argmax())] if len(points) and count else []
    nearest_N = points.distances(chosen[0]) if chosen else np.zeros(0)
    while len(chosen) < min(count, len(points)):
        chance_N = nearest_N * weight_N
        chance_N[chosen] = 0.0
        total = chance_N.sum()
        if total <= 0:
            rest = np.argsort(-weight_N, kind="stable")
            taken = set(chosen)
            return chosen + [int(i) for i in rest if int(i) not in taken][: count - len(chosen)]
        chosen.append(int(draws.choice(len(points), p=chance_N / total)))
        nearest_N = np.minimum(nearest_N, points.distances(chosen[-1]))
    return chosen


def cover(points: Points, count: int, first: int = 0) -> list[int]:
    """Points that leave the least distance from any point to the nearest chosen one: greedy k-center (core-set, Sener &
    Savarese 2018).

    >>> cover(Points([np.array([[0.0], [1.0], [5.0]])]), 2)
    [0, 2]
    """
    chosen = [first] if len(points) and count else []
    nearest_N = points.distances(first) if chosen else np.zeros(0)
    while len(chosen) < min(count, len(points)):
        nearest_N[chosen] = -1.0
        chosen.append(int(nearest_N.argmax()))
        nearest_N = np.minimum(nearest_N, points.distances(chosen[-1]))
    return chosen
