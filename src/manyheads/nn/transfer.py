"""Outputs of a pass as numpy arrays: from a GPU in one transfer, since each transfer waits for all work before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Outputs = Mapping[str, Mapping[str, torch.Tensor]]
Arrays = dict[str, dict[str, npt.NDArray[Any]]]


def to_arrays(outputs: Outputs, device: torch.device) -> Arrays:
    """The same outputs in float32, on the host."""
    if device.type == "cpu":
        return {name: {key: value.float().numpy() for key, value in output.items()} for name, output in outputs.items()}
    return in_one_transfer(outputs)


def in_one_transfer(outputs: Outputs) -> Arrays:
    """`to_arrays` through one buffer, which is pinned for CUDA."""
    parts = [value for output in outputs.values() for value in output.values()]
    if not parts:
        return {name: {} for name in outputs}
    flat = torch.cat([value.float().reshape(-1) for value in parts])
    if flat.is_cuda:
        host = torch.empty(flat.shape, dtype=flat.dtype, pin_memory=True)
        host.copy_(flat, non_blocking=True)
        torch.cuda.current_stream(flat.device).synchronize()
        array = host.numpy().copy()  # answers may keep parts of it for long, and pinned memory is scarce
    else:
        array = flat.cpu().numpy()
    cut = iter(np.split(array, np.cumsum([value.numel() for value in parts])[:-1]))
    return {
        name: {key: next(cut).reshape(tuple(value.shape)) for key, value in output.items()}
        for name, output in outputs.items()
    }
