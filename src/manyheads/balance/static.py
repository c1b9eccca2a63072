"""Static weights: each task's loss times its weight in the run file. The baseline for all other methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from manyheads.balance.base import Balancer, Mode


class StaticBalancer(Balancer):
    """The same weights at every step."""

    def weights(self, step: int, present: Sequence[str]) -> dict[str, Tensor]:
        """The static weights."""
        return self._given(self.static, present)


class AdaTaskBalancer(StaticBalancer):
    """AdaTask: separate AdamW moments per task for shared parameters. Yang et al. 2023 (AAAI; arXiv:2211.15055).

    Weights are static, but of a task's update rather than of its gradient, whose scale AdamW hides; the optimizer does the
    rest (`training/adatask.py`). It does exactly what equal-norm approximates, for K times the optimizer's memory.
    """

    mode: ClassVar[Mode] = "moments"
