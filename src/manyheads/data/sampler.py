"""How many tokens of each task a step trains on.

Every task takes part in every step (Muppet, Aghajanyan 2021). Shares of the tokens follow the size of the training data
raised to `alpha`: 1 drowns small tasks, 0 repeats them too often; 0.5 lies between (Stickland & Murray 2019). No task
gets more than `cap` times the share of the smallest: at 0.5, 10 is reached at a hundredfold difference in size.

Decided here: shares are whole millionths. `quota` is then integer arithmetic, the same on every machine, without state,
and less than a token from the exact share however many steps went before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

PARTS = 1_000_000


class Sampler(Protocol):
    """Which task next, and how much of it: pure functions of the step. Other schedules are other implementers."""

    def draw(self, step: int) -> dict[str, float]:
        """Share of each task in a step's tokens; they add up to 1."""
        ...

    def quota(self, task: str, step: int) -> int:
        """Tokens of a task before a step: it trains on `stream.between(quota(task, step), quota(task, step + 1))`.

        Never falls as steps rise, and is 0 at step 0.
        """
        ...


class ConstantSampler:
    """The same shares at every step."""

    def __init__(
        self,
        tokens: Mapping[str, int],
        tokens_per_step: int,
        *,
        alpha: float = 0.5,
        cap: float = 10.0,
        fixed: Mapping[str, float] | None = None,
    ) -> None:
        """`tokens` of each task's training data. `fixed` gives shares (scaled to 1) in place of the sizes.

        Raises ValueError for a task without tokens or without a share, fixed shares of unknown tasks, a cap below 1.
        """
        if not tokens or min(tokens.values()) < 1 or tokens_per_step < 1 or cap < 1:
            raise ValueError(
                "a sampler needs tasks with at least one token each, tokens for a step, and a cap of at least 1"
            )
        weights = {task: float(size) ** alpha for task, size in tokens.items()}
        least = min(weights.values())
        weights = {task: min(weight, cap * least) for task, weight in weights.items()}
        if fixed is not None:
            if set(fixed) != set(tokens) or min(fixed.values()) <= 0:
                raise ValueError(f"fixed shares must be above 0 for each of {', '.join(tokens)}, seen {dict(fixed)}")
            weights = {task: float(fixed[task]) for task in tokens}
        self._tokens_per_step = tokens_per_step
        self._parts = _millionths(weights)

    def draw(self, step: int) -> dict[str, float]:
        """Share of each task; the step does not matter."""
        return {task: parts / PARTS for task, parts in self._parts.items()}

    def quota(self, task: str, step: int) -> int:
        """Tokens of a task before a step. Its share of theirs, rounded down."""
        return step * self._tokens_per_step * self._parts[task] // PARTS


def _millionths(weights: Mapping[str, float]) -> dict[str, int]:
    """Whole parts that add up to PARTS, at least one for each, by largest remainder."""
    total = sum(weights.values())
    exact = {task: weight / total * PARTS for task, weight in weights.items()}
    parts = {task: max(int(value), 1) for task, value in exact.items()}
    by_remainder = sorted(exact, key=lambda task: (parts[task] - exact[task], task))
    missing = PARTS - sum(parts.values())
    for i in range(abs(missing)):
        if missing > 0:
            parts[by_remainder[i % len(parts)]] += 1
        else:
            parts[max(parts, key=lambda task: parts[task])] -= 1
    return parts
