"""UPGrad: each gradient projected so that it conflicts with none, then added up. Quinton & Rey 2024 (arXiv:2406.16232).

Through TorchJD, the authors' own library. Its weights are of the mean; here they are of the sum: without conflicts the
step is the static one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from manyheads.balance.base import GramianBalancer
from manyheads.balance.extra import from_torchjd


class UPGradBalancer(GramianBalancer):
    """No settings. Needs the extra `balance`."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__(weights)
        self._weighting = from_torchjd("upgrad", lambda torchjd: torchjd.UPGradWeighting())

    def _solve(self, step: int, gramian_KK: Tensor, tasks: Sequence[str]) -> Tensor:
        return len(tasks) * self._weighting(gramian_KK)
