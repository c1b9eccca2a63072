"""When a task takes part in training, and whether that can be. A run without windows trains every task in every step."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """A task takes part in steps `start` to `stop - 1`; None: to the end.

    With `tokens_per_step` it gets exactly these in each of its steps, outside of the shares.
    """

    start: int = 0
    stop: int | None = None
    tokens_per_step: int | None = None

    def holds(self, step: int) -> bool:
        """Whether the task takes part in a step."""
        return self.start <= step and (self.stop is None or step < self.stop)


def switch_steps(windows: Mapping[str, Window]) -> list[int]:
    """Step 0 and every step at which a task joins or leaves, in order."""
    ends = {window.stop for window in windows.values() if window.stop is not None}
    return sorted({0, *(window.start for window in windows.values()), *ends})


def check_known(names: Collection[str], tasks: Collection[str], what: str) -> None:
    """Raises ValueError for a name that is not one of the tasks."""
    unknown = [name for name in names if name not in tasks]
    if unknown:
        raise ValueError(f"{what}: there is no task {', '.join(unknown)}; the tasks are {', '.join(tasks)}")


def check_windows(windows: Mapping[str, Window], tokens_per_step: int) -> None:
    """Raises ValueError for an empty window, and where tasks with tokens of their own leave none for the others."""
    for task, window in windows.items():
        if window.start < 0 or not window.holds(window.start):
            raise ValueError(
                f"{task} starts at step {window.start} and stops at step {window.stop}; "
                "let it start at 0 or later, and stop after it starts"
            )
        if window.tokens_per_step is not None and window.tokens_per_step < 1:
            raise ValueError(f"{task} has tokens_per_step {window.tokens_per_step}; give at least 1, or leave it out")
    for step in switch_steps(windows):
        active = {task: window.tokens_per_step for task, window in windows.items() if window.holds(step)}
        sharing = [task for task, tokens in active.items() if tokens is None]
        taken = {task: tokens for task, tokens in active.items() if tokens is not None}
        if sharing and sum(taken.values()) >= tokens_per_step:
            raise ValueError(
                f"from step {step} on, the tokens_per_step of {', '.join(taken)} take {sum(taken.values())} of the "
                f"{tokens_per_step} tokens of a step and leave none for {', '.join(sharing)}; lower theirs, or raise it"
            )
