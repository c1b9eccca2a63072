"""How the tasks of a step share its tokens: one small class per sampling method.

A method gives relative weights to the tasks active in a step; `Sampler` turns them into tokens. Sizes are tokens of training
data. Every method is a pure function of the step and the active tasks; `Difficulty` also needs scores, and is replaced by
another `Difficulty` when there are new ones.

Caps and mean gaps are computed over the active tasks, so a stopped task no longer affects the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

ANNEALED_BY = 0.8
"""The annealed exponent falls from 1 by this much: to 0.2 at the end (Stickland & Murray 2019)."""
BEST_SCORE = 1.0
"""The best possible score: every metric a task is chosen by (F1, accuracy, exact match, correlation) ends here."""


class Shares(Protocol):
    """A way to share a step's tokens."""

    @property
    def steady(self) -> bool:
        """Whether `at` is the same in every step."""
        ...

    def at(self, step: int, active: Sequence[str]) -> dict[str, float]:
        """Relative weight, at least 0, of each of the `active` tasks in a step; at least one is above 0.

        Raises KeyError for a task that the method does not know.
        """
        ...


@dataclass(frozen=True, slots=True)
class RoundRobin:
    """One task per step, in turn, in the order of the run file."""

    steady: ClassVar[bool] = False

    def at(self, step: int, active: Sequence[str]) -> dict[str, float]:
        """All tokens for the task whose turn it is."""
        turn = active[step % len(active)]
        return {task: float(task == turn) for task in active}


@dataclass(frozen=True, slots=True)
class Uniform:
    """Equal shares."""

    steady: ClassVar[bool] = True

    def at(self, step: int, active: Sequence[str]) -> dict[str, float]:
        """1 for each."""
        return dict.fromkeys(active, 1.0)


@dataclass(frozen=True, slots=True)
class Fixed:
    """Given shares. They need not add up to 1.

    Raises ValueError for a share that is not above 0.
    """

    shares: Mapping[str, float]
    steady: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for task, share in self.shares.items():
            if not 0 < share < math.inf:
                raise ValueError(f"the share of {task} is {share}; give a number above 0, or leave the task out")

    def at(self, step: int, active: Sequence[str]) -> dict[str, float]:
        """The given shares."""
        return {task: float(self.shares[task]) for task in active}


@dataclass(frozen=True, slots=True)
class Temperature:
    """Size raised to `exponent`: 1 is proportional and drowns small tasks, 0 is uniform and repeats them too often.

    No task gets more than `cap` times the share of the smallest: at 0.5, 10 is reached at a hundredfold difference in
    size. Raises ValueError for a task without tokens, an exponent outside of 0 to 1, a cap below 1.
    """

    tokens: Mapping[str, int]
    exponent: float = 0.5
    cap: float = math.inf
    steady: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_sizes(self.tokens, self.cap)
        if not 0 <= self.exponent <= 1:
            raise ValueError(f"the sampling exponent is {self.exponent}; use 0 (equal shares) to 1 (proportional)")

    def at(self, step: int, active: Sequence[str]) -> dict[str, float]:
        """tokens ** exponent, capped."""
        return _raised(self.tokens, active, self.exponent, self.cap)


@dataclass(frozen=True, slots=True)
class Annealed:
    """Size raised to 1 - 0.8 s / (S - 1) in step s of S: proportional at first, nearly uniform at the end.

    Stickland & Murray 2019, with steps for epochs. Past the end the exponent stays at 0.2. Raises ValueError for a task
    without tokens, no steps, a cap below 1.
    """

    tokens: Mapping[str, int]
    steps: int
    cap: float = math.inf
    steady: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_sizes(self.tokens, self.cap)
        if self.steps < 1:
            raise ValueError(f"annealing over {self.steps} steps; give at least one")

    def exponent(self, step: int) -> float:
        """The exponent of a step."""
        return 1 - ANNEALED_BY * min(step, self.steps - 1) / max(self.steps - 1, 1)

    def at(self, step: int, active: Sequence[str]) -> dict[str, float]:
        """tokens ** exponent(step), capped."""
        return _raised(self.tokens, active, self.exponent(step), self.cap)


@dataclass(frozen=True, slots=True)
class Difficulty:
    """More for tasks that are further from their best score: weight of `base` times clip(gap / mean gap, 1/b, b).

    gap = target - score, at least 0; the target is the task's best score, such as that of a single-task model, and 1.0
    by default. Sampling in proportion to this gap is from Gottumukkala et al. 2020 (Dynamic Sampling Strategies for
    Multi-Task Reading Comprehension); the bound b is ours: without it a solved task gets nothing and is forgotten. A
    task without a score has the mean gap; without any scores or gaps the weights are those of `base`.
    Raises ValueError for a bound below 1, a target or score that is not finite.
    """

    base: Temperature
    bound: float = 2.0
    targets: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    steady: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 1 <= self.bound < math.inf:
            raise ValueError(f"the bound of difficulty-driven sampling is {self.bound}; use 1 (no effect) or more")
        for kind, values in (("target", self.targets), ("score", self.scores)):
            for task, value in values.items():
                if not math.isfinite(value):
                    raise ValueError(f"the {kind} of {task} is {value}; give a finite number")

    def with_scores(self, scores: Mapping[str, float]) -> Difficulty:
        """The same method with new scores; other tasks keep their last one."""
        return replace(self, scores={**self.scores, **scores})

    def at(self, step: int, active: Sequence[str]) -> dict[str, float]:
        """Weight of `base` times the bounded relative gap."""
        weights = self.base.at(step, active)
        gaps = {
            task: max(self.targets.get(task, BEST_SCORE) - self.scores[task], 0.0)
            for task in active
            if task in self.scores
        }
        mean = sum(gaps.values()) / max(len(gaps), 1)
        if mean > 0:
            for task, gap in gaps.items():
                weights[task] *= min(max(gap / mean, 1 / self.bound), self.bound)
        return weights


def _check_sizes(tokens: Mapping[str, int], cap: float) -> None:
    for task, size in tokens.items():
        if size < 1:
            raise ValueError(f"task {task} has {size} tokens of training data; give it data, or leave the task out")
    if not cap >= 1:
        raise ValueError(f"the sampling cap is {cap}; use 1 (equal shares) or more")


def _raised(tokens: Mapping[str, int], active: Sequence[str], exponent: float, cap: float) -> dict[str, float]:
    weights = {task: float(tokens[task]) ** exponent for task in active}
    most = cap * min(weights.values())
    return {task: min(weight, most) for task, weight in weights.items()}
