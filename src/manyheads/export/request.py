"""What to export, and where to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Log = Callable[[str], None]
"""Takes a line for the user."""
Target = Literal["onnx", "transformers", "sentence-transformers"]


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """One export of a model."""

    target: Target
    output: Path
    task: str | None = None
    """The head to export. None: all heads in a graph, and elsewhere the only head that fits."""
    quantize: Literal["int8"] | None = None
    allow_drop: bool = False
    """Whether int8 may cost a head more than `int8.MAX_LOSS` of its score."""
    data: Path | None = None
    """Run file with the validation data that int8 is scored on; None: the model's own."""
