"""The single model at its own best: what somebody would train who had this task alone.

Decided here:
- Its run file is the shared one with its task alone. What is said there stands, except what speaks of several tasks at once
  (sharing, balancing, anchor, sampling) and what the recipe would settle otherwise for one task (tokens a step).
- `steps` are the shared run's; alone a task has as many passes over its examples as these steps give it.
- The rate is chosen among half, once and twice the usual one by the validation score of the first seed. Other seeds take it
  over: the choice is a setting, and choosing anew for each seed would make luck of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from manyheads.config.schema import Training
from manyheads.crew.alone import Own, Value

if TYPE_CHECKING:
    from manyheads.compare.outcome import Outcome

FACTORS = (1.0, 0.5, 2.0)
"""On the learning rate of the encoder; the first of equals is taken."""
LEAST_TOKENS = 32

@dataclass(frozen=True, slots=True)
class Part:
    """What the shared run gives one task."""

    passes: float
    """Over its examples."""
    tokens_per_step: float


@dataclass(frozen=True, slots=True)
class Rate:
    """One rate that was tried."""

    factor: float
    learning_rate: float
    score: float | None
    """The best on validation data; None without any."""


def durations(training: Training, part: Part) -> dict[str, Value]:
    """How long a task trains alone, and in what steps, where the run file says it for all tasks together."""
    given = training.model_fields_set
    by_hand = training.recipe == "none" or isinstance(training.phases, list)
    found: dict[str, Value] = {}
    if "steps" in given:
        found["epochs"] = round(part.passes, 4)
    if "tokens_per_step" in given:
        found["tokens_per_step"] = max(LEAST_TOKENS, round(part.tokens_per_step)) if by_hand else None
    if "evaluate_every" in given and not by_hand:
        found["evaluate_every"] = None
    return found


def with_rate(own: Mapping[str, Value], rate: float, head_rate: float, factor: float) -> Own:
    """The settings at a multiple of the usual rate. Heads, which are new, keep theirs."""
    if factor == 1.0:
        return tuple(own.items())
    return tuple({**own, "learning_rate": float(f"{rate * factor:.4g}"), "head_learning_rate": head_rate}.items())


def best_of(tried: Sequence[Rate]) -> Rate:
    """The rate with the best validation score."""
    return max(tried, key=lambda rate: float("-inf") if rate.score is None else rate.score)


def validation_score(outcome: Outcome, task: str) -> float | None:
    """The best of a run; None without validation data."""
    return max((point["score"] for point in outcome.curves.get(task, [])), default=None)
