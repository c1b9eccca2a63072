"""Methods solved by TorchJD, an optional extra: its weightings turn a Gramian into weights, as ours do.

TorchJD's weights are those of a mean, or add up to 1; here they are multiplied by K, so that equal gradients, and for UPGrad
gradients without conflicts, give the static step.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from manyheads.balance.base import GramianBalancer, checked
from manyheads.errors import UsageError


class TorchJDBalancer(GramianBalancer):
    """A weighting of `torchjd.aggregation`. Raises UsageError, naming the extra, if TorchJD or its solver is missing."""

    method: ClassVar[str]
    weighting: ClassVar[str]
    _options: Mapping[str, Any] = {}

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__(weights)
        try:
            self._weighting = getattr(importlib.import_module("torchjd.aggregation"), self.weighting)(**self._options)
        except ImportError as error:
            raise UsageError(
                f'balancing by {self.method} needs TorchJD ({error}); run: pip install "path/to/manyheads[balance]"'
            ) from error

    def _solve(self, step: int, gramian_KK: Tensor, tasks: Sequence[str]) -> Tensor:
        return len(tasks) * self._weighting(gramian_KK)


class UPGradBalancer(TorchJDBalancer):
    """Project each gradient so that it conflicts with none, then add them up. Quinton & Rey 2024 (arXiv:2406.16232)."""

    method: ClassVar[str] = "upgrad"
    weighting: ClassVar[str] = "UPGradWeighting"


class IMTLGBalancer(TorchJDBalancer):
    """The combination with equal projections on all gradients. Liu 2021 (ICLR, "Towards Impartial MTL").

    Only directions count, so a static weight has an effect only if it is 0. Weights may be negative.
    """

    method: ClassVar[str] = "imtl-g"
    weighting: ClassVar[str] = "IMTLGWeighting"


class AlignedMTLBalancer(TorchJDBalancer):
    """Rotate and scale gradients to be orthogonal and equally long. Senushkin 2023 (arXiv:2305.19000).

    At TorchJD's default scale, the smallest principal component.
    """

    method: ClassVar[str] = "aligned-mtl"
    weighting: ClassVar[str] = "AlignedMTLWeighting"


class MGDABalancer(TorchJDBalancer):
    """The shortest convex combination of the gradients, by Frank-Wolfe. Désidéri 2012; Sener & Koltun 2018.

    The shortest combination leans to the smallest gradient, and a static weight scales a gradient: with MGDA, a task with
    a *lower* weight gets *more* of the combination.
    """

    method: ClassVar[str] = "mgda"
    weighting: ClassVar[str] = "MGDAWeighting"

    def __init__(self, weights: Mapping[str, float], *, epsilon: float = 0.001, iterations: float = 100) -> None:
        """The solver stops at a step below `epsilon` or after `iterations`. Raises UsageError."""
        self._options = {
            "epsilon": checked("mgda", "epsilon", epsilon, 1e-12, 1),
            "max_iters": int(checked("mgda", "iterations", iterations, 1)),
        }
        super().__init__(weights)
