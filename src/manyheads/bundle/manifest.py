"""The manifest of a model folder: what it says, and whether the folder is what it says.

Nothing here loads weights. Names from a manifest become paths and names of modules, so each is checked before it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

from manyheads.errors import BundleError

FORMAT = 1
MANIFEST = "manyheads.json"
HEADS = "heads.safetensors"
BRANCHES = "branches.safetensors"
ADAPTERS = "adapters"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
"""peft's names."""
SHARED = "shared"
"""The name of the adapter of all tasks, in a model without branches."""
ENCODER = "encoder"
METRICS = "metrics.json"
RUN = "run.yaml"
CARD = "README.md"


@dataclass(frozen=True, slots=True)
class Base:
    """Where the encoder's own weights are, when the folder leaves them out, and the sha256 of each of their files."""

    name: str
    """A hub id, or a folder: absolute in memory, in a manifest relative to the model folder."""
    revision: str | None
    files: Mapping[str, str]

    @staticmethod
    def of(name: str, revision: str | None, folder: Path) -> Base:
        """The base whose weights are in a folder."""
        return Base(name, revision, {path.name: sha256_of(path) for path in sorted(folder.glob("*.safetensors"))})

    def seen_from(self, folder: Path) -> Base:
        """The same base for a manifest in a folder, so that both can be moved together."""
        if not Path(self.name).is_absolute():
            return self
        return Base(os.path.relpath(self.name, folder.resolve()), self.revision, self.files)


@dataclass(frozen=True, slots=True)
class Owner:
    """Tasks that own weights of the encoder together, from layer `start` upwards."""

    tasks: tuple[str, ...]
    start: int


@dataclass(frozen=True, slots=True)
class Sharing:
    """What the tasks of a model share. The default is everything: so it is in folders that do not say."""

    layer_mix: bool = False
    branches: Mapping[str, Owner] = field(default_factory=dict)
    adapters: tuple[str, ...] = ()
    """The branches whose adapters are kept apart, or `shared` alone."""
    base: Base | None = None

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        values = asdict(self)
        return {
            **values,
            "branches": {name: {"tasks": list(o.tasks), "start": o.start} for name, o in self.branches.items()},
            "adapters": list(self.adapters),
        }


def sharing_of(manifest: Mapping[str, Any]) -> Sharing:
    """The sharing of a manifest. Raises BundleError for one that cannot be read, or names what is not there."""
    said = manifest.get("sharing", {})
    try:
        branches = {
            name: Owner(tuple(facts["tasks"]), facts["start"]) for name, facts in dict(said.get("branches", {})).items()
        }
        base = said.get("base")
        sharing = Sharing(
            bool(said.get("layer_mix", False)), branches, tuple(said.get("adapters", ())),
            Base(base["name"], base["revision"], dict(base["files"])) if base else None,
        )  # fmt: skip
    except (AttributeError, KeyError, TypeError, ValueError):
        raise BundleError(f"{MANIFEST} has a 'sharing' that cannot be read; the model folder is damaged") from None
    _check_owners(sharing, manifest["tasks"])
    if sharing.base and not (isinstance(sharing.base.name, str) and sharing.base.name and sharing.base.files):
        raise BundleError(f"{MANIFEST} has a 'sharing.base' without a name or files; the model folder is damaged")
    return sharing


def _check_owners(sharing: Sharing, tasks: Mapping[str, Any]) -> None:
    """Refuse names that are no names, and branches and adapters that belong to nobody."""
    for name, owner in sharing.branches.items():
        _check_name("sharing.branches", name)
        if not isinstance(owner.start, int) or owner.start < 0:
            raise BundleError(f"{MANIFEST}: sharing.branches.{name} starts at layer {owner.start!r}; it is damaged")
    members = [task for owner in sharing.branches.values() for task in owner.tasks]
    for task in members:
        if task not in tasks or members.count(task) > 1:
            why = "in two branches" if task in tasks else "in a branch, but there is no such task"
            raise BundleError(f"{MANIFEST}: '{task}' is {why}; the model folder is damaged")
    known = set(sharing.branches) or {SHARED}
    for name in sharing.adapters:
        _check_name("sharing.adapters", name)
        if name not in known:
            raise BundleError(f"{MANIFEST}: sharing.adapters names '{name}', but adapters can only be those of "
                              f"{', '.join(sorted(known))}; the model folder is damaged")  # fmt: skip


def plain_name(name: Any) -> bool:
    """Whether a name may be that of a task or a group: it becomes a folder, and part of the names of weights."""
    return isinstance(name, str) and name.replace("-", "_").isidentifier() and not name.startswith("_")


def _check_name(place: str, name: Any) -> None:
    if not plain_name(name):
        raise BundleError(f"{MANIFEST}: {place} has the name {name!r}; names start with a letter and hold letters, "
                          "digits, - and _ only, so the model folder is damaged")  # fmt: skip


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
    for name in manifest["tasks"]:
        _check_name("tasks", name)
    entries = [*manifest["tasks"].values(), *manifest["files"].values()]
    if not all(isinstance(entry, dict) for entry in entries) or not isinstance(
        manifest["encoder"].get("max_length"), int
    ):
        raise BundleError(f"{path} has entries that cannot be read; the model folder is damaged")
    return manifest


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Put the manifest into place at once: a folder that has one is whole."""
    partial = folder / (MANIFEST + ".partial")
    partial.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, folder / MANIFEST)


def verify(folder: Path, manifest: Mapping[str, Any]) -> Sharing:
    """The sharing of a folder. Raises BundleError unless all that belongs to it is there, and is what was saved."""
    sharing = sharing_of(manifest)
    missing = sorted(_required(sharing) - set(manifest["files"]))
    if missing:
        raise BundleError(f"{folder / MANIFEST} does not list {missing[0]}; the model folder is damaged")
    for name in manifest["files"]:
        if name.startswith((BRANCHES, f"{ADAPTERS}/")) and name not in _required(sharing):
            raise BundleError(f"{folder / MANIFEST} lists {name}, but says of no task that it owns it; it is damaged")
    for name, facts in manifest["files"].items():
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or len(pure.parts) > 3:
            raise BundleError(f"{folder / MANIFEST} names the file {name!r}, which is outside the model folder")
        path = folder / pure
        if path.is_symlink() or not path.is_file():
            raise BundleError(f"{path} is missing (or a link); copy the whole model folder again")
        if path.stat().st_size != facts.get("bytes") or sha256_of(path) != facts.get("sha256"):
            raise BundleError(
                f"{path} is not the file that was saved (its sha256 differs); copy the model folder again"
            )
    return sharing


def _required(sharing: Sharing) -> set[str]:
    """The files that a folder cannot do without."""
    required = {HEADS, METRICS, f"{ENCODER}/config.json", f"{ENCODER}/tokenizer.json"}
    required |= {f"{ADAPTERS}/{name}/{file}" for name in sharing.adapters for file in ADAPTER_FILES}
    if sharing.base is None:
        required.add(f"{ENCODER}/model.safetensors")
    if set(sharing.branches) - set(sharing.adapters):
        required.add(BRANCHES)
    return required


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


def sha256_of(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
