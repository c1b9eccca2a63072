"""What a balancer is: the weights of the tasks' losses in a step. One method per file; all of them answer `Balancer`.

The trainer knows five modes. `losses`: one backward of `sum_t weights[t] * loss_t`, perhaps over several micro-packs, so
weights never depend on the losses of their own step. `norms`: the same, but what only one task trains has its static
weight, and the norms of the tasks' gradients are observed: at what their heads read, and now and then, in steps in which the
tasks run one after the other, at all that they share. `last-layer`: the same weights, but the tasks run one after the
other and the norms of their gradients are observed. `gramian`: the tasks run one after the other, `combine` turns the
dot products of their gradients into weights, and the sum is taken in place: no matrix of all gradients is ever built.
`moments`: the tasks run one after the other, and the optimizer is given the gradient of each.

Decided here, for every method:
- The user's static weights stay in force. Loss methods multiply them by factors whose mean over the run's tasks is 1
  (equal-norm: that keep the length of the step); gradient methods see each gradient times its static weight. Where the
  tasks do not differ, the step is the static one, so a learning rate carries over from one method to the next.
- A task's factor does not depend on who else is in the step, so a sampler that draws one task at a time balances too.
- What is not finite is observed by nobody: such a step leaves no trace.

Letters of shapes here: K tasks in the step, P parameters.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from manyheads.errors import UsageError

Mode = Literal["losses", "norms", "last-layer", "gramian", "moments"]

# Against the largest squared norm: what rounding leaves of a float32 gradient (6e-8, squared). Less is no gradient.
NO_GRADIENT = 1e-14

# Elements of a task's gradient taken at once. 16 Ki of 4 tasks fit in a core's cache: 67 ms for 4 gradients of 22.6M
# float32 on 2 cores, 81 ms with `torch.dot` on whole parameters, which is also 400 times less exact. Elsewhere, few launches.
CHUNK_CPU = 1 << 14
CHUNK_ELSEWHERE = 1 << 22


class Balancer(ABC):
    """Weights of a run's tasks, step by step."""

    mode: ClassVar[Mode] = "losses"
    needs_losses_after: ClassVar[bool] = False  # True: the trainer reads the batch's losses again after the update
    parameters_rate: float = 0.0  # learning rate that `parameters()` want, whatever the model's

    def __init__(self, weights: Mapping[str, float]) -> None:
        """`weights`: static weight of each task of the run, at least 0, not all 0. Raises UsageError otherwise."""
        for task, weight in weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise UsageError(f"the weight of {task} is {weight}; give a number of at least 0")
        if not any(weights.values()):
            raise UsageError(
                f"the weights of all tasks are 0 ({', '.join(weights) or 'no task'}); give one more than 0"
            )
        self.static = {task: float(weight) for task, weight in weights.items()}
        self._shown: dict[str, float] = {}

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the run's tasks, in the run file's order."""
        return tuple(self.static)

    def parameters(self) -> list[nn.Parameter]:
        """Learned weights, for the run's optimizer: without weight decay, at `parameters_rate`."""
        return []

    @abstractmethod
    def weights(self, step: int, present: Sequence[str]) -> dict[str, Tensor]:
        """Weight of the loss of each task present: 0-dim tensors, which may carry a gradient.

        The answer is the same for the whole step; ask again for each of its backwards, as a graph serves only one.
        In gramian mode these are the static weights, and what a task's own parameters, its head, are trained with.
        In norms mode they are of what tasks share, and a task's own parameters have its static weight.
        """

    def penalty(self, present: Sequence[str]) -> Tensor | None:
        """A term to add to the total, once a step (0-dim), or None."""
        return None

    def observe(self, step: int, losses: Mapping[str, float]) -> None:  # noqa: B027 (most methods ignore it)
        """After a step: the mean loss of each task present, unweighted."""

    def wants_norms(self, step: int, present: Sequence[str]) -> bool:
        """Norms mode, before a step: whether tasks are to run one after the other, for norms at everything they share."""
        return False

    def observe_norms(self, step: int, norms: Mapping[str, float], losses: Mapping[str, float]) -> None:  # noqa: B027
        """Last-layer mode, after a step: norm of each task's unweighted gradient at the last shared layer; its loss."""

    def observe_pull(self, step: int, at_heads: Mapping[str, float], norms: Mapping[str, float]) -> None:  # noqa: B027
        """Norms mode, after a step: norms of each task's unweighted gradient.

        `at_heads`: at the hidden states that its head reads, at every step. `norms`: at everything tasks share, in the steps
        for which `wants_norms` asked, else empty. 0 is a gradient that is not there.
        """

    def observe_after(self, step: int, before: Mapping[str, float], after: Mapping[str, float]) -> None:  # noqa: B027
        """After the update, if `needs_losses_after`: mean losses of the same batch before and after it, unweighted."""

    def combine(self, step: int, gramian_KK: Tensor, present: Sequence[str]) -> Tensor:
        """Gramian mode: the weight of each task's gradient in their sum, weights_K, float64 on the CPU.

        `gramian_KK` (float64, CPU) holds the dot products of the gradients of the unweighted losses, in the order of
        `present`; the static weights are within the answer. Raises ValueError for another shape.
        """
        raise NotImplementedError(f"{type(self).__name__} balances losses, not gradients: its mode is {self.mode}")

    def state(self) -> dict[str, Any]:
        """What a resumed run needs to go on bit for bit, as JSON; without `parameters()`."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state()` of the same method and tasks. Raises UsageError for any other."""
        self._check_state(state, ())

    def shown(self) -> dict[str, float]:
        """The weights last used, for the log."""
        return dict(self._shown)

    def _given(self, weights: Mapping[str, float], present: Sequence[str]) -> dict[str, Tensor]:
        """Weights of those present, remembered for the log."""
        self._shown = {task: weights[task] for task in present}
        return {task: torch.tensor(weight, dtype=torch.float32) for task, weight in self._shown.items()}

    def _check_state(self, state: Mapping[str, Any], keys: Iterable[str]) -> None:
        """Raises UsageError unless the state has exactly these keys, and under each of them known tasks."""
        wanted = set(keys)
        strangers = {task for key in wanted & set(state) for task in state[key]} - set(self.static)
        if set(state) != wanted or strangers:
            raise UsageError(
                f"the saved state of balancing holds {sorted(state) or 'nothing'} for {sorted(strangers) or 'known tasks'}; "
                f"{type(self).__name__} needs {sorted(wanted) or 'nothing'} for {', '.join(self.tasks)}: "
                "resume with the method and the tasks it was saved with"
            )


class GramianBalancer(Balancer):
    """A method that combines gradients. It has only to say how, for two or more gradients that are there."""

    mode: ClassVar[Mode] = "gramian"

    def weights(self, step: int, present: Sequence[str]) -> dict[str, Tensor]:
        """The static weights."""
        return {task: torch.tensor(self.static[task], dtype=torch.float32) for task in present}

    def combine(self, step: int, gramian_KK: Tensor, present: Sequence[str]) -> Tensor:
        """Weights of the gradients. A task without a gradient is as if absent; one alone has its static weight.

        A Gramian that is not finite gives static weights: the sum is as broken as its parts, for the trainer's guard.
        """
        if gramian_KK.shape != (len(present), len(present)):
            raise ValueError(f"a Gramian of {len(present)} tasks is square, seen {tuple(gramian_KK.shape)}")
        rank = {task: i for i, task in enumerate(self.static)}
        static_K = torch.tensor([self.static[task] for task in present], dtype=torch.float64)
        weights_K = static_K.clone()
        scaled_KK = gramian_KK * torch.outer(static_K, static_K)
        square_K = scaled_KK.diagonal()
        if bool(scaled_KK.isfinite().all()):
            largest = max(square_K.tolist(), default=0.0)
            there = [i for i, square in enumerate(square_K.tolist()) if square > NO_GRADIENT * largest]
            there.sort(key=lambda i: rank[present[i]])  # the answer must not depend on the order of running
            if len(there) > 1:
                part_KK = scaled_KK[there][:, there] / largest  # solvers have absolute tolerances
                factors_K = self._solve(step, part_KK, [present[i] for i in there])
                if bool(factors_K.isfinite().all()):
                    weights_K[there] *= factors_K
        self._shown = dict(zip(present, weights_K.tolist(), strict=True))
        return weights_K

    @abstractmethod
    def _solve(self, step: int, gramian_KK: Tensor, tasks: Sequence[str]) -> Tensor:
        """Factors of K >= 2 gradients, none of them 0, the largest of norm 1; all 1 where all are equal."""


def gramian(gradients: Sequence[Sequence[Tensor | None]]) -> Tensor:
    """Dot products of K gradients, each a list of P tensors: (K, K), float64, CPU. None is a gradient of 0.

    Sums are float32 within a chunk of a parameter and float64 between chunks. The result equals its transpose to the bit:
    some processors round the two triangles of a product differently (an EPYC with AVX-512 does), so their mean is given.
    Raises ValueError where lists differ in length.
    """
    total_KK = torch.zeros(len(gradients), len(gradients), dtype=torch.float64)
    parts: list[Tensor] = []
    for tensors in zip(*gradients, strict=True):
        some = next((tensor for tensor in tensors if tensor is not None), None)
        if some is None:
            continue
        zero = some.new_zeros(1).expand(some.numel())
        chunk = CHUNK_CPU if some.device.type == "cpu" else CHUNK_ELSEWHERE
        flat = [zero if tensor is None else tensor.detach().reshape(-1) for tensor in tensors]
        for pieces_K in zip(*(each.split(chunk) for each in flat), strict=True):
            rows_KP = torch.stack(pieces_K)
            rows_KP = rows_KP if rows_KP.dtype == torch.float64 else rows_KP.float()
            parts.append(rows_KP @ rows_KP.T)
    if parts:
        # Moved once: thousands of small results would each wait for the device; and not every device has float64.
        total_KK += torch.stack([part.to(parts[0].dtype) for part in parts]).cpu().double().sum(0)
    return (total_KK + total_KK.T) / 2


@torch.no_grad()
def combined(gradients: Sequence[Sequence[Tensor | None]], weights_K: Tensor) -> list[Tensor | None]:
    """`sum_t weights[t] * gradient_t`, parameter by parameter, written into the first task's tensor that is there.

    None where no task reaches a parameter. Raises ValueError unless there is one weight for each gradient.
    """
    weights = weights_K.tolist()
    if len(weights) != len(gradients):
        raise ValueError(f"{len(gradients)} gradients need as many weights, seen {len(weights)}")
    sums: list[Tensor | None] = []
    for tensors in zip(*gradients, strict=True):
        total: Tensor | None = None
        for tensor, weight in zip(tensors, weights, strict=True):
            if tensor is None:
                continue
            total = tensor.mul_(weight) if total is None else total.add_(tensor, alpha=weight)
        sums.append(total)
    return sums


def all_finite(*figures: Mapping[str, float]) -> bool:
    """Whether no value is infinite or not a number."""
    return all(math.isfinite(value) for figure in figures for value in figure.values())


def checked(method: str, option: str, value: float, least: float, most: float = math.inf) -> float:
    """The option's value, if it is finite and `least <= value <= most`. Raises UsageError."""
    if not (math.isfinite(value) and least <= value <= most):
        limits = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise UsageError(f"balancing by {method}: {option} is {value}; give a number of {limits}")
    return float(value)
