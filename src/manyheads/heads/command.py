"""`manyheads drop`, `rename` and `merge`: a new model folder with other heads. The old folders stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from manyheads.bundle import MANIFEST, Bundle, is_exported, load_bundle, read_manifest
from manyheads.errors import UsageError
from manyheads.export.folder import check_output
from manyheads.heads.folder import write_model
from manyheads.heads.parts import Part
from manyheads.hub.download import model_folder

if TYPE_CHECKING:
    from manyheads.heads.proof import Proof

Say = Callable[[str], None]


def drop(model: str | Path, tasks: Sequence[str], output: Path, say: Say) -> list[Proof]:
    """Write a model without some of its tasks. Raises UsageError for unknown tasks, or if none is left."""
    bundle = open_model(model, output)
    check_known(bundle, tasks)
    kept = [name for name in bundle.tasks if name not in tasks]
    if not kept:
        raise UsageError(f"{model} has only {', '.join(bundle.tasks)}; a model keeps at least one task")
    return write_model(output, bundle, [Part.of(bundle, kept)], [], say)


def rename(model: str | Path, old: str, new: str, output: Path, say: Say) -> list[Proof]:
    """Write a model with another name for one of its tasks. Raises UsageError for an unknown, taken or invalid name."""
    from manyheads.config.schema import check_task_name

    bundle = open_model(model, output)
    check_known(bundle, [old])
    if new in bundle.tasks:
        raise UsageError(f"{model} has a task '{new}' already; its tasks are {', '.join(bundle.tasks)}")
    try:
        check_task_name(new)
    except ValueError as error:
        raise UsageError(str(error)) from None
    part = Part(bundle, {name: new if name == old else name for name in bundle.tasks})
    return write_model(output, bundle, [part], [], say)


def merge(models: Sequence[str | Path], output: Path, say: Say) -> list[Proof]:
    """Write one model with the tasks of several that have the same encoder. Raises UsageError where they do not."""
    if len(models) < 2:
        raise UsageError("merge takes two models or more")
    twice = next((model for model in models if models.count(model) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice} is given twice; merge takes different models")
    bundles = [open_model(model, output) for model in models]
    return write_model(output, bundles[0], [Part.of(bundle) for bundle in bundles], [], say)


def open_model(model: str | Path, output: Path) -> Bundle:
    """A model to make another one of. Raises UsageError for an export, and for an output that exists."""
    check_output(output)
    folder = model_folder(model)
    if folder.is_dir() and (folder / MANIFEST).exists() and is_exported(read_manifest(folder)):
        raise UsageError(f"{folder} is an export; give the model folder that it was made of")
    return load_bundle(folder)


def check_known(bundle: Bundle, tasks: Sequence[str]) -> None:
    """Raise UsageError for a task that a model does not have."""
    for name in tasks:
        if name not in bundle.tasks:
            raise UsageError(f"{bundle.folder} has no task '{name}'; its tasks are {', '.join(bundle.tasks)}")
