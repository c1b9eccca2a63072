"""Aligned-MTL: gradients turned and scaled to be orthogonal and equally long. Senushkin 2023 (arXiv:2305.19000).

Through TorchJD, at its default scale, the smallest principal component. Its weights are of the mean; here they are of the
sum, so that equal gradients give the static step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from manyheads.balance.base import GramianBalancer
from manyheads.balance.extra import from_torchjd


class AlignedMTLBalancer(GramianBalancer):
    """No settings. Needs the extra `balance`."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__(weights)
        self._weighting = from_torchjd("aligned-mtl", lambda torchjd: torchjd.AlignedMTLWeighting())

    def _solve(self, step: int, gramian_KK: Tensor, tasks: Sequence[str]) -> Tensor:
        return len(tasks) * self._weighting(gramian_KK)
