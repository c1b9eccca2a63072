"""The protocol of a balancer, which weights the losses or gradients of tasks in a step.

The trainer supports five modes:
- `losses`: one backward of `sum_t weights[t] * loss_t`, possibly over several micro-packs, so weights never depend on the
  losses of their own step.
- `norms`: the same, but parameters of a single task have its static weight, and norms of the tasks' gradients are observed:
  at the hidden states that heads read, and in some steps, in which tasks run one after the other, at all shared parameters.
- `last-layer`: the same weights; tasks run one after the other and norms of their gradients are observed.
- `gramian`: tasks run one after the other, `combine` turns the dot products of their gradients into weights, and the sum is
  taken in place: no matrix of all gradients is ever built.
- `moments`: tasks run one after the other, and the optimizer receives the gradient of each.

Decided here, for every method:
- The user's static weights stay in force. Loss methods multiply them by factors with a mean of 1 over the run's tasks
  (equal-norm: factors that keep the length of the step); gradient methods see each gradient times its static weight. If
  tasks do not differ, the step is the static one, so a learning rate carries over between methods.
- A task's factor does not depend on the other tasks in the step, so balancing also works with one task at a time.
- Values that are not finite are not observed: such a step leaves no trace.

Letters of shapes here: K tasks in the step, P parameters.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from manyheads.errors import UsageError

Mode = Literal["losses", "norms", "last-layer", "gramian", "moments"]

# Relative to the largest squared norm, about the rounding error of a float32 gradient (6e-8, squared). Below: no gradient.
NO_GRADIENT = 1e-14

# Elements of a task's gradient per chunk. 16 Ki of 4 tasks fit in a core's cache: 67 ms for 4 gradients of 22.6M float32 on
# 2 cores, 81 ms with `torch.dot` on whole parameters, which is also 400 times less exact. On a GPU, large chunks mean
# few launches.
CHUNK_CPU = 1 << 14
CHUNK_ELSEWHERE = 1 << 22


class Balancer(ABC):
    """Weights of a run's tasks, step by step."""

    mode: ClassVar[Mode] = "losses"
    saved: ClassVar[tuple[str, ...]] = ()  # the state: attributes with these names after `_`, each a mapping by task
    needs_losses_after: ClassVar[bool] = False  # True: the trainer computes the losses of the batch again after the update
    parameters_rate: float = 0.0  # learning rate of `parameters()`, independent of the model's

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
        """Names of the run's tasks, in the order of the run file."""
        return tuple(self.static)

    def parameters(self) -> list[nn.Parameter]:
        """Learned weights, for the run's optimizer: without weight decay, at `parameters_rate`."""
        return []

    @abstractmethod
    def weights(self, step: int, present: Sequence[str]) -> dict[str, Tensor]:
        """Weight of the loss of each task present: 0-dim tensors, possibly with a gradient.

        Weights are the same for the whole step; call it again for each backward, as a graph can be used only once.
        In gramian mode these are the static weights, for the parameters of a single task, such as its head.
        In norms mode they are for shared parameters; those of a single task have its static weight.
        """

    def penalty(self, present: Sequence[str]) -> Tensor | None:
        """A term to add to the total loss once per step (0-dim), or None."""
        return None

    def observe(self, step: int, losses: Mapping[str, float]) -> None:  # noqa: B027 (most methods ignore it)
        """After a step: the mean loss of each task present, unweighted."""

    def wants_norms(self, step: int, present: Sequence[str]) -> bool:
        """Norms mode, before a step: whether to run tasks one after the other, to observe norms at all shared parameters."""
        return False

    def observe_norms(self, step: int, norms: Mapping[str, float], losses: Mapping[str, float]) -> None:  # noqa: B027
        """Last-layer mode, after a step: norm of each task's unweighted gradient at the last shared layer; its loss."""

    def observe_pull(self, step: int, at_heads: Mapping[str, float], norms: Mapping[str, float]) -> None:  # noqa: B027
        """Norms mode, after a step: norms of each task's unweighted gradient.

        `at_heads`: at the hidden states that its head reads, at every step. `norms`: at all shared parameters, in steps
        for which `wants_norms` is true, else empty. 0 means no gradient.
        """

    def observe_after(self, step: int, before: Mapping[str, float], after: Mapping[str, float]) -> None:  # noqa: B027
        """After the update, if `needs_losses_after`: mean losses of the same batch before and after it, unweighted."""

    def combine(self, step: int, gramian_KK: Tensor, present: Sequence[str]) -> Tensor:
        """Gramian mode: the weight of each task's gradient in their sum, weights_K, float64 on the CPU.

        `gramian_KK` (float64, CPU) has the dot products of the gradients of the unweighted losses, in the order of
        `present`; the result includes the static weights. Raises ValueError for another shape.
        """
        raise NotImplementedError(f"{type(self).__name__} balances losses, not gradients: its mode is {self.mode}")

    def state(self) -> dict[str, Any]:
        """What a resumed run needs to continue bit for bit, as JSON; without `parameters()`."""
        return {key: deepcopy(getattr(self, f"_{key}")) for key in self.saved}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state()` of the same method and tasks. Raises UsageError for any other."""
        strangers = {task for key in self.saved if key in state for task in state[key]} - set(self.static)
        if set(state) != set(self.saved) or strangers:
            raise UsageError(
                f"the saved state of balancing holds {sorted(state) or 'nothing'} for {sorted(strangers) or 'known tasks'}; "
                f"{type(self).__name__} needs {sorted(self.saved) or 'nothing'} for {', '.join(self.tasks)}: "
                "resume with the method and the tasks it was saved with"
            )
        for key in self.saved:
            setattr(self, f"_{key}", deepcopy(dict(state[key])))

    def shown(self) -> dict[str, float]:
        """The last weights, for the log."""
        return dict(self._shown)

    def _given(self, weights: Mapping[str, float], present: Sequence[str]) -> dict[str, Tensor]:
        """Weights of tasks present, stored for the log."""
        self._shown = {task: weights[task] for task in present}
        return {task: torch.tensor(weight, dtype=torch.float32) for task, weight in self._shown.items()}


class GramianBalancer(Balancer):
    """A method that combines gradients; subclasses implement `_solve` for two or more nonzero gradients."""

    mode: ClassVar[Mode] = "gramian"

    def weights(self, step: int, present: Sequence[str]) -> dict[str, Tensor]:
        """The static weights."""
        return {task: torch.tensor(self.static[task], dtype=torch.float32) for task in present}

    def combine(self, step: int, gramian_KK: Tensor, present: Sequence[str]) -> Tensor:
        """Weights of the gradients. A task without a gradient is treated as absent; a single task has its static weight.

        A Gramian that is not finite gives static weights: the sum is not finite either, which the trainer's guard detects.
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
            there.sort(key=lambda i: rank[present[i]])  # the result must not depend on the order of the tasks
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

    Sums are float32 within a chunk of a parameter and float64 between chunks. The result equals its transpose exactly: some
    processors (an EPYC with AVX-512) round the two triangles of a product differently, so their mean is returned.
    Raises ValueError for lists of different lengths.

    >>> gramian([[torch.tensor([1.0, 0.0])], [torch.tensor([1.0, 1.0])]])
    tensor([[1., 1.],
            [1., 2.]], dtype=torch.float64)
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
        # Moved once, since each of thousands of small results would wait for the device; and not every device has float64.
        total_KK += torch.stack([part.to(parts[0].dtype) for part in parts]).cpu().double().sum(0)
    return (total_KK + total_KK.T) / 2


@torch.no_grad()
def combined(gradients: Sequence[Sequence[Tensor | None]], weights_K: Tensor) -> list[Tensor | None]:
    """`sum_t weights[t] * gradient_t` per parameter, written in place into the first tensor that is not None.

    None for a parameter without any gradient. Raises ValueError unless there is one weight per gradient.

    >>> combined([[torch.tensor([1.0])], [torch.tensor([2.0])]], torch.tensor([1.0, 3.0]))
    [tensor([7.])]
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
    """Whether all values are finite.

    >>> all_finite({"a": 1.0}, {"a": math.inf})
    False
    """
    return all(math.isfinite(value) for figure in figures for value in figure.values())


def checked(method: str, option: str, value: float, least: float, most: float = math.inf) -> float:
    """The value as float, if finite and `least <= value <= most`. Raises UsageError.

    >>> checked("dwa", "window", 100, least=1)
    100.0
    """
    if not (math.isfinite(value) and least <= value <= most):
        limits = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise UsageError(f"balancing by {method}: {option} is {value}; give a number of {limits}")
    return float(value)
