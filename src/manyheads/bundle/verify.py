"""Whether a model folder holds what its manifest lists.

Hashes catch accidents only: an attacker who can write the folder can write the hashes too. So the content of each file is
checked as well: links out of the folder, pipes, invalid JSON, safetensors headers that promise more than the file holds.

The model card is not checked: it is never read, and people edit it (license, description), on the Hub too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from manyheads.bundle.manifest import (
    ADAPTER_FILES,
    ADAPTERS,
    BRANCHES,
    CARD,
    ENCODER,
    HEADS,
    MANIFEST,
    MAX_WINDOW_TOKENS,
    METRICS,
    sha256_of,
)
from manyheads.bundle.sharing import Sharing, sharing_of
from manyheads.bundle.stores import STORES, store_files
from manyheads.bundle.tasks import tasks_of
from manyheads.errors import BundleError
from manyheads.evaluate import WARNINGS
from manyheads.nn.safetensors_header import read_header
from manyheads.text.untrusted_files import leaves_folder, read_object

TOKENIZER = f"{ENCODER}/tokenizer.json"
"""Checked by the tokenizer's own reader."""


def verify(folder: Path, manifest: Mapping[str, Any]) -> Sharing:
    """The sharing of a model folder. Raises BundleError unless all its files are there, and are the ones saved."""
    tasks = tasks_of(manifest, folder / MANIFEST)
    sharing = sharing_of(manifest)
    required = _required(sharing) | store_files(tasks)
    check_listed(folder, manifest, required)
    for name in manifest["files"]:
        if name.startswith((BRANCHES, f"{ADAPTERS}/", f"{STORES}/")) and name not in required:
            raise BundleError(f"{folder / MANIFEST} lists {name}, but no task owns that file; it is damaged")
    for name, entry in manifest["files"].items():
        if name == CARD:
            continue
        path = check_file(folder, name, entry, max_depth=3)
        try:
            _check_content(name, path)
        except (OSError, ValueError) as error:
            what = "is not an adapter that can be read" if name.startswith(ADAPTERS) else "cannot be read"
            raise BundleError(f"{path} {what} ({error}); the model folder is damaged") from None
    _check_strays(folder, manifest, sharing)
    return sharing


def check_listed(folder: Path, manifest: Mapping[str, Any], required: set[str]) -> None:
    """Raise BundleError unless the manifest lists all required files."""
    missing = sorted(required - set(manifest["files"]))
    if missing:
        raise BundleError(f"{folder / MANIFEST} does not list {missing[0]}; the folder is damaged, write it again")


def check_file(folder: Path, name: str, entry: Mapping[str, Any], max_depth: int) -> Path:
    """The path of a file that a manifest lists. Raises BundleError unless it is in the folder and has the listed hash."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name or not 0 < len(pure.parts) <= max_depth:
        raise BundleError(f"{folder / MANIFEST} names the file {name!r}, which is outside the model folder")
    path = folder / pure
    try:
        if leaves_folder(folder, path) or not path.is_file():
            raise BundleError(f"{path} is missing (or a link that leaves the folder); copy the whole folder again")
        if path.stat().st_size != entry["bytes"] or sha256_of(path) != entry["sha256"]:
            raise BundleError(f"{path} has changed since it was written (its sha256 differs); copy the folder again")
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read ({error}); the model folder is damaged") from None
    return path


def _check_content(name: str, path: Path) -> None:
    """Raise ValueError for a file that is not of the format its name implies."""
    if name.endswith(".safetensors"):
        read_header(path)
    elif name == METRICS:
        scores = read_object(path)
        for task, splits in scores.items():
            for metrics in splits.values() if isinstance(splits, dict) else (None,):
                if task == "_all" and isinstance(metrics, dict) and not _are_texts(metrics.pop(WARNINGS, {})):
                    raise ValueError(f"has something other than sentences by task under _all.{WARNINGS}")
                if not isinstance(metrics, dict) or not all(_is_score(value) for value in metrics.values()):
                    raise ValueError("has something other than numbers by task, split and name")
    elif name.endswith(".json") and name != TOKENIZER:
        read_object(path)


def _are_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _is_score(value: Any) -> bool:
    """Whether a value can be a score; NaN is an undefined one."""
    return type(value) is float or (type(value) is int and abs(value) < MAX_WINDOW_TOKENS)


def _check_strays(folder: Path, manifest: Mapping[str, Any], sharing: Sharing) -> None:
    """Raise BundleError for an unlisted file that transformers would read along with the others, or instead of them.

    The weights of a base stored elsewhere may be put into the folder; they are checked against the base's own hashes.
    """
    for path in sorted((folder / ENCODER).iterdir()):
        name = f"{ENCODER}/{path.name}"
        stray = name not in manifest["files"] and path.suffix in (".json", ".safetensors")
        if path.name == "adapter_config.json" or (stray and not (sharing.base and path.suffix == ".safetensors")):
            raise BundleError(f"{path} does not belong to the model folder, and would be read with it; remove it")


def _required(sharing: Sharing) -> set[str]:
    """Files that a model folder must have."""
    required = {HEADS, METRICS, f"{ENCODER}/config.json", TOKENIZER}
    required |= {f"{ADAPTERS}/{name}/{file}" for name in sharing.adapters for file in ADAPTER_FILES}
    if sharing.base is None:
        required.add(f"{ENCODER}/model.safetensors")
    if set(sharing.branches) - set(sharing.adapters):
        required.add(BRANCHES)
    return required
