"""How many tokens of each task a step trains on: shares, active steps, and changes during the run.

Every task is active in every step (Muppet, Aghajanyan 2021) unless its `ActiveSteps` or an early stop says otherwise. The run
is divided into segments with constant active tasks and scores. In a segment of steady shares `quota` is one multiplication,
however long the run; in others it is read from cumulative tables, extended on demand.

Rates are whole millionths of a token per step, so `quota` is integer arithmetic, always less than a token from the exact sum,
and does not drift. The only state is the changes made at run time, each from a step on; they never affect earlier steps.

Threads: no locks. Segments are a function of the changes, so two threads that ask at once at worst compute the same thing
twice. `stop_task`, `update_scores` and `load_state` must not run while another thread asks: the trainer ends the thread that
makes batches before them, and starts another one after.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from manyheads.data.active_steps import ActiveSteps, check_active_steps, check_task_names, switch_steps
from manyheads.data.schedule import PARTS, ScheduleSegment, millionths
from manyheads.data.shares import Annealed, Difficulty, Fixed, RoundRobin, Shares, Temperature, Uniform
from manyheads.errors import UsageError

METHODS = ("round-robin", "uniform", "proportional", "temperature", "annealed", "fixed", "difficulty")
"""The sampling methods of `build_sampler`."""


class Sampler:
    """Tokens of each task in each step: a pure function of the step and of the changes made so far."""

    def __init__(
        self,
        tasks: Sequence[str],
        shares: Shares,
        *,
        tokens_per_step: int,
        active_steps: Mapping[str, ActiveSteps] | None = None,
    ) -> None:
        """Tasks that are not in `active_steps` are active in every step.

        Raises ValueError for no tasks, an unknown task, a task without active steps or without a share, and fixed tokens
        of single tasks that leave nothing of `tokens_per_step` for others in a step.
        """
        if not tasks or tokens_per_step < 1:
            raise ValueError(f"{len(tasks)} tasks and {tokens_per_step} tokens per step; give at least one of each")
        check_task_names(active_steps or {}, tasks, "sampling")
        self._tasks = tuple(tasks)
        self._shares = shares
        self._tokens_per_step = tokens_per_step
        self._active_steps = {task: (active_steps or {}).get(task, ActiveSteps()) for task in tasks}
        check_active_steps(self._active_steps, tokens_per_step)
        self._segments: dict[int, ScheduleSegment] = {}
        self._set_changes(())
        for step in self._switches:
            self._check_shares(step)

    def active(self, step: int) -> list[str]:
        """The tasks that are active in a step."""
        stopped = {task for change in self._until(step) for task in change.stopped}
        return [task for task, steps in self._active_steps.items() if step in steps and task not in stopped]

    def draw(self, step: int) -> dict[str, float]:
        """Share of each active task in a step's tokens. Shares add up to 1; empty when no task is active."""
        rates = self._rates(self._shares_at(step), self.active(step), step)
        total = sum(rates.values())
        return {task: rate / total for task, rate in rates.items()}

    def quota(self, task: str, step: int) -> int:
        """Tokens of a task before a step: it trains on `stream.between(quota(task, step), quota(task, step + 1))`.

        Never falls as steps rise, and is 0 at step 0. In every step in which a task shares, all tasks together get
        `tokens_per_step`, give or take less than one token for each.
        """
        index = bisect_right(self._switches, step) - 1
        for i in range(len(self._segments), index + 1):
            self._segments[i] = self._segment(i)
        return self._segments[index].before(task, step) // PARTS

    def stop_task(self, task: str, from_step: int) -> None:
        """Stop a task early: from this step on its tokens go to the others.

        Raises ValueError for an unknown task, or a step before that of an earlier change.
        """
        self._record(_Change(from_step, stopped=(task,)))

    def update_scores(self, scores: Mapping[str, float], from_step: int) -> None:
        """Use new scores from this step on; shares that do not depend on scores stay as they are.

        Raises ValueError for an unknown task, a score that is not finite, or a step before that of an earlier change.
        """
        self._record(_Change(from_step, scores={task: float(score) for task, score in scores.items()}))

    def state(self) -> dict[str, Any]:
        """The changes made so far, ready for JSON; nothing else is needed to resume."""
        return {
            "changes": [
                {"from_step": change.from_step, "stopped": list(change.stopped), "scores": dict(change.scores)}
                for change in self._changes
            ]
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Replace the changes made here by those of `state`. Raises ValueError, and changes nothing, if it is invalid."""
        try:
            changes = [
                _Change(
                    int(row["from_step"]),
                    tuple(row["stopped"]),
                    {task: float(score) for task, score in row["scores"].items()},
                )
                for row in state["changes"]
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"not the state of a sampler: {str(state)[:80]} ({error!r}); give what state() returned"
            ) from error
        before = 0
        for change in changes:
            self._check_change(change, before)
            before = change.from_step
        self._set_changes(tuple(changes))

    def _record(self, change: _Change) -> None:
        self._check_change(change, self._changes[-1].from_step if self._changes else 0)
        if not change.stopped and not isinstance(self._shares, Difficulty):
            return
        segments = self._segments
        self._set_changes((*self._changes, change))
        kept = bisect_left(self._switches, change.from_step)
        self._segments.update((i, segment) for i, segment in segments.items() if i < kept)

    def _set_changes(self, changes: tuple[_Change, ...]) -> None:
        self._changes = changes
        self._switches = sorted({*switch_steps(self._active_steps), *(change.from_step for change in changes)})
        """The first step of each segment."""
        self._segments = {}

    def _until(self, step: int) -> tuple[_Change, ...]:
        return self._changes[: bisect_right(self._changes, step, key=lambda change: change.from_step)]

    def _shares_at(self, step: int) -> Shares:
        if not isinstance(self._shares, Difficulty):
            return self._shares
        scores = {task: score for change in self._until(step) for task, score in change.scores.items()}
        return self._shares.with_scores(scores)

    def _rates(self, shares: Shares, active: Sequence[str], step: int) -> dict[str, int]:
        """Millionths of a token for each active task in a step."""
        fixed = {task: self._active_steps[task].tokens_per_step for task in active}
        rates = {task: (tokens or 0) * PARTS for task, tokens in fixed.items()}
        sharing = [task for task, tokens in fixed.items() if tokens is None]
        if sharing:
            left = self._tokens_per_step - sum(rates.values()) // PARTS
            parts = millionths({task: weight for task, weight in shares.at(step, sharing).items() if weight > 0})
            rates |= {task: left * part for task, part in parts.items()}
        return rates

    def _segment(self, index: int) -> ScheduleSegment:
        """The segment from one switch on; the one before it exists."""
        start = self._switches[index]
        base = {task: self._segments[index - 1].before(task, start) if index else 0 for task in self._tasks}
        shares, active = self._shares_at(start), self.active(start)
        return ScheduleSegment(start, base, partial(self._rates, shares, active), shares.steady or not active)

    def _check_shares(self, step: int) -> None:
        try:
            self._rates(self._shares, self.active(step), step)
        except KeyError as error:
            raise ValueError(f"{type(self._shares).__name__} has no share for task {error}; give it one") from error

    def _check_change(self, change: _Change, before: int) -> None:
        check_task_names((*change.stopped, *change.scores), self._tasks, "change of sampling")
        for task, score in change.scores.items():
            if not math.isfinite(score):
                raise ValueError(f"the score of {task} is {score}; give a finite number")
        if change.from_step < 0:
            raise ValueError(f"a change from step {change.from_step} on; the first step is 0")
        if change.from_step < before:
            raise ValueError(
                f"a change from step {change.from_step} on, but there is one from step {before} on already; "
                "make changes in the order of their steps"
            )


@dataclass(frozen=True, slots=True)
class _Change:
    """A change at run time, and the first step it applies to."""

    from_step: int
    stopped: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)


def build_sampler(  # noqa: PLR0913 - one for each key of the run file
    method: str,
    tokens: Mapping[str, int],
    tokens_per_step: int,
    *,
    steps: int,
    exponent: float = 0.5,
    cap: float | None = 10.0,
    shares: Mapping[str, float] | None = None,
    bound: float = 2.0,
    targets: Mapping[str, float] | None = None,
    active_steps: Mapping[str, ActiveSteps] | None = None,
) -> Sampler:
    """A sampler by the name of its method, one of METHODS. `tokens`: of each task's training data. `steps`: of the run.

    `exponent` is for temperature and difficulty, `cap` (None: no cap) for these and annealed, `shares` for fixed, where
    each task without tokens per step of its own needs one, `bound` and `targets` for difficulty.
    Raises UsageError for invalid settings: an unknown method or task, a share that is missing or not above 0, a task that
    starts after the run or has no steps, a step of the run in which no task is active.

    >>> sampler = build_sampler("temperature", {"entities": 90_000, "topic": 10_000}, 1000, steps=100)
    >>> sampler.draw(0), sampler.quota("topic", 10)
    ({'entities': 0.75, 'topic': 0.25}, 2500)
    """
    active_steps = active_steps or {}
    most = math.inf if cap is None else cap
    try:
        _check_fixed_shares(method, shares or {}, tokens, active_steps)
        check_task_names(targets or {}, tokens, "sampling targets")
        temperature = Temperature(tokens, exponent, most)
        builders: dict[str, Callable[[], Shares]] = {
            "round-robin": RoundRobin,
            "uniform": Uniform,
            "proportional": lambda: Temperature(tokens, 1.0),
            "temperature": lambda: temperature,
            "annealed": lambda: Annealed(tokens, steps, cap=most),
            "fixed": lambda: Fixed(shares or {}),
            "difficulty": lambda: Difficulty(temperature, bound, targets or {}),
        }
        if method not in builders:
            raise ValueError(f"there is no sampling method {method}; use one of {', '.join(METHODS)}")
        sampler = Sampler(tuple(tokens), builders[method](), tokens_per_step=tokens_per_step, active_steps=active_steps)
    except ValueError as error:
        raise UsageError(str(error)) from error
    _check_run(sampler, active_steps, steps)
    return sampler


def _check_fixed_shares(
    method: str, shares: Mapping[str, float], tokens: Mapping[str, int], active_steps: Mapping[str, ActiveSteps]
) -> None:
    if method != "fixed":
        if shares:
            raise ValueError(f"sampling shares are for the method fixed, not {method}; remove them, or use fixed")
        return
    check_task_names(shares, tokens, "sampling shares")
    own = [task for task, steps in active_steps.items() if steps.tokens_per_step is not None]
    missing = [task for task in tokens if task not in shares and task not in own]
    if missing:
        raise ValueError(f"sampling shares: none for {', '.join(missing)}; give each task one, or tokens_per_step")
    both = [task for task in own if task in shares]
    if both:
        raise ValueError(f"sampling: {', '.join(both)} has a share and tokens_per_step of its own; keep one of them")


def _check_run(sampler: Sampler, active_steps: Mapping[str, ActiveSteps], steps: int) -> None:
    for task, of_task in active_steps.items():
        if of_task.start >= steps:
            raise UsageError(
                f"{task} starts at step {of_task.start}, but training ends after {steps} steps; start it earlier"
            )
    switches = [step for step in switch_steps(active_steps) if step < steps]
    for step, end in zip(switches, [*switches[1:], steps], strict=True):
        if not sampler.active(step):
            raise UsageError(f"no task is active in steps {step} to {end - 1}; let one start earlier or stop later")
