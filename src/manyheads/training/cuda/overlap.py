"""Keeping a CUDA device busy: copies that nothing waits for, and figures of a step that are read one step late.

Decided here:
- Batches come in pinned memory, so that their copies run beside the computing.
- The figures of a step (losses, norm of the gradient) are copied back when it has been computed, and read when the next one
  has been queued. Records are the same and in the same order, one step late.
- So the device judges for itself whether a step is bad (`guard.py`), and does not make the update of a bad one.

On a CPU none of this happens: figures are read at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from manyheads.balance.base import Balancer
from manyheads.training.batch import Batch
from manyheads.training.batches import StepBatch
from manyheads.training.guard import LARGEST
from manyheads.training.losses import Normaliser
from manyheads.training.precision import Precision
from manyheads.training.targets import Targets


class Figures:
    """Numbers on a device that are being copied to the CPU.

    >>> Figures([torch.tensor(0.5), torch.tensor(2.0)]).read()
    [0.5, 2.0]
    """

    def __init__(self, values: Sequence[torch.Tensor]) -> None:
        """`values`: 0-dimensional, on one device, float32. Does not wait for them."""
        self.on_device = stacked = torch.stack([*values])
        self._event: torch.cuda.Event | None = None
        if stacked.is_cuda:
            self._host = torch.empty(stacked.shape, dtype=stacked.dtype, pin_memory=True)
            self._host.copy_(stacked, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(stacked.device))
        else:
            self._host = stacked

    def read(self) -> list[float]:
        """The numbers; waits for them, but not for work that was queued on the device since."""
        if self._event is not None:
            self._event.synchronize()
        return self._host.tolist()


def send(values: Sequence[float], device: torch.device) -> torch.Tensor:
    """Numbers as a float32 tensor on a device, without waiting for it."""
    tensor = torch.tensor(values, dtype=torch.float32)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def pinned(batch: StepBatch) -> StepBatch:
    """A step's batch in pinned memory. Needs a CUDA device."""
    return replace(batch, packs=[_pinned(pack) for pack in batch.packs])


def _pinned(batch: Batch) -> Batch:
    targets = {name: found.pinned() for name, found in batch.targets.items()}
    lessons = {name: [lesson.each(Targets.pinned) for lesson in found] for name, found in batch.lessons.items()}
    return replace(batch, pack=batch.pack.pinned(), targets=targets, lessons=lessons)


def can_defer(balancer: Balancer, normaliser: Normaliser, precision: Precision) -> bool:
    """Whether no step depends on the figures of the step before it.

    Some balancing methods observe losses or norms, `initial-loss` keeps the first ones, and float16 skips steps by them.
    """
    observes = type(balancer).observe is not Balancer.observe or balancer.needs_losses_after or balancer.parameters()
    return balancer.mode == "losses" and not observes and normaliser.method != "initial-loss" and not precision.scaled


def update_unless_bad(optimizer: torch.optim.Optimizer, figures: Figures, limits: Sequence[float]) -> None:
    """An update that the device makes if it finds the step good: fused optimizers look at `found_inf` (torch.amp).

    `limits`: of each figure but the last, the norm of the gradient, which only has to be finite.
    """
    values = figures.on_device
    good = (values <= send([*limits, LARGEST], values.device)) & values.isfinite()
    fused: Any = optimizer
    fused.found_inf = (~good.all()).float()
    fused.step()
    del fused.found_inf
