"""Devices by name (`auto`, `cpu`, `cuda`, `cuda:1`, `mps`): which this machine has, and which one a process takes.

Decided here: `auto` is a GPU if there is one. A GPU is kept busy by larger passes than a CPU. The server's own process never
imports torch, so it counts CUDA devices by asking the driver, without using one.
"""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING

from manyheads.errors import UsageError

if TYPE_CHECKING:
    import torch

AUTO = "auto"
"""The device that is chosen by what the machine has."""
CUDA = "cuda"
TRAINING_DEVICES = (AUTO, "cpu", CUDA)
"""What `training.device` may be."""
PASS_TOKENS = 4096
"""Tokens of a pass on a CPU, where more are not faster."""
CUDA_PASS_TOKENS = 16_384
DRIVERS = ("libcuda.so.1", "nvcuda.dll")


def is_cuda(name: str) -> bool:
    """Whether a name is that of a CUDA device.

    >>> is_cuda("cuda:1"), is_cuda("mps")
    (True, False)
    """
    return name.partition(":")[0] == CUDA


def pass_tokens(name: str) -> int:
    """Default tokens of a pass on a device."""
    return CUDA_PASS_TOKENS if is_cuda(name) else PASS_TOKENS


def torch_device(name: str) -> torch.device:
    """The device of this name; `auto`: a GPU (CUDA, MPS) if there is one, else the CPU. Raises UsageError."""
    import torch

    found = torch_devices()
    if name == AUTO:
        return torch.device(found[min(1, len(found) - 1)])
    if name not in found:
        raise UsageError(f"there is no device '{name}'; this machine has {', '.join(found)}")
    return torch.device(name)


def torch_devices() -> list[str]:
    """Names of the devices that torch can use, the CPU first."""
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return ["cpu"]
    kind = accelerator.type
    return ["cpu", kind, *(f"{kind}:{i}" for i in range(torch.accelerator.device_count()))]


def cuda_devices() -> int:
    """Number of CUDA devices by the driver, which heeds CUDA_VISIBLE_DEVICES; 0 without a driver. Imports no torch."""
    import ctypes

    for name in DRIVERS:
        try:
            driver = ctypes.CDLL(name)
        except OSError:
            continue
        count = ctypes.c_int(0)
        if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0:
            return count.value
    return 0


def takes_cuda(name: str) -> bool:
    """Whether a process that does not import torch will have its models on CUDA."""
    return is_cuda(name) or (name == AUTO and cuda_devices() > 0)


def gpus_of(name: str, *, exported: bool = False) -> int:
    """Number of GPUs that a device's name stands for: all of them for `cuda`, and for `auto` unless for an ONNX export."""
    if name == CUDA or (name == AUTO and not exported):
        apple = name == AUTO and sys.platform == "darwin" and platform.machine() == "arm64"
        return cuda_devices() or int(apple)
    return 0 if name in ("cpu", AUTO) else 1


def device_of_worker(name: str, number: int, *, exported: bool = False) -> str:
    """The device of one of several processes, numbered from 0: GPUs are dealt out in turn.

    Where torch does not see what the driver sees, the name stays as it is.
    """
    if name not in (AUTO, CUDA) or (exported and name == AUTO):
        return name
    try:
        count = cuda_devices() if exported else sum(other.startswith("cuda:") for other in torch_devices())
    except ModuleNotFoundError:  # whoever loads the model says what to do without torch
        return name
    return f"{CUDA}:{number % count}" if count else name
