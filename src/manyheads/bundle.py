"""The model folder: save, load, verify. The only code that knows its format.

    manyheads.json       format version, tasks with settings and labels, sha256 and size of every file, versions
    encoder/             transformers config, tokenizer, model.safetensors: loads in plain transformers too
    heads.safetensors    `TASK.parameter`, and `_mix.TASK.parameter` of learned layer mixes
    branches.safetensors `BRANCH/parameter`: what tasks own of the encoder; absent when they share all of it
    adapters/NAME/       adapters kept apart, in peft's format
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
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from manyheads.errors import BundleError
from manyheads.tasks import describe, restore

if TYPE_CHECKING:
    import torch

    from manyheads.model import MultiTaskModel
    from manyheads.nn.encoder import Encoder
    from manyheads.nn.lora import Adapter
    from manyheads.nn.sharing import Branch
    from manyheads.tasks.base import Task
    from manyheads.text.tokenizer import Tokenizer

FORMAT = 1
MANIFEST = "manyheads.json"
HEADS = "heads.safetensors"
BRANCHES = "branches.safetensors"
ADAPTERS = "adapters"
SHARED = "shared"
"""The name of the adapter of all tasks."""
MIX = "_mix."
ENCODER = "encoder"
METRICS = "metrics.json"
RUN = "run.yaml"
CARD = "README.md"


@dataclass(frozen=True, slots=True)
class Base:
    """Where the encoder's own weights are, when the folder leaves them out, and the sha256 of each of their files."""

    name: str
    revision: str | None
    files: Mapping[str, str]

    @staticmethod
    def of(name: str, revision: str | None, folder: Path) -> Base:
        """The base in a folder of an encoder."""
        return Base(name, revision, {path.name: _sha256(path) for path in sorted(folder.glob("*.safetensors"))})


@dataclass(frozen=True, slots=True)
class Apart:
    """Adapters that are written beside the base weights instead of merged into them."""

    adapters: Mapping[str, Adapter]
    """By the branch that each belongs to, or `shared`."""
    weights: Mapping[str, torch.Tensor]
    """Weights of the shared encoder as they were before the adapter was merged, by their names in its model."""
    base: Base | None
    """Set: the base weights are left out of the folder."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything a model folder holds besides weights."""

    tasks: Mapping[str, Task[Any]]
    encoder_name: str
    max_length: int
    metrics: Mapping[str, Any]
    run: str
    card: str
    apart: Apart | None = None


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
    """Write a model folder. Files that are already there under other names stay. Adapters must be merged by now."""
    from safetensors.torch import save_file

    from manyheads.nn.lora import write_adapter

    encoder_folder = folder / ENCODER
    encoder_folder.mkdir(parents=True, exist_ok=True)
    apart = contents.apart
    _save_encoder(model.encoder, encoder_folder, apart)
    tokenizer.save(encoder_folder)
    heads = {**model.heads.state_dict(), **{MIX + key: value for key, value in model.mixes.state_dict().items()}}
    written = {HEADS: heads}
    if model.branches and apart is None:
        written[BRANCHES] = _owned(model)
    for name, tensors in written.items():
        plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        save_file(plain, folder / name, metadata={"format": "pt"})
    names = [*written, METRICS, RUN, CARD, *(f"{ENCODER}/{path.name}" for path in sorted(encoder_folder.iterdir()))]
    for name, adapter in (apart.adapters if apart else {}).items():
        write_adapter(adapter, folder / ADAPTERS / name)
        names += [f"{ADAPTERS}/{name}/{path.name}" for path in sorted((folder / ADAPTERS / name).iterdir())]
    (folder / METRICS).write_text(json.dumps(contents.metrics, indent=2) + "\n", encoding="utf-8")
    (folder / RUN).write_text(contents.run, encoding="utf-8")
    (folder / CARD).write_text(contents.card, encoding="utf-8")
    manifest = {
        "format": FORMAT,
        "encoder": {"name": contents.encoder_name, "max_length": contents.max_length},
        "tasks": {name: describe(task) for name, task in contents.tasks.items()},
        "sharing": {
            "layer_mix": bool(model.mixes),
            "branches": {b.name: {"tasks": list(b.tasks), "start": b.start} for b in model.branches},
            "adapters": sorted(apart.adapters) if apart else [],
            "base": asdict(apart.base) if apart and apart.base else None,
        },
        "files": {name: {"sha256": _sha256(folder / name), "bytes": (folder / name).stat().st_size} for name in names},
        "versions": versions(),
    }
    partial = folder / (MANIFEST + ".partial")
    partial.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, folder / MANIFEST)


def _save_encoder(encoder: Encoder, folder: Path, apart: Apart | None) -> None:
    """The encoder with its base weights in the place of merged ones; its configuration alone where the base is elsewhere."""
    from manyheads.nn.encoder import save_encoder

    if apart is not None and apart.base is not None:
        encoder.config.save_pretrained(folder)
        return
    merged = {name: encoder.model.get_parameter(name) for name in (apart.weights if apart else {})}
    kept = {name: parameter.data for name, parameter in merged.items()}
    for name, parameter in merged.items():
        parameter.data = apart.weights[name]  # type: ignore[union-attr]
    try:
        save_encoder(encoder, folder)
    finally:
        for name, parameter in merged.items():
            parameter.data = kept[name]


def _owned(model: MultiTaskModel) -> dict[str, torch.Tensor]:
    """What each branch owns."""
    from manyheads.nn.sharing import own_parameters

    return {
        f"{branch.name}/{name}": value.detach()
        for branch in model.branches
        for name, value in own_parameters(branch.encoder, model.encoder).items()
    }


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
    required = {HEADS, METRICS, f"{ENCODER}/config.json", f"{ENCODER}/tokenizer.json"}
    if not _sharing(manifest).get("base"):
        required.add(f"{ENCODER}/model.safetensors")
    missing = sorted(required - set(manifest["files"]))
    if missing:
        raise BundleError(f"{folder / MANIFEST} does not list {missing[0]}; the model folder is damaged")
    for name, facts in manifest["files"].items():
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or len(pure.parts) > 3:
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
    sharing = _sharing(manifest)
    encoder = load_encoder(_base_folder(folder, sharing.get("base")))
    branches = _branches(folder, sharing, encoder)
    model = MultiTaskModel(encoder, tasks, branches, layer_mix=bool(sharing.get("layer_mix")))
    weights = load_file(folder / HEADS)
    mixes = {key.removeprefix(MIX): weights.pop(key) for key in list(weights) if key.startswith(MIX)}
    try:
        model.heads.load_state_dict(weights, strict=True)
        model.mixes.load_state_dict(mixes, strict=True)
    except RuntimeError as error:
        raise BundleError(f"{folder / HEADS} does not fit the tasks of {MANIFEST}: {error}") from None
    model = model.to(device or torch.device("cpu")).eval()
    max_length = int(manifest["encoder"]["max_length"])
    return Bundle(folder, manifest, model, tasks, Tokenizer.load(folder / ENCODER), max_length)


def _sharing(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """The sharing of a manifest; none in folders from before there was any."""
    sharing = manifest.get("sharing", {})
    if not isinstance(sharing, dict):
        raise BundleError(f"{MANIFEST} has a 'sharing' that is no object; the model folder is damaged")
    return sharing


def _base_folder(folder: Path, base: Any) -> str:
    """Where the encoder's weights are. Raises BundleError when a base elsewhere is not the one it was."""
    if not base:
        return str(folder / ENCODER)
    from manyheads.nn.locate import locate_encoder

    try:
        wanted = Base(str(base["name"]), base["revision"], dict(base["files"]))
    except (KeyError, TypeError, ValueError):
        raise BundleError(
            f"{folder / MANIFEST} has a 'base' that cannot be read; the model folder is damaged"
        ) from None
    beside = folder / wanted.name
    located = locate_encoder(str(beside) if (beside / "config.json").exists() else wanted.name, wanted.revision)
    seen = Base.of(wanted.name, wanted.revision, Path(located.path_or_id))
    if seen.files != wanted.files:
        raise BundleError(f"{folder} holds adapters for '{wanted.name}', but the weights in {located.path_or_id} are others "
                          "(their sha256 differs); give the encoder it was trained on")  # fmt: skip
    return located.path_or_id


def _branches(folder: Path, sharing: Mapping[str, Any], encoder: Encoder) -> list[Branch]:
    """Branches with their own weights; adapters are merged as they are read."""
    from safetensors.torch import load_file

    from manyheads.nn.lora import read_adapter
    from manyheads.nn.sharing import Branch, branched

    owned: dict[str, dict[str, torch.Tensor]] = {}
    if (folder / BRANCHES).exists():
        for key, value in load_file(folder / BRANCHES).items():
            name, _, parameter = key.partition("/")
            owned.setdefault(name, {})[parameter] = value
    adapters = set(sharing.get("adapters", ()))
    made = []
    for name, facts in sharing.get("branches", {}).items():
        own = owned.pop(name, {})
        branch = Branch(name, tuple(facts["tasks"]), int(facts["start"]), branched(encoder, own.__contains__))
        known = dict(branch.encoder.named_parameters())
        for parameter, value in own.items():
            if parameter not in known or known[parameter].shape != value.shape:
                raise BundleError(f"{folder / BRANCHES} does not fit the encoder at {name}/{parameter}")
            known[parameter].data.copy_(value)
        if name in adapters:
            read_adapter(branch.encoder, folder / ADAPTERS / name)
        made.append(branch)
    if owned:
        raise BundleError(f"{folder / BRANCHES} has weights of '{next(iter(owned))}', which {MANIFEST} does not name")
    if SHARED in adapters:
        read_adapter(encoder, folder / ADAPTERS / SHARED)
    return made


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
