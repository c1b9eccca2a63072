"""The convex problem of one head on fixed features: its penalised loss, solved by L-BFGS, with the penalty chosen by folds.

Decided here:
- The penalty is chosen by held-out loss, from strong to weak, each solution the start of the next. A penalty shrinks scores
  as well as turning them, so a solution is judged at its best scale, and the head gets that scale.
- Held-out rows whose label the other folds lack are left out: with one or two examples of most labels they would decide
  alone, and in favour of the strongest penalty. Labels that a fold takes examples from weigh more in the others. Where no
  row is left the weakest penalty is taken, which has the widest margin of all solutions (Soudry et al. 2018).
- The penalty is relative to the size of the features, so the same grid serves every encoder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from manyheads.nn.heads import InnerWords
from manyheads.nn.pooling import mean_pool
from manyheads.tasks.base import Task
from manyheads.text.pack import Segments
from manyheads.training.batch import Batch
from manyheads.training.losses import relative_to_chance, task_loss

PENALTIES = (0.1, 0.02, 0.005, 0.001, 2e-4, 5e-5, 1e-5, 2e-6)
"""On half the squared weights, times the mean square of a pooled vector; strong to weak."""
FOLDS = 5
SCALES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Factors on a solution: strong penalties leave scores small."""
PATIENCE = 2
"""Weaker penalties are not tried after so many in a row without a better held-out loss."""
STEPS = 20
"""Of L-BFGS for one penalty: each starts near its solution."""


@dataclass(frozen=True, slots=True)
class Features:
    """One pack of examples as the head reads it."""

    hidden_TD: torch.Tensor
    segments: Segments
    batch: Batch
    denominator: float


def solved_part(head: nn.Module) -> nn.Module:
    """What is solved of a head: all of it, unless it names a module `solved`."""
    part = getattr(head, "solved", head)
    assert isinstance(part, nn.Module), "part of the head"
    return part


def scoring_parameters(head: nn.Module) -> list[nn.Parameter]:
    """What scores labels: the last linear layer, and the weights of words inside pieces. Other layers keep their scale.

    Of a head with several `parts`, those of each.
    """
    solved = solved_part(head)
    return [parameter for part in getattr(solved, "parts", (solved,)) for parameter in _scoring(part)]


def _scoring(part: nn.Module) -> list[nn.Parameter]:
    inside = [module for module in part.modules() if isinstance(module, InnerWords)]
    others = {id(module) for inner in inside for module in inner.modules()}
    layers = [m for m in part.modules() if isinstance(m, nn.Linear) and id(m) not in others]
    return [*(layers[-1].parameters() if layers else ()), *(inner.inner_RK for inner in inside)]


class HeadProblem:
    """The loss of a head on features, in units of chance, with a penalty on its squared weights."""

    def __init__(self, head: nn.Module, task: Task[Any], square: float) -> None:
        """`square`: the mean square of a pooled vector. Of a head that names a part to solve, `self.head` is that part."""
        self.head = head = solved_part(head)
        self.task = task
        self.square = square
        self.began = self.state()
        self.parameters = [p for p in head.parameters() if p.requires_grad]
        self.weights = [p for p in self.parameters if p.ndim > 1]

    def state(self) -> dict[str, torch.Tensor]:
        """A copy of the head's weights."""
        return {key: value.clone() for key, value in self.head.state_dict().items()}

    def solve(self, features: Sequence[Features], penalty: float, steps: int) -> None:
        """Minimise by L-BFGS, from the head's current weights."""
        optimizer = torch.optim.LBFGS(
            self.parameters, max_iter=steps, tolerance_grad=1e-5, tolerance_change=1e-7, line_search_fn="strong_wolfe"
        )

        def closure() -> torch.Tensor:
            optimizer.zero_grad(set_to_none=True)
            total = self._loss(features)
            total = total + 0.5 * penalty * self.square * sum(
                (w.square().sum() for w in self.weights), total.new_zeros(())
            )
            total.backward()  # type: ignore[no-untyped-call]
            return total

        optimizer.step(closure)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def scale(self, factor: float) -> None:
        """Multiply the scores of the head."""
        for parameter in scoring_parameters(self.head):
            parameter.mul_(factor)

    @torch.no_grad()
    def losses(self, features: Sequence[Features]) -> torch.Tensor:
        """The loss on features at each of `SCALES`, `(S,)`; the head stays at the last scale tried.

        Infinite beyond the first scale that is worse than the one before: the loss has one minimum.
        """
        losses = torch.full((len(SCALES),), torch.inf, dtype=torch.float64)
        for s, (last, scale) in enumerate(zip((1.0, *SCALES), SCALES, strict=False)):
            self.scale(scale / last)
            losses[s] = self._loss(features)
            if s and not losses[s] < losses[s - 1]:
                break
        return losses

    def _loss(self, features: Sequence[Features]) -> torch.Tensor:
        denominator = sum(f.denominator for f in features) or 1.0
        total = features[0].hidden_TD.new_zeros(())
        for f in (f for f in features if f.denominator):
            loss = task_loss(self.task, self.head(f.hidden_TD, f.segments), f.batch, 1.0, relative_to_chance)
            total = total + loss * (f.denominator / denominator)
        return total


class _Fold:
    """Held-out examples, and the problem on the others."""

    def __init__(self, problem: HeadProblem, others: Sequence[Features], held_out: Sequence[Features]) -> None:
        task, name = problem.task, problem.task.name
        found = [[f.batch.targets[name] for f in some if name in f.batch.targets] for some in (others, held_out)]
        if all(found):
            task = task.reweighted(found[0], [*found[0], *found[1]])
        if task is not problem.task:
            others, held_out = ([_weighed(f, task) for f in some] for some in (others, held_out))
        self.problem = HeadProblem(problem.head, task, problem.square)
        self.others, self.held_out = others, held_out
        self.denominator = sum(f.denominator for f in self.held_out)
        self.reached = problem.began

    def losses(self, penalty: float) -> torch.Tensor:
        """Held-out loss `(S,)` at each scale, solved from the solution of the last penalty."""
        problem = self.problem
        problem.head.load_state_dict(self.reached)
        problem.solve(self.others, penalty, STEPS)
        self.reached = problem.state()
        return problem.losses(self.held_out)


def _weighed(features: Features, task: Task[Any]) -> Features:
    """The same, with the denominator for this task."""
    targets = features.batch.targets[task.name]
    return replace(
        features, denominator=task.denominator({key: value.numpy(force=True) for key, value in targets.items()})
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """A penalty, the best scale of its solutions, and the mean held-out loss at that scale."""

    penalty: float
    scale: float = 1.0
    loss: float = 1.0
    start: Mapping[str, torch.Tensor] | None = None
    """A solution on most of the examples, near the one on all of them."""


def choose_penalty(problem: HeadProblem, some: Sequence[Features], *, every: bool) -> Choice | None:
    """The penalty with the least held-out loss, on every fold or only the first; None where no loss is finite."""
    parts = min(FOLDS, len(some))
    folds = [
        _Fold(
            problem,
            [f for i, f in enumerate(some) if i % parts != k],
            [f for i, f in enumerate(some) if i % parts == k],
        )
        for k in range(parts)
    ]
    folds = [fold for fold in folds[: None if every else 1] if fold.denominator]
    if not folds:
        return Choice(PENALTIES[-1])
    denominator = sum(fold.denominator for fold in folds)
    tried: list[Choice] = []
    for penalty in PENALTIES:
        loss_S = torch.stack([fold.losses(penalty) * (fold.denominator / denominator) for fold in folds]).sum(0)
        scale = int(loss_S.nan_to_num(torch.inf).argmin())
        tried.append(Choice(penalty, SCALES[scale], float(loss_S[scale]), folds[0].reached))
        losses = [choice.loss for choice in tried]
        if len(losses) > PATIENCE and min(losses[-PATIENCE:]) > min(losses):
            break  # past the best: the rest are slow to solve, and worse
    return min((choice for choice in tried if math.isfinite(choice.loss)), key=lambda c: c.loss, default=None)


def mean_square(features: Sequence[Features]) -> float:
    """The mean squared norm of a pooled vector."""
    pooled_SD = torch.cat([mean_pool(f.hidden_TD, f.segments) for f in features])
    return float(pooled_SD.square().sum(-1).mean())
