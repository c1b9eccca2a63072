"""Targets of one task in a batch: tensors that go to the device of the loss, and a few that stay on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch


class Targets(Mapping[str, torch.Tensor]):
    """Tensors by name. Those in `on_cpu`, which the loss reads as Python numbers, never move to a GPU.

    Reading a number back from a GPU makes the CPU wait for it, so a task names such targets (`Task.targets_on_cpu`).

    >>> targets = Targets.of({"cell_C": np.array([4, 9]), "longest": np.array([12])}, on_cpu={"longest"})
    >>> {name: tensor.device.type for name, tensor in targets.to(torch.device("meta")).items()}
    {'cell_C': 'meta', 'longest': 'cpu'}
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], on_cpu: Collection[str] = ()) -> None:
        self._tensors = tensors
        self.on_cpu = on_cpu

    @staticmethod
    def of(arrays: Mapping[str, Any], on_cpu: Collection[str] = ()) -> Targets:
        """Numpy arrays as tensors that share their memory."""
        return Targets({key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in arrays.items()}, on_cpu)

    def to(self, device: torch.device) -> Targets:
        """On a device, copied without waiting."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Targets:
        """In pinned memory, for copies that run beside the computing. Needs CUDA."""
        return self._each(torch.Tensor.pin_memory)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Targets:
        moved = {name: value if name in self.on_cpu else change(value) for name, value in self._tensors.items()}
        return Targets(moved, self.on_cpu)
