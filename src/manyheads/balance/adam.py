"""Adam over a few named numbers, for methods that learn their weights beside the model. Kingma & Ba 2015.

Unlike `torch.optim`, only tasks present take a step, each with its own count, and the state is plain JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

BETA_MEAN, BETA_SQUARE, EPSILON = 0.9, 0.999, 1e-8

Moments = dict[str, list[float]]
"""Mean and square of each number's gradient, and its steps."""


def adam_step(values: dict[str, float], gradients: Mapping[str, float], moments: Moments, rate: float) -> None:
    """Update in place the values that have a gradient. A step changes a number by about `rate`, whatever its scale.

    >>> values = {"a": 1.0}
    >>> adam_step(values, {"a": 5.0}, {}, rate=0.1)
    >>> round(values["a"], 6)
    0.9
    """
    for name, gradient in gradients.items():
        mean, square, steps = moments.get(name, [0.0, 0.0, 0.0])
        mean = BETA_MEAN * mean + (1 - BETA_MEAN) * gradient
        square = BETA_SQUARE * square + (1 - BETA_SQUARE) * gradient * gradient
        steps += 1
        moments[name] = [mean, square, steps]
        size = math.sqrt(square / (1 - BETA_SQUARE**steps)) + EPSILON
        values[name] -= rate * mean / (1 - BETA_MEAN**steps) / size
