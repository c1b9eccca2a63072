"""A training run in which a task's loss, or its gradient, is not a number in some steps. Run by guards.py.

    python -m durability.poison WHAT TASK FIRST COUNT train RUN.yaml --output DIR

WHAT: loss, gradient, or nothing: then those steps are left out from the start, and it is the run to compare with. All
is patched from outside, on the finished plan: the task's loss where its class defines it, and who asks for a step's
gradient, to know the step.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manyheads.training.plan import Plan


def poison(plan: Plan, what: str, task: str, steps: range) -> None:
    """Spoil the loss or the gradient of a task in these steps of a plan."""
    gradients, kind = plan.trainer.gradients, type(plan.tasks[task])
    real_of, real_loss, now = gradients.of, kind.loss, [-1]

    def of(step: int, packs: Sequence[Any]) -> dict[str, Any]:
        now[0] = step
        return real_of(step, packs)

    def loss(self: Any, output: Any, targets: Any) -> Any:
        made = real_loss(self, output, targets)
        if self.name != task or now[0] not in steps:
            return made
        if what == "loss":
            return replace(made, values=made.values * float("nan"))
        if made.mean.requires_grad:
            made.mean.register_hook(lambda gradient: gradient * float("nan"))  # type: ignore[no-untyped-call]
        return made

    gradients.of = of  # type: ignore[method-assign]
    kind.loss = loss  # type: ignore[method-assign]


def main(arguments: Sequence[str]) -> int:
    """The command, with a plan that is spoiled before it is carried out; its exit status."""
    what, task, first, count, *rest = arguments
    steps = range(int(first), int(first) + int(count))
    import manyheads.training.run as run
    from manyheads.cli import main as command

    real = run.run_plan

    def run_plan(plan: Plan, *others: Any, **named: Any) -> Any:
        if what == "nothing":
            plan.trainer.guard.avoided = frozenset(steps)
        else:
            poison(plan, what, task, steps)
        return real(plan, *others, **named)

    run.run_plan = run_plan
    return command(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
