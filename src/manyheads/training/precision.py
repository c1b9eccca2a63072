"""Mixed precision: the data type in which the encoder computes. Weights, losses and optimizer states stay in float32."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from manyheads.errors import UsageError
from manyheads.nn.at_least_float32 import at_least_float32

Name = Literal["auto", "float32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class Precision:
    """A data type for autocast (None: float32), and whether its gradients need a scale."""

    device: torch.device
    dtype: torch.dtype | None

    @property
    def scaled(self) -> bool:
        """float16 gradients underflow without a loss scale (Micikevicius et al. 2018)."""
        return self.dtype == torch.float16

    def __str__(self) -> str:
        return {torch.float16: "fp16", torch.bfloat16: "bf16"}.get(self.dtype, "float32") if self.dtype else "float32"

    @staticmethod
    def full(output: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """A head's output in at least float32: half precision is too coarse for the logarithms and sums of losses."""
        return {key: at_least_float32(value) for key, value in output.items()}

    def region(self) -> AbstractContextManager[object]:
        """A context in which products are computed in the data type."""
        return torch.autocast(self.device.type, self.dtype) if self.dtype else nullcontext()


def multiplies_in_tiles() -> bool:
    """Whether the CPU has AMX: steps of 400 tokens in bf16 take two thirds of float32's time there, long ones half.

    On processors with bf16 instructions but no AMX, bf16 is not faster.
    """
    asked = getattr(torch.cpu, "_is_amx_tile_supported", None)  # torch has no public name for it
    return bool(asked is not None and asked())


def precision_of(name: Name, device: torch.device) -> Precision:
    """`auto` is bf16 where CUDA supports it, else float32. Raises UsageError for a type that the device does not support.

    Before Ampere CUDA only emulates bf16: `auto` does not use that, `bf16` does.
    """
    cuda = device.type == "cuda"
    if name == "auto":
        has = cuda and torch.cuda.is_bf16_supported(including_emulation=False)
        return Precision(device, torch.bfloat16 if has else None)
    if name == "fp16" and not cuda:
        raise UsageError("training.precision is fp16, which needs a CUDA device; use float32 or bf16 on a CPU")
    if name == "bf16" and cuda and not torch.cuda.is_bf16_supported():
        raise UsageError("training.precision is bf16, which this CUDA device does not have; use fp16 or float32")
    return Precision(device, {"bf16": torch.bfloat16, "fp16": torch.float16}.get(name))
