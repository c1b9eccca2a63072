"""The steps of a run in which a task is active."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ActiveSteps:
    """A task is active in steps `start` to `stop - 1`; `stop` None: to the end.

    With `tokens_per_step` it gets exactly that many in each of them, outside of the shares.
    """

    start: int = 0
    stop: int | None = None
    tokens_per_step: int | None = None

    def __contains__(self, step: int) -> bool:
        return self.start <= step and (self.stop is None or step < self.stop)


def switch_steps(active_steps: Mapping[str, ActiveSteps]) -> list[int]:
    """Step 0 and every step at which a task starts or stops, in order."""
    starts = {steps.start for steps in active_steps.values()}
    return sorted({0} | starts | {steps.stop for steps in active_steps.values() if steps.stop is not None})


def check_task_names(names: Collection[str], tasks: Collection[str], what: str) -> None:
    """Raise ValueError for a name that is not one of the tasks."""
    unknown = [name for name in names if name not in tasks]
    if unknown:
        raise ValueError(f"{what}: there is no task {', '.join(unknown)}; the tasks are {', '.join(tasks)}")


def check_active_steps(active_steps: Mapping[str, ActiveSteps], tokens_per_step: int) -> None:
    """Raise ValueError for a task without steps, and for fixed tokens that leave none for the other tasks."""
    for task, steps in active_steps.items():
        if steps.start < 0 or steps.start not in steps:
            raise ValueError(
                f"{task} starts at step {steps.start} and stops at step {steps.stop}; "
                "let it start at 0 or later, and stop after it starts"
            )
        if steps.tokens_per_step is not None and steps.tokens_per_step < 1:
            raise ValueError(f"{task} has tokens_per_step {steps.tokens_per_step}; give at least 1, or leave it out")
    for step in switch_steps(active_steps):
        active = {task: steps.tokens_per_step for task, steps in active_steps.items() if step in steps}
        sharing = [task for task, tokens in active.items() if tokens is None]
        taken = {task: tokens for task, tokens in active.items() if tokens is not None}
        if sharing and sum(taken.values()) >= tokens_per_step:
            raise ValueError(
                f"from step {step} on, the tokens_per_step of {', '.join(taken)} take {sum(taken.values())} of the "
                f"{tokens_per_step} tokens of a step and leave none for {', '.join(sharing)}; lower theirs, or raise it"
            )
