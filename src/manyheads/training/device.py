"""What crosses between the CPU and a CUDA device in a step, arranged so that neither waits for the other.

Decided here: batches come in pinned memory, so that their copies run beside the computing; targets that a loss reads as
Python numbers stay on the CPU; the figures of a step are copied back when it has been computed, and read one step later. On a
CPU nothing of this happens: figures are read at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from manyheads.training.batches import Batch

READ_AS_NUMBERS = frozenset({"longest", "words_S"})
"""Names of targets that losses turn into Python numbers: read back from a device, each would make the step wait."""


class Figures:
    """Numbers on a device, on their way to the CPU."""

    def __init__(self, values: Sequence[torch.Tensor]) -> None:
        """`values`: 0-dimensional, on one device, float32. Nothing waits."""
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
        """The numbers; waits for them alone, not for what was asked of the device since."""
        if self._event is not None:
            self._event.synchronize()
        return self._host.tolist()


def sent(values: Sequence[float], device: torch.device) -> torch.Tensor:
    """Numbers as a float32 tensor on a device, without waiting for it."""
    tensor = torch.tensor(values, dtype=torch.float32)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def moved(targets: Mapping[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """The targets of one task, on the device where a loss computes with them."""
    return {
        key: value if key in READ_AS_NUMBERS else value.to(device, non_blocking=True) for key, value in targets.items()
    }


def pinned(batch: Batch) -> Batch:
    """The same batch in pinned memory, but for what stays on the CPU. Needs a CUDA device."""
    targets = {name: _pinned(arrays) for name, arrays in batch.targets.items()}
    lessons = {name: [lesson.each(_pinned) for lesson in found] for name, found in batch.lessons.items()}
    return replace(batch, pack=batch.pack.pinned(), targets=targets, lessons=lessons)


def _pinned(targets: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value if key in READ_AS_NUMBERS else value.pin_memory() for key, value in targets.items()}
