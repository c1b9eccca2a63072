"""The model folder: save, load, verify. The only code that knows its format.

    manyheads.json       format version, tasks with settings and labels, sha256 and size of every file, versions
    encoder/             transformers config, tokenizer, model.safetensors: loads in plain transformers too
    heads.safetensors    `TASK.parameter`
    metrics.json         scores by task and split
    run.yaml             the run file that made it
    README.md            model card

Safetensors and JSON only: nothing here can run code when loaded. `manyheads.json` is written last, so a folder that has
one is whole; every file is checked against it before it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from manyheads.errors import BundleError
from manyheads.tasks import describe, restore

if TYPE_CHECKING:
    import torch

    from manyheads.model import MultiTaskModel
    from manyheads.tasks.base import Task
    from manyheads.text.tokenizer import Tokenizer

FORMAT = 1
MANIFEST = "manyheads.json"
HEADS = "heads.safetensors"
ENCODER = "encoder"
METRICS = "metrics.json"
RUN = "run.yaml"
CARD = "README.md"


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything a model folder holds besides weights."""

    tasks: Mapping[str, Task[Any]]
    encoder_name: str
    max_length: int
    metrics: Mapping[str, Any]
    run: str
    card: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """A loaded model folder."""

    folder: Path
    manifest: Mapping[str, Any]
    model: MultiTaskModel
    tasks: Mapping[str, Task[Any]]
    tokenizer: Tokenizer
    max_length: int

    @property
    def hash(self) -> str:
        """Sha256 of the manifest, which holds the hash of every file: it names the model."""
        return manifest_hash(self.manifest)


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a whole model."""
    return (folder / MANIFEST).exists()


def save_bundle(folder: Path, model: MultiTaskModel, tokenizer: Tokenizer, contents: Contents) -> None:
    """Write a model folder. Files that are already there under other names stay."""
    from safetensors.torch import save_file

    from manyheads.nn.encoder import save_encoder

    encoder_folder = folder / ENCODER
    encoder_folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    save_encoder(model.encoder, encoder_folder)
    tokenizer.save(encoder_folder)
    heads = {key: value.detach().cpu().contiguous() for key, value in model.heads.state_dict().items()}
    save_file(heads, folder / HEADS, metadata={"format": "pt"})
    (folder / METRICS).write_text(json.dumps(contents.metrics, indent=2) + "\n", encoding="utf-8")
    (folder / RUN).write_text(contents.run, encoding="utf-8")
    (folder / CARD).write_text(contents.card, encoding="utf-8")
    names = [HEADS, METRICS, RUN, CARD, *(f"{ENCODER}/{path.name}" for path in sorted(encoder_folder.iterdir()))]
    manifest = {
        "format": FORMAT,
        "encoder": {"name": contents.encoder_name, "max_length": contents.max_length},
        "tasks": {name: describe(task) for name, task in contents.tasks.items()},
        "files": {name: {"sha256": _sha256(folder / name), "bytes": (folder / name).stat().st_size} for name in names},
        "versions": versions(),
    }
    partial = folder / (MANIFEST + ".partial")
    partial.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, folder / MANIFEST)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a model folder. Raises BundleError saying what is the matter with it."""
    path = folder / MANIFEST
    if not folder.is_dir():
        raise BundleError(f"{folder} is not a folder; give the output folder of a finished training")
    if not path.exists():
        raise BundleError(f"{folder} has no {MANIFEST}: it is no model folder, or its training did not finish")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise BundleError(f"{path} cannot be read ({error}); the model folder is damaged") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        seen = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise BundleError(
            f"{path} has format {seen!r}, this version reads format {FORMAT}; load it with the version that wrote it"
        )
    for key, kind in (("encoder", dict), ("tasks", dict), ("files", dict)):
        if not isinstance(manifest.get(key), kind):
            raise BundleError(f"{path} has no '{key}'; the model folder is damaged")
    return manifest


def verify(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raise BundleError unless every file of the manifest is there with its hash."""
    required = {HEADS, METRICS, f"{ENCODER}/config.json", f"{ENCODER}/model.safetensors", f"{ENCODER}/tokenizer.json"}
    missing = sorted(required - set(manifest["files"]))
    if missing:
        raise BundleError(f"{folder / MANIFEST} does not list {missing[0]}; the model folder is damaged")
    for name, facts in manifest["files"].items():
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or len(pure.parts) > 2:
            raise BundleError(f"{folder / MANIFEST} names the file {name!r}, which is outside the model folder")
        path = folder / pure
        if path.is_symlink() or not path.is_file():
            raise BundleError(f"{path} is missing (or a link); copy the whole model folder again")
        if path.stat().st_size != facts.get("bytes") or _sha256(path) != facts.get("sha256"):
            raise BundleError(
                f"{path} is not the file that was saved (its sha256 differs); copy the model folder again"
            )


def load_bundle(folder: Path, device: torch.device | None = None) -> Bundle:
    """A model folder, verified, its weights in float32 on the device. Raises BundleError."""
    import torch
    from safetensors.torch import load_file

    from manyheads.model import MultiTaskModel
    from manyheads.nn.encoder import load_encoder
    from manyheads.text.tokenizer import Tokenizer

    manifest = read_manifest(folder)
    verify(folder, manifest)
    tasks = {name: restore(description) for name, description in manifest["tasks"].items()}
    encoder = load_encoder(str(folder / ENCODER))
    model = MultiTaskModel(encoder, tasks)
    weights = load_file(folder / HEADS)
    try:
        model.heads.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise BundleError(f"{folder / HEADS} does not fit the tasks of {MANIFEST}: {error}") from None
    model = model.to(device or torch.device("cpu")).eval()
    max_length = int(manifest["encoder"]["max_length"])
    return Bundle(folder, manifest, model, tasks, Tokenizer.load(folder / ENCODER), max_length)


def manifest_hash(manifest: Mapping[str, Any]) -> str:
    """Sha256 over the canonical JSON of a manifest."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of what made the model."""
    found = {"python": platform.python_version()}
    for name in ("manyheads", "torch", "transformers", "tokenizers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
