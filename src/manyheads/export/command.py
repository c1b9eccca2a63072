"""`manyheads export`: which export, and what must be true before it begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from manyheads.api import find_model
from manyheads.bundle import Bundle, load_bundle, read_manifest
from manyheads.errors import UsageError
from manyheads.export.folder import check_output
from manyheads.onnx_backend import is_exported

Say = Callable[[str], None]
Target = Literal["onnx", "transformers", "sentence-transformers"]


@dataclass(frozen=True, slots=True)
class Export:
    """What is asked for."""

    target: Target
    output: Path
    task: str | None = None
    """The one head of a stock class; None: the only one that fits. A graph holds all heads, or this one."""
    quantize: Literal["int8"] | None = None
    allow_drop: bool = False
    """Whether int8 may cost a head more than `int8.MOST_LOST` of its score."""
    data: Path | None = None
    """The run file whose validation data the int8 graph is scored on; None: the model's own."""


def export_model(model: str | Path, wanted: Export, say: Say) -> Path:
    """Write an export of a model folder or hub id; its folder.

    Raises UsageError for what cannot be exported, or does not answer as the model does, and BundleError.
    """
    if wanted.target != "onnx":
        for given, option in (
            (wanted.quantize, "--quantize"),
            (wanted.data, "--data"),
            (wanted.allow_drop, "--allow-drop"),
        ):
            if given:
                raise UsageError(f"{option} is for --to onnx; leave it out with --to {wanted.target}")
    check_output(wanted.output)
    folder = find_model(model)
    if is_exported(read_manifest(folder)):
        raise UsageError(f"{folder} is an export already; export the model that it was made of")
    bundle = load_bundle(folder)
    if wanted.task is not None and wanted.task not in bundle.tasks:
        raise UsageError(f"the model has no task '{wanted.task}'; its tasks are {', '.join(bundle.tasks)}")
    if wanted.target == "onnx":
        from manyheads.export.onnx import export_onnx

        export_onnx(bundle, wanted, say)
    elif wanted.target == "transformers":
        from manyheads.export.stock import export_stock

        export_stock(bundle, _head(bundle, wanted), wanted.output, say)
    else:
        from manyheads.export.vectors import export_vectors

        export_vectors(bundle, _head(bundle, wanted), wanted.output, say)
    return wanted.output


def _head(bundle: Bundle, wanted: Export) -> str:
    """The one head that is meant."""
    if wanted.task is not None:
        return wanted.task
    vectors = wanted.target == "sentence-transformers"
    fitting = [name for name, task in bundle.tasks.items() if (task.answer_form == "vector") == vectors]
    if len(fitting) != 1:
        found = (
            f"has several ({', '.join(fitting)})" if fitting else f"has none; its tasks are {', '.join(bundle.tasks)}"
        )
        raise UsageError(f"--to {wanted.target} exports one head, and the model {found}; choose one with --task")
    return fitting[0]
