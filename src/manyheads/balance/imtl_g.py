"""IMTL-G: the combination whose projection on every task's gradient is equal. Liu 2021 (ICLR, "Towards Impartial MTL").

Through TorchJD. Weights add up to 1 there and to K here, so that equal gradients give the static step. The method looks at
directions alone, so static weights only decide, by 0, who takes part. Weights may be negative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from manyheads.balance.base import GramianBalancer
from manyheads.balance.extra import from_torchjd


class IMTLGBalancer(GramianBalancer):
    """No settings. Needs the extra `balance`."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__(weights)
        self._weighting = from_torchjd("imtl-g", lambda torchjd: torchjd.IMTLGWeighting())

    def _solve(self, step: int, gramian_KK: Tensor, tasks: Sequence[str]) -> Tensor:
        return len(tasks) * self._weighting(gramian_KK)
