"""What the tasks of a model share, as its manifest describes it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from manyheads.bundle.manifest import MANIFEST, MAX_NAME_LENGTH, SHARED, check_name, sha256_of
from manyheads.errors import BundleError
from manyheads.text.untrusted_files import is_text


@dataclass(frozen=True, slots=True)
class Base:
    """The encoder's own weights, where the folder leaves them out: their location, and the sha256 of each file."""

    name: str
    """A hub id, or a folder: absolute in memory, relative to the model folder in a manifest."""
    revision: str | None
    files: Mapping[str, str]

    @staticmethod
    def of(name: str, revision: str | None, folder: Path) -> Base:
        """The base whose weights are in a folder."""
        return Base(name, revision, {path.name: sha256_of(path) for path in sorted(folder.glob("*.safetensors"))})

    def relative_to(self, folder: Path) -> Base:
        """The same base for a manifest in `folder`, so that both can be moved together."""
        if not Path(self.name).is_absolute():
            return self
        return Base(os.path.relpath(self.name, folder.resolve()), self.revision, self.files)


@dataclass(frozen=True, slots=True)
class Owner:
    """Tasks that own the encoder's weights from layer `start` upwards together."""

    tasks: tuple[str, ...]
    start: int


@dataclass(frozen=True, slots=True)
class Sharing:
    """What the tasks share; by default everything, as in manifests from before there was a choice."""

    layer_mix: bool = False
    branches: Mapping[str, Owner] = field(default_factory=dict)
    adapters: tuple[str, ...] = ()
    """Branches whose adapters are not merged, or `shared` alone."""
    base: Base | None = None

    def to_json(self) -> dict[str, Any]:
        """The value of `sharing` in the manifest."""
        return {
            **asdict(self),
            "branches": {name: {"tasks": list(o.tasks), "start": o.start} for name, o in self.branches.items()},
            "adapters": list(self.adapters),
        }


def sharing_of(manifest: Mapping[str, Any]) -> Sharing:
    """The sharing that a manifest describes. Raises BundleError if it is malformed or names what does not exist."""
    found = manifest.get("sharing", {})
    try:
        owners = dict(found.get("branches", {}))
        branches = {name: Owner(_names(owner["tasks"]), owner["start"]) for name, owner in owners.items()}
        base = found.get("base")
        sharing = Sharing(
            bool(found.get("layer_mix", False)), branches, _names(found.get("adapters", ())),
            Base(base["name"], base["revision"], dict(base["files"])) if base else None,
        )  # fmt: skip
    except (AttributeError, KeyError, TypeError, ValueError):
        raise BundleError(f"{MANIFEST} has a 'sharing' that cannot be read; the model folder is damaged") from None
    _check_owners(sharing, manifest["tasks"])
    if sharing.base and not _is_base(sharing.base):
        raise BundleError(f"{MANIFEST} has a 'sharing.base' without a name or files; the model folder is damaged")
    return sharing


def _names(value: Any) -> tuple[str, ...]:
    """A list of strings. Raises TypeError."""
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise TypeError("not a list of names")
    return tuple(value)


def _is_base(base: Base) -> bool:
    """Whether a base has a valid name and revision, and files with hashes."""
    named = is_text(base.name, MAX_NAME_LENGTH * 5) and base.name.isprintable()
    dated = base.revision is None or is_text(base.revision, MAX_NAME_LENGTH)
    return named and dated and bool(base.files) and all(isinstance(value, str) for value in base.files.values())


def _check_owners(sharing: Sharing, tasks: Mapping[str, Any]) -> None:
    """Raise BundleError for invalid names, and for branches and adapters that belong to no task or to several."""
    for name, owner in sharing.branches.items():
        check_name("sharing.branches", name)
        if type(owner.start) is not int or owner.start < 0:
            raise BundleError(f"{MANIFEST}: sharing.branches.{name} starts at layer {owner.start!r:.80}; it is damaged")
    members = [task for owner in sharing.branches.values() for task in owner.tasks]
    counts = Counter(members)
    for task in members:
        if task not in tasks or counts[task] > 1:
            why = "in two branches" if task in tasks else "in a branch, but there is no such task"
            raise BundleError(f"{MANIFEST}: '{task[:MAX_NAME_LENGTH]}' is {why}; the model folder is damaged")
    known = set(sharing.branches) or {SHARED}
    for name in sharing.adapters:
        check_name("sharing.adapters", name)
        if name not in known:
            raise BundleError(f"{MANIFEST}: sharing.adapters names '{name}', but adapters can only be those of "
                              f"{', '.join(sorted(known))}; the model folder is damaged")  # fmt: skip
