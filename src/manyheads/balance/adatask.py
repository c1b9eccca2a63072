"""AdaTask: AdamW moments of each task's own for what tasks share. Yang et al. 2023 (AAAI; arXiv:2211.15055).

The weights are the static ones: the optimizer does the rest (`training/adatask.py`). What equal-norm comes near to for the
price of static weights, this does exactly, for K times the optimizer's memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from manyheads.balance.base import Balancer, Mode


class AdaTaskBalancer(Balancer):
    """The same weights at every step; of a task's update, not of its gradient, whose scale AdamW hides."""

    mode: ClassVar[Mode] = "moments"

    def weights(self, step: int, present: Sequence[str]) -> dict[str, Tensor]:
        """The static weights."""
        return self._given(self.static, present)
