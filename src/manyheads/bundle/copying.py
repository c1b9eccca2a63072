"""Copies of model folders and exports, which stand by themselves."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from manyheads.bundle.encoder import base_folder
from manyheads.bundle.exported import is_exported, verify_exported
from manyheads.bundle.loaded import LoadedFolder
from manyheads.bundle.manifest import ENCODER, MANIFEST, read_manifest
from manyheads.bundle.sharing import sharing_of
from manyheads.bundle.verify import verify
from manyheads.durable import make_folder
from manyheads.errors import BundleError, UsageError


def copy_model(loaded: LoadedFolder, folder: Path, extra: Sequence[str] = ()) -> None:
    """Copy a model folder and check the copy. Base weights that are stored elsewhere are copied into it.

    `extra`: names of further files to copy, if they are there. Raises UsageError for a folder that is not empty or cannot be
    written, and BundleError if the model's own folder has changed since it was loaded; nothing is left behind then.

    >>> from manyheads.bundle import load_bundle
    >>> copy_model(load_bundle(Path("runs/demo")), Path("runs/copied"))
    >>> read_manifest(Path("runs/copied")) == read_manifest(Path("runs/demo"))
    True
    """
    manifest = dict(loaded.manifest)
    if read_manifest(loaded.folder) != manifest:
        raise BundleError(f"{loaded.folder} holds another model since this one was loaded; load it again")
    names = [*manifest["files"], *(name for name in extra if (loaded.folder / name).is_file())]

    def fill(target: Path) -> None:
        for name in [*names, MANIFEST]:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(loaded.folder / name, target / name)
        for weights in _base_weights(loaded):
            shutil.copyfile(weights, target / ENCODER / weights.name)
        (verify_exported if is_exported(manifest) else verify)(target, manifest)

    write_new(folder, fill)


def write_new(folder: Path, fill: Callable[[Path], None]) -> None:
    """Create a folder with what `fill` writes into it, or not at all.

    Raises UsageError for a folder that is not empty or cannot be written, and what `fill` raises.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists already; give a new folder, or remove it")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        make_folder(folder, fill)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written ({error}); give another folder") from None


def _base_weights(loaded: LoadedFolder) -> Iterable[Path]:
    """Files of the encoder's weights that the folder leaves out."""
    base = None if is_exported(loaded.manifest) else sharing_of(loaded.manifest).base
    if base is None:
        return []
    found = Path(base_folder(loaded.folder, base))
    return [found / name for name in base.files]
