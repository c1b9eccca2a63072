"""The processes of one run: each computes a part of every step, and all make the same update.

    torchrun --nproc-per-node 4 -m manyheads train RUN.yaml

Decided here:
- What a step trains on does not depend on the number of processes: its examples are drawn as in a run of one process, then
  divided (`partition.py`). Losses are divided by the denominators of the whole step, so gradients only have to be summed,
  once a step.
- No `DistributedDataParallel`: it reduces every backward pass, divides by the number of processes, and waits for ever when a
  process has no example of a task. Here a parameter that no process reached has no gradient, as in a run of one process.
- Small values that all processes must agree on (amounts, whether to stop) travel over gloo from CPU memory: no GPU waits.
- Process 0 alone writes, evaluates and prints. Where a checkpoint is read, all processes read the same one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manyheads.errors import TrainingError

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, slots=True)
class Team:
    """The processes of a run. With one process, every method returns at once.

    All methods but `leads` are collective: every process must make the same call.

    >>> team = Team()
    >>> team.leads, team.any(True), team.broadcast({"step": 3})
    (True, True, {'step': 3})
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is process 0, which writes and prints."""
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all processes, in place; it has the same shape in each."""
        if self.size > 1:
            import torch.distributed as dist

            with _reachable():
                dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        import torch

        return bool(self.sum(torch.tensor(int(flag), dtype=torch.int32)))

    def totals(self, amounts: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
        """The amounts of all processes together, for those of `names` that any process has."""
        if self.size == 1:
            return {name: amounts[name] for name in names if name in amounts}
        import torch

        rows = [[amounts.get(name, 0.0) for name in names], [float(name in amounts) for name in names]]
        summed, present = self.sum(torch.tensor(rows, dtype=torch.float64)).tolist()
        return {name: amount for name, amount, there in zip(names, summed, present, strict=True) if there}

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum gradients over all processes, in one piece; None stays where no process has one."""
        if self.size == 1:
            return
        found = self.sum_all([parameter.grad for parameter in parameters], parameters)
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.grad = gradient

    def sum_all(
        self, tensors: Sequence[torch.Tensor | None], like: Sequence[torch.Tensor]
    ) -> list[torch.Tensor | None]:
        """Tensors with the shapes of `like`, each summed over all processes; None counts as 0, unless all have None."""
        if self.size == 1:
            return list(tensors)
        import torch

        there = self.sum(torch.tensor([int(tensor is not None) for tensor in tensors], dtype=torch.int32)).tolist()
        some = [i for i, count in enumerate(there) if count]
        if not some:
            return [None] * len(like)
        values = [torch.zeros_like(like[i]) if (tensor := tensors[i]) is None else tensor for i in some]
        flat = self.sum(torch.cat([value.reshape(-1) for value in values]))
        parts = flat.split_with_sizes([value.numel() for value in values])
        found: list[torch.Tensor | None] = [None] * len(like)
        for i, part in zip(some, parts, strict=True):
            found[i] = part.view_as(like[i])
        return found

    def broadcast(self, value: Any) -> Any:
        """The value of process 0, sent as JSON. What other processes pass is ignored."""
        if self.size == 1:
            return value
        import torch
        import torch.distributed as dist

        text = json.dumps(value).encode() if self.leads else b""
        size = torch.tensor(len(text))
        with _reachable():
            dist.broadcast(size, 0)
            data = torch.frombuffer(bytearray(text or bytes(int(size))), dtype=torch.uint8)
            dist.broadcast(data, 0)
        return json.loads(data.numpy().tobytes())

    def wait(self) -> None:
        """Wait for all processes."""
        self.any(False)

    def leave(self) -> None:
        """End the run in all processes together: gloo aborts a process that exits while another still listens to it.

        The process group is not destroyed: in 2 of 60 runs of two processes that, or Python's shutdown after it, ended in
        "terminate called without an active exception" with all work done. The process should end by `exit_if_distributed`.
        """
        self.wait()


@contextmanager
def _reachable() -> Iterator[None]:
    """Raise TrainingError when another process is gone. gloo has a dozen messages for it, none about the run."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:200]
        raise TrainingError(f"another process of this run has ended or cannot be reached ({reason}); its last message "
                            "says why", hint="start all of them again with --resume") from None  # fmt: skip


ALONE = Team()
