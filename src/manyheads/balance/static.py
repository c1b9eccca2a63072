"""Static weights: each task's loss times the number in the run file. The default, and what others are measured against."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from manyheads.balance.base import Balancer


class StaticBalancer(Balancer):
    """The same weights at every step."""

    def weights(self, step: int, present: Sequence[str]) -> dict[str, Tensor]:
        """The static weights."""
        return self._given(self.static, present)
