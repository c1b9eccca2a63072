"""The manifest of a model folder: what it says, and whether the folder is what it says.

Nothing here loads weights. Names from a manifest become paths and names of modules, so each is checked before it is used.
Whoever can write the folder can write the hashes too: they tell of accidents. So every file that is read is also looked at
for what a stranger could put there: links, pipes, JSON that is none, headers that promise more than the file has.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

from manyheads.bundle.near import near_models
from manyheads.bundle.settings import tasks_of
from manyheads.errors import BundleError
from manyheads.evaluate import WARNINGS
from manyheads.nn.stored import stored_tensors
from manyheads.text.plain_files import is_text, leads_out, read_object

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
TOKENIZER = f"{ENCODER}/tokenizer.json"
LONGEST_NAME = 200
MOST_FILES = 10_000
MOST_TOKENS = 1 << 30
"""Of a window: as much as an encoder without positions reads."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


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


def was_refitted(manifest: Mapping[str, Any]) -> bool:
    """Whether the weights were trained on validation rows too, once everything was chosen."""
    return manifest.get("refitted") is True


def sharing_of(manifest: Mapping[str, Any]) -> Sharing:
    """The sharing of a manifest. Raises BundleError for one that cannot be read, or names what is not there."""
    said = manifest.get("sharing", {})
    try:
        branches = {
            name: Owner(_names(facts["tasks"]), facts["start"])
            for name, facts in dict(said.get("branches", {})).items()
        }
        base = said.get("base")
        sharing = Sharing(
            bool(said.get("layer_mix", False)), branches, _names(said.get("adapters", ())),
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
        raise TypeError("no list of names")
    return tuple(value)


def _is_base(base: Base) -> bool:
    """Whether a base has a name that can be one, and files with their hashes."""
    named = is_text(base.name, LONGEST_NAME * 5) and base.name.isprintable()
    dated = base.revision is None or is_text(base.revision, LONGEST_NAME)
    return named and dated and bool(base.files) and all(isinstance(value, str) for value in base.files.values())


def _check_owners(sharing: Sharing, tasks: Mapping[str, Any]) -> None:
    """Refuse names that are no names, and branches and adapters that belong to nobody."""
    for name, owner in sharing.branches.items():
        _check_name("sharing.branches", name)
        if type(owner.start) is not int or owner.start < 0:
            raise BundleError(f"{MANIFEST}: sharing.branches.{name} starts at layer {owner.start!r:.80}; it is damaged")
    members = [task for owner in sharing.branches.values() for task in owner.tasks]
    counts = Counter(members)
    for task in members:
        if task not in tasks or counts[task] > 1:
            why = "in two branches" if task in tasks else "in a branch, but there is no such task"
            raise BundleError(f"{MANIFEST}: '{task[:LONGEST_NAME]}' is {why}; the model folder is damaged")
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
    if not plain_name(name) or len(name) > LONGEST_NAME:
        raise BundleError(f"{MANIFEST}: {place} has the name {name!r:.80}; names start with a letter and hold letters, "
                          "digits, - and _ only, so the model folder is damaged")  # fmt: skip


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a model folder. Raises BundleError saying what is the matter with it."""
    path = folder / MANIFEST
    if not folder.is_dir():
        raise BundleError(f"{folder} is not a folder; give the output folder of a finished training"
                          f"{near_models(folder, MANIFEST)}")  # fmt: skip
    if not path.exists() and not path.is_symlink():
        raise BundleError(f"{folder} has no {MANIFEST}: it is no model folder, or its training did not finish"
                          f"{near_models(folder, MANIFEST)}")  # fmt: skip
    try:
        if leads_out(folder, path):
            raise ValueError("it is a link that leaves the folder")
        manifest = read_object(path)
    except (ValueError, OSError) as error:
        raise BundleError(f"{path} cannot be read ({error}); the model folder is damaged") from None
    seen = manifest.get("format")
    if type(seen) is not int or seen != FORMAT:
        raise BundleError(
            f"{path} has format {seen!r:.80}, this version reads format {FORMAT}; load it with the version that wrote it"
        )
    for key, kind in (("encoder", dict), ("tasks", dict), ("files", dict)):
        if not isinstance(manifest.get(key), kind):
            raise BundleError(f"{path} has no '{key}'; the model folder is damaged")
    for name in manifest["tasks"]:
        _check_name("tasks", name)
    if not _is_plain(manifest):
        raise BundleError(f"{path} has entries that cannot be read; the model folder is damaged")
    return manifest


def _is_plain(manifest: Mapping[str, Any]) -> bool:
    """Whether everything in a manifest that is used or shown has the type it should have."""
    encoder, files, made_by = manifest["encoder"], manifest["files"], manifest.get("versions", {})
    length = encoder.get("max_length")
    return (
        type(length) is int
        and 0 < length <= MOST_TOKENS
        and is_text(encoder.get("name"), LONGEST_NAME * 5)
        and isinstance(made_by, dict)
        and all(is_text(text, LONGEST_NAME) for text in [*made_by, *made_by.values()])
        and all(isinstance(entry, dict) for entry in manifest["tasks"].values())
        and len(files) <= MOST_FILES
        and all(is_text(name, LONGEST_NAME * 2) and _is_entry(entry) for name, entry in files.items())
    )


def _is_entry(entry: Any) -> bool:
    """Whether an entry under `files` has a hash and a size."""
    if not isinstance(entry, dict) or type(entry.get("bytes")) is not int or entry["bytes"] < 0:
        return False
    return isinstance(entry.get("sha256"), str) and _SHA256.fullmatch(entry["sha256"]) is not None


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Put the manifest into place at once: a folder that has one is whole."""
    partial = folder / (MANIFEST + ".partial")
    partial.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, folder / MANIFEST)


def verify(folder: Path, manifest: Mapping[str, Any]) -> Sharing:
    """The sharing of a folder. Raises BundleError unless all that belongs to it is there, and is what was saved."""
    tasks_of(manifest, folder / MANIFEST)
    sharing = sharing_of(manifest)
    missing = sorted(_required(sharing) - set(manifest["files"]))
    if missing:
        raise BundleError(f"{folder / MANIFEST} does not list {missing[0]}; the model folder is damaged")
    for name in manifest["files"]:
        if name.startswith((BRANCHES, f"{ADAPTERS}/")) and name not in _required(sharing):
            raise BundleError(f"{folder / MANIFEST} lists {name}, but says of no task that it owns it; it is damaged")
    for name, facts in manifest["files"].items():
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name or not 0 < len(pure.parts) <= 3:
            raise BundleError(f"{folder / MANIFEST} names the file {name!r}, which is outside the model folder")
        path = folder / pure
        try:
            if leads_out(folder, path) or not path.is_file():
                raise BundleError(
                    f"{path} is missing (or a link that leaves the folder); copy the whole model folder again"
                )
            if path.stat().st_size != facts["bytes"] or sha256_of(path) != facts["sha256"]:
                raise BundleError(
                    f"{path} is not the file that was saved (its sha256 differs); copy the model folder again"
                )
            _check_content(name, path)
        except (OSError, ValueError) as error:
            what = "is no adapter that can be read" if name.startswith(ADAPTERS) else "cannot be read"
            raise BundleError(f"{path} {what} ({error}); the model folder is damaged") from None
    _check_strays(folder, manifest, sharing)
    return sharing


def _check_content(name: str, path: Path) -> None:
    """Raise ValueError for a file that is not of the format its name says."""
    if name.endswith(".safetensors"):
        stored_tensors(path)
    elif name == METRICS:
        scores = read_object(path)
        for task, splits in scores.items():
            for metrics in splits.values() if isinstance(splits, dict) else (None,):
                if task == "_all" and isinstance(metrics, dict) and not _is_texts(metrics.pop(WARNINGS, {})):
                    raise ValueError(f"holds no sentences by task under _all.{WARNINGS}")
                if not isinstance(metrics, dict) or not all(_is_number(value) for value in metrics.values()):
                    raise ValueError("holds no numbers by task, split and name")
    elif name.endswith(".json") and name != TOKENIZER:
        read_object(path)


def _is_texts(value: Any) -> bool:
    """Whether a value is an object of strings."""
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _is_number(value: Any) -> bool:
    """Whether a value can be a score; one that is not defined is NaN."""
    return type(value) is float or (type(value) is int and abs(value) < MOST_TOKENS)


def _check_strays(folder: Path, manifest: Mapping[str, Any], sharing: Sharing) -> None:
    """Raise BundleError for a file that nobody vouches for, and that transformers would read beside or before the others.

    The weights of a base that is elsewhere may be put into the folder; they are held against the base's own hashes.
    """
    for path in sorted((folder / ENCODER).iterdir()):
        name = f"{ENCODER}/{path.name}"
        stray = name not in manifest["files"] and path.suffix in (".json", ".safetensors")
        if path.name == "adapter_config.json" or (stray and not (sharing.base and path.suffix == ".safetensors")):
            raise BundleError(
                f"{path} does not belong to the model folder, and would be read with it; remove that file"
            )


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
