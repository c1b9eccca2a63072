"""Adam over a few named numbers, for methods that learn their weights beside the model. Kingma & Ba 2015.

Why not `torch.optim`: only the tasks present take a step, each with its own count, and the state is plain JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

BETA_MEAN, BETA_SQUARE, EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """First and second moments of each number's gradient. A step moves a number by about `rate`, whatever its scale."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.moments: dict[str, list[float]] = {}  # name: [mean, square, steps]

    def step(self, values: dict[str, float], gradients: Mapping[str, float]) -> None:
        """Moves the values that have a gradient, in place."""
        for name, gradient in gradients.items():
            mean, square, steps = self.moments.get(name, [0.0, 0.0, 0.0])
            mean = BETA_MEAN * mean + (1 - BETA_MEAN) * gradient
            square = BETA_SQUARE * square + (1 - BETA_SQUARE) * gradient * gradient
            steps += 1
            self.moments[name] = [mean, square, steps]
            size = math.sqrt(square / (1 - BETA_SQUARE**steps)) + EPSILON
            values[name] -= self.rate * mean / (1 - BETA_MEAN**steps) / size
