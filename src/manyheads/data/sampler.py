"""How many tokens of each task a step trains on: shares of its tokens, who takes part when, and what changes on the way.

Every task takes part in every step (Muppet, Aghajanyan 2021) unless its `Window` or an early stop says otherwise. The
run is cut into stretches in which nobody joins or leaves and no score is told. In a stretch of steady shares `quota` is
one multiplication, however many steps went before; in others it is read from cumulative tables, made as far as asked.

Decided here: rates are whole millionths of a token per step, so `quota` is integer arithmetic, less than a token from
the exact sum however long the run, and does not drift. Only what happened at run time is state: the changes, each from
a step on. A change makes no difference to the steps before it.

Threads: no locks. What is laid out is a function of the changes, so two threads that ask at once at worst work the same
thing out twice. `stop_task`, `tell` and `load_state` must not run while another thread asks: the trainer ends the
thread that makes batches before them, and starts another after.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from manyheads.data.shares import Annealed, Difficulty, Fixed, RoundRobin, Shares, Temperature, Uniform
from manyheads.data.stretches import PARTS, Stretch, millionths
from manyheads.data.windows import Window, check_known, check_windows, switch_steps
from manyheads.errors import UsageError

METHODS = ("round-robin", "uniform", "proportional", "temperature", "annealed", "fixed", "difficulty")
"""What `build_sampler` knows."""


class Sampler:
    """Tokens of each task in each step: a pure function of the step and of the changes told so far."""

    def __init__(
        self,
        tasks: Sequence[str],
        shares: Shares,
        *,
        tokens_per_step: int,
        windows: Mapping[str, Window] | None = None,
    ) -> None:
        """Tasks that are not in `windows` take part from the first step to the last.

        Raises ValueError for no tasks, an unknown task, a window that is empty, a task that `shares` does not know, and
        tokens of single tasks that leave nothing of `tokens_per_step` for others at the same step.
        """
        if not tasks or tokens_per_step < 1:
            raise ValueError(f"{len(tasks)} tasks and {tokens_per_step} tokens per step; give at least one of each")
        check_known(windows or {}, tasks, "sampling")
        self._tasks = tuple(tasks)
        self._shares = shares
        self._tokens_per_step = tokens_per_step
        self._windows = {task: (windows or {}).get(task, Window()) for task in tasks}
        check_windows(self._windows, tokens_per_step)
        self._changes: tuple[_Change, ...] = ()
        self._switches = self._switch_steps()
        self._laid: dict[int, Stretch] = {}
        for step in self._switches:
            self._check_shared(step)

    def active(self, step: int) -> list[str]:
        """The tasks that take part in a step."""
        stopped = {task for change in self._until(step) for task in change.stopped}
        return [task for task, window in self._windows.items() if window.holds(step) and task not in stopped]

    def draw(self, step: int) -> dict[str, float]:
        """Share of each active task in a step's tokens. They add up to 1; empty when no task is active."""
        rates = self._rates(self._shares_at(step), self.active(step), step)
        total = sum(rates.values())
        return {task: rate / total for task, rate in rates.items()}

    def quota(self, task: str, step: int) -> int:
        """Tokens of a task before a step: it trains on `stream.between(quota(task, step), quota(task, step + 1))`.

        Never falls as steps rise, and is 0 at step 0. In every step in which a task shares, all tasks together get
        `tokens_per_step`, give or take less than one token for each.
        """
        index = bisect_right(self._switches, step) - 1
        made = index
        while made >= 0 and made not in self._laid:
            made -= 1
        for i in range(made + 1, index + 1):
            self._laid[i] = self._lay(i)
        return self._laid[index].before(task, step) // PARTS

    def stop_task(self, task: str, from_step: int) -> None:
        """End a task's part before its time: from this step on its tokens go to the others.

        Raises ValueError for an unknown task, or a step before that of a change already made.
        """
        self._record(_Change(from_step, stopped=(task,)))

    def tell(self, scores: Mapping[str, float], from_step: int) -> None:
        """New scores, for shares from this step on; shares that do not depend on scores stay as they are.

        Raises ValueError for an unknown task, a score that is not finite, or a step before that of a change already made.
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
        """Put the changes of `state` in place of those made here. Raises ValueError, and changes nothing, if it cannot."""
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
        self._changes = tuple(changes)
        self._switches = self._switch_steps()
        self._laid = {}

    def _record(self, change: _Change) -> None:
        self._check_change(change, self._changes[-1].from_step if self._changes else 0)
        if not change.stopped and not isinstance(self._shares, Difficulty):
            return
        self._changes = (*self._changes, change)
        self._switches = self._switch_steps()
        kept = bisect_left(self._switches, change.from_step)
        self._laid = {i: stretch for i, stretch in self._laid.items() if i < kept}

    def _until(self, step: int) -> tuple[_Change, ...]:
        return self._changes[: bisect_right(self._changes, step, key=lambda change: change.from_step)]

    def _switch_steps(self) -> list[int]:
        """Where a stretch starts, in order."""
        return sorted({*switch_steps(self._windows), *(change.from_step for change in self._changes)})

    def _shares_at(self, step: int) -> Shares:
        if not isinstance(self._shares, Difficulty):
            return self._shares
        return self._shares.told({task: score for change in self._until(step) for task, score in change.scores.items()})

    def _rates(self, shares: Shares, active: Sequence[str], step: int) -> dict[str, int]:
        """Millionths of a token for each active task in a step."""
        own = {task: self._windows[task].tokens_per_step for task in active}
        rates = {task: (tokens or 0) * PARTS for task, tokens in own.items()}
        sharing = [task for task, tokens in own.items() if tokens is None]
        if sharing:
            left = self._tokens_per_step - sum(rates.values()) // PARTS
            parts = millionths({task: weight for task, weight in shares.at(step, sharing).items() if weight > 0})
            rates |= {task: left * part for task, part in parts.items()}
        return rates

    def _lay(self, index: int) -> Stretch:
        """The stretch from one switch on; the one before it is laid."""
        start = self._switches[index]
        base = {task: self._laid[index - 1].before(task, start) if index else 0 for task in self._tasks}
        shares, active = self._shares_at(start), self.active(start)
        return Stretch(start, base, partial(self._rates, shares, active), shares.steady or not active)

    def _check_shared(self, step: int) -> None:
        try:
            self._rates(self._shares, self.active(step), step)
        except KeyError as error:
            raise ValueError(f"{type(self._shares).__name__} has no share for task {error}; give it one") from error

    def _check_change(self, change: _Change, before: int) -> None:
        check_known((*change.stopped, *change.scores), self._tasks, "change of sampling")
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
    """What happened at run time, and the first step it counts for."""

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
    windows: Mapping[str, Window] | None = None,
) -> Sampler:
    """A sampler by the name of its method, one of METHODS. `tokens`: of each task's training data. `steps`: of the run.

    `exponent` is for temperature and difficulty, `cap` (None: no cap) for these and annealed, `shares` for fixed, where
    each task without tokens per step of its own needs one, `bound` and `targets` for difficulty.
    Raises UsageError for whatever cannot be: an unknown method or task, a share that is missing or not above 0, a
    window that is empty or starts after the run, a step of the run in which no task takes part.
    """
    windows = windows or {}
    most = math.inf if cap is None else cap
    try:
        _check_shares(method, shares, tokens, windows)
        check_known(targets or {}, tokens, "sampling targets")
        temperature = Temperature(tokens, exponent, most)
        made: dict[str, Callable[[], Shares]] = {
            "round-robin": RoundRobin,
            "uniform": Uniform,
            "proportional": lambda: Temperature(tokens, 1.0),
            "temperature": lambda: temperature,
            "annealed": lambda: Annealed(tokens, steps, cap=most),
            "fixed": lambda: Fixed(shares or {}),
            "difficulty": lambda: Difficulty(temperature, bound, targets or {}),
        }
        if method not in made:
            raise ValueError(f"there is no sampling method {method}; use one of {', '.join(METHODS)}")
        sampler = Sampler(tuple(tokens), made[method](), tokens_per_step=tokens_per_step, windows=windows)
    except ValueError as error:
        raise UsageError(str(error)) from error
    _check_run(sampler, windows, steps)
    return sampler


def _check_shares(
    method: str, shares: Mapping[str, float] | None, tokens: Mapping[str, int], windows: Mapping[str, Window]
) -> None:
    if method != "fixed":
        if shares:
            raise ValueError(f"sampling shares are for the method fixed, not {method}; drop them, or use fixed")
        return
    check_known(shares or {}, tokens, "sampling shares")
    own = [task for task, window in windows.items() if window.tokens_per_step is not None]
    missing = [task for task in tokens if task not in (shares or {}) and task not in own]
    if missing:
        raise ValueError(f"sampling shares: none for {', '.join(missing)}; give each task one, or tokens_per_step")
    both = [task for task in own if task in (shares or {})]
    if both:
        raise ValueError(f"sampling: {', '.join(both)} has a share and tokens_per_step of its own; keep one of them")


def _check_run(sampler: Sampler, windows: Mapping[str, Window], steps: int) -> None:
    for task, window in windows.items():
        if window.start >= steps:
            raise UsageError(
                f"{task} starts at step {window.start}, but training ends after {steps} steps; start it earlier"
            )
    switches = [step for step in switch_steps(windows) if step < steps]
    for step, end in zip(switches, [*switches[1:], steps], strict=True):
        if not sampler.active(step):
            raise UsageError(f"no task takes part in steps {step} to {end - 1}; let one start earlier or stop later")
