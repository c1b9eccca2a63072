"""The model of a saved pipeline: a copy of its folder, or a note of which model it was.

    to_disk    NAME/model/       the copy                 NAME/model.json   {"hash"}, with `store: path`
    to_bytes   {"files": {path: bytes}}                   {"hash"}

A copy is the default: a pipeline can then be moved, packaged and loaded anywhere, as spaCy's own can.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from manyheads.bundle import MANIFEST
from manyheads.durable import UNFINISHED, put_in_place, remove_folder, write_json
from manyheads.errors import BundleError, UsageError

if TYPE_CHECKING:
    from manyheads.api import Model

COPY, NOTE = "model", "model.json"


def save_copy(model: Model, path: Path) -> None:
    """Copy the model into the folder of a component, over an earlier copy.

    Raises UsageError if something else is in the way, and BundleError if the model's own folder has been damaged.
    """
    target = path / COPY
    if target.exists() and model.folder.resolve() == target.resolve():
        return
    fresh = path / f"{COPY}.new{UNFINISHED}"
    if fresh.exists():
        remove_folder(fresh)
    model.save(fresh)
    remove_copy(path)
    put_in_place(fresh, target)


def save_note(model: Model, path: Path) -> None:
    """Write the hash of the model into the folder of a component, in place of a copy."""
    remove_copy(path)
    write_json(path / NOTE, note_of(model))


def remove_copy(path: Path) -> None:
    """Remove an earlier copy or note. Raises UsageError for a folder that is no copy."""
    target = path / COPY
    (path / NOTE).unlink(missing_ok=True)
    if not target.exists():
        return
    if not (target / MANIFEST).is_file():
        raise UsageError(f"{target} is not a model folder, so it is not replaced; save the pipeline to another folder")
    remove_folder(target)


def read_note(path: Path) -> Mapping[str, Any]:
    """The note in the folder of a component. Raises BundleError if there is neither a note nor a copy."""
    if not (path / NOTE).is_file():
        raise BundleError(f"{path} has neither {COPY}/ nor {NOTE}; save the pipeline again with nlp.to_disk")
    note: Mapping[str, Any] = json.loads((path / NOTE).read_text(encoding="utf-8"))
    return note


def note_of(model: Model) -> dict[str, str]:
    """What identifies a model."""
    return {"hash": model.bundle.hash}


def check_note(model: Model, note: Mapping[str, Any]) -> None:
    """Raise BundleError unless this is the model of a note."""
    found, wanted = model.bundle.hash, str(note["hash"])
    if found != wanted:
        raise BundleError(f"{model.folder} is not the model that the pipeline was saved with (its hash is {found[:12]}, that "
                          f"one's {wanted[:12]}); give that one's path as `model`, or save the pipeline again")  # fmt: skip


def files_of(model: Model) -> dict[str, bytes]:
    """The files of a copy of the model, by their path in it."""
    with TemporaryDirectory() as folder:
        copy = model.save(Path(folder) / COPY)
        return {path.relative_to(copy).as_posix(): path.read_bytes() for path in sorted(copy.rglob("*")) if path.is_file()}


def write_files(files: Mapping[str, bytes]) -> TemporaryDirectory[str]:
    """The files in a new temporary folder, which lives as long as the result. Raises BundleError for a path outside."""
    held = TemporaryDirectory(prefix="manyheads-")
    for name, content in files.items():
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or "\\" in name:
            raise BundleError(f"the pipeline has a file {name!r:.80}, which lies outside its model; it is damaged")
        path = Path(held.name) / parts
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return held
