"""Where methods meet TorchJD, an optional extra: its weightings take a Gramian and give weights, as ours do."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from manyheads.errors import UsageError


def from_torchjd(method: str, make: Callable[[Any], Any]) -> Any:
    """`make(torchjd.aggregation)`. Raises UsageError, naming the extra, where TorchJD or a solver it needs is missing."""
    try:
        return make(importlib.import_module("torchjd.aggregation"))
    except ImportError as error:
        raise UsageError(
            f'balancing by {method} needs TorchJD ({error}); run: pip install "manyheads[balance]"'
        ) from error
