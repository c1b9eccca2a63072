"""The manifest of a model folder, `manyheads.json`: read, write, hash.

Names from a manifest become paths and module names, so each is checked before it is used. Nothing here loads weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from manyheads.bundle.suggestions import model_suggestions
from manyheads.errors import BundleError
from manyheads.text.untrusted_files import is_text, leaves_folder, read_object

FORMAT = 1
MANIFEST = "manyheads.json"
HEADS = "heads.safetensors"
BRANCHES = "branches.safetensors"
ADAPTERS = "adapters"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
"""peft's names."""
SHARED = "shared"
"""Name of the adapter of all tasks, in a model without branches."""
ENCODER = "encoder"
METRICS = "metrics.json"
REPORT = "report.html"
"""Beside the files of the manifest."""
RUN = "run.yaml"
CARD = "README.md"
MAX_NAME_LENGTH = 200
MAX_FILES = 10_000
MAX_WINDOW_TOKENS = 1 << 30
"""What an encoder without positions reads."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a model folder. Raises BundleError saying what is wrong with it.

    >>> sorted(read_manifest(Path("runs/demo"))["tasks"])
    ['answers', 'entities', 'section', 'similarity']
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise BundleError(f"{folder} is not a folder; give the output folder of a finished training"
                          f"{model_suggestions(folder, MANIFEST)}")  # fmt: skip
    if not path.exists() and not path.is_symlink():
        raise BundleError(f"{folder} has no {MANIFEST}: it is not a model folder, or its training did not finish"
                          f"{model_suggestions(folder, MANIFEST)}")  # fmt: skip
    try:
        if leaves_folder(folder, path):
            raise ValueError("it is a link to a file outside the folder")
        manifest = read_object(path)
    except (ValueError, OSError) as error:
        raise BundleError(f"{path} cannot be read ({error}); the model folder is damaged") from None
    seen = manifest.get("format")
    if type(seen) is not int or seen != FORMAT:
        raise BundleError(f"{path} has format {seen!r:.80}, but this version reads format {FORMAT}; load it with the "
                          "version that wrote it")  # fmt: skip
    for key in ("encoder", "tasks", "files"):
        if not isinstance(manifest.get(key), dict):
            raise BundleError(f"{path} has no '{key}'; the model folder is damaged")
    for name in manifest["tasks"]:
        check_name("tasks", name)
    if not _has_valid_types(manifest):
        raise BundleError(f"{path} has entries that cannot be read; the model folder is damaged")
    return manifest


def plain_name(name: Any) -> bool:
    """Whether a task or group may have this name: it becomes a folder, and part of the names of weights."""
    return isinstance(name, str) and name.replace("-", "_").isidentifier() and not name.startswith("_")


def check_name(place: str, name: Any) -> None:
    """Raise BundleError for a name that tasks and groups may not have."""
    if not plain_name(name) or len(name) > MAX_NAME_LENGTH:
        raise BundleError(f"{MANIFEST}: {place} has the name {name!r:.80}; names start with a letter and consist of letters, "
                          "digits, - and _, so the model folder is damaged")  # fmt: skip


def _has_valid_types(manifest: Mapping[str, Any]) -> bool:
    """Whether everything that is used or shown has the right type."""
    encoder, files, made_by = manifest["encoder"], manifest["files"], manifest.get("versions", {})
    length = encoder.get("max_length")
    return (
        type(length) is int
        and 0 < length <= MAX_WINDOW_TOKENS
        and is_text(encoder.get("name"), MAX_NAME_LENGTH * 5)
        and isinstance(made_by, dict)
        and all(is_text(text, MAX_NAME_LENGTH) for text in [*made_by, *made_by.values()])
        and all(isinstance(entry, dict) for entry in manifest["tasks"].values())
        and len(files) <= MAX_FILES
        and all(is_text(name, MAX_NAME_LENGTH * 2) and _is_file_entry(entry) for name, entry in files.items())
    )


def _is_file_entry(entry: Any) -> bool:
    """Whether an entry under `files` has a hash and a size."""
    if not isinstance(entry, dict) or type(entry.get("bytes")) is not int or entry["bytes"] < 0:
        return False
    return isinstance(entry.get("sha256"), str) and _SHA256.fullmatch(entry["sha256"]) is not None


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest atomically: a folder that has one is complete."""
    partial = folder / (MANIFEST + ".partial")
    partial.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, folder / MANIFEST)


def file_entries(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Hash and size of files, as a manifest lists them under `files`."""
    return {name: {"sha256": sha256_of(folder / name), "bytes": (folder / name).stat().st_size} for name in names}


def manifest_hash(manifest: Mapping[str, Any]) -> str:
    """Sha256 of a manifest's canonical JSON. It holds the hash of every file, so it identifies the model."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def was_refitted(manifest: Mapping[str, Any]) -> bool:
    """Whether the model was finally trained on its validation rows too."""
    return manifest.get("refitted") is True


def versions() -> dict[str, str]:
    """Versions of Python and the libraries that make a model."""
    libraries = ("manyheads", "torch", "transformers", "tokenizers")
    return {"python": platform.python_version(), **{name: _version(name) for name in libraries}}


@cache
def _version(name: str) -> str:
    """The version of a library; looked up once, because the code in use stays that of the first look."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def sha256_of(path: Path) -> str:
    """Sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
