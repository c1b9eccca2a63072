"""Saving a model as a folder, and loading it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.bundle.layers import (
    Apart,
    base_folder,
    owned_weights,
    read_branches,
    read_weights,
    sharing_in,
    write_base,
)
from manyheads.bundle.manifest import (
    ADAPTER_FILES,
    ADAPTERS,
    BRANCHES,
    CARD,
    ENCODER,
    FORMAT,
    HEADS,
    MANIFEST,
    METRICS,
    RUN,
    manifest_hash,
    read_manifest,
    sha256_of,
    verify,
    versions,
    write_manifest,
)
from manyheads.bundle.settings import check_heads, tasks_of
from manyheads.durable import give_usual_rights
from manyheads.errors import BundleError, UsageError
from manyheads.nn.stored import stored_tensors
from manyheads.tasks import describe

if TYPE_CHECKING:
    import torch

    from manyheads.model import MultiTaskModel
    from manyheads.tasks.base import Task
    from manyheads.text.tokenizer import Tokenizer

MIX = "_mix."
"""Before the names of layer mixes among those of heads; no task's name begins with _."""


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
    refitted: bool = False
    """Whether the weights were trained again on all rows, validation rows that were cut from them too."""


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
    encoder_folder = folder / ENCODER
    encoder_folder.mkdir(parents=True, exist_ok=True)
    apart = contents.apart
    write_base(model.encoder, encoder_folder, apart)
    tokenizer.save(encoder_folder)
    names = [*_write_weights(folder, model, apart), METRICS, RUN, CARD]
    names += [f"{ENCODER}/{path.name}" for path in sorted(encoder_folder.iterdir())]
    (folder / METRICS).write_text(json.dumps(contents.metrics, indent=2) + "\n", encoding="utf-8")
    (folder / RUN).write_text(contents.run, encoding="utf-8")
    (folder / CARD).write_text(contents.card, encoding="utf-8")
    give_usual_rights(folder, [folder / name for name in names])
    manifest = {
        "format": FORMAT,
        "encoder": {"name": contents.encoder_name, "max_length": contents.max_length},
        "tasks": {name: describe(task) for name, task in contents.tasks.items()},
        "sharing": sharing_in(model, apart, folder).to_json(),
        "files": {
            name: {"sha256": sha256_of(folder / name), "bytes": (folder / name).stat().st_size} for name in names
        },
        "versions": versions(),
        **({"refitted": True} if contents.refitted else {}),
    }
    write_manifest(folder, manifest)


def _write_weights(folder: Path, model: MultiTaskModel, apart: Apart | None) -> list[str]:
    """Everything but the base weights; the names of the files."""
    from safetensors.torch import save_file

    from manyheads.nn.lora import write_adapter

    heads = {**model.heads.state_dict(), **{MIX + key: value for key, value in model.mixes.state_dict().items()}}
    written = {HEADS: heads}
    if model.branches and apart is None:
        written[BRANCHES] = owned_weights(model)
    for name, tensors in written.items():
        plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        save_file(plain, folder / name, metadata={"format": "pt"})
    names = list(written)
    for name, adapter in (apart.adapters if apart else {}).items():
        write_adapter(adapter, folder / ADAPTERS / name)
        names += [f"{ADAPTERS}/{name}/{file}" for file in ADAPTER_FILES]
    return names


def load_bundle(folder: Path, device: torch.device | None = None) -> Bundle:
    """A model folder, verified, its weights in float32 on the device.

    Raises BundleError, also for a base elsewhere that is not found, and EncoderError for an encoder that cannot be used.
    """
    import torch

    from manyheads.model import MultiTaskModel
    from manyheads.nn.encoder import load_encoder
    from manyheads.nn.encoder_files import check_finite, check_folder
    from manyheads.text.tokenizer import Tokenizer

    manifest = read_manifest(folder)
    sharing = verify(folder, manifest)
    tasks = tasks_of(manifest, folder / MANIFEST)
    base = base_folder(folder, sharing.base)
    check_folder(Path(base))
    encoder = load_encoder(base)
    check_heads(tasks, encoder.width, stored_tensors(folder / HEADS), folder / HEADS)
    branches = read_branches(folder, sharing, encoder)
    model = MultiTaskModel(encoder, tasks, branches, layer_mix=sharing.layer_mix)
    weights = read_weights(folder / HEADS)
    mixes = {key.removeprefix(MIX): weights.pop(key) for key in list(weights) if key.startswith(MIX)}
    try:
        model.heads.load_state_dict(weights, strict=True)
        model.mixes.load_state_dict(mixes, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(f"{folder / HEADS} does not fit the tasks of {MANIFEST}: {reason}") from None
    model = model.to(device or torch.device("cpu")).eval()
    max_length = int(manifest["encoder"]["max_length"])
    if max_length > encoder.max_length:
        raise BundleError(f"{folder / MANIFEST} asks for windows of {max_length} tokens, but the encoder reads at most "
                          f"{encoder.max_length}; the model folder is damaged")  # fmt: skip
    bundle = Bundle(folder, manifest, model, tasks, Tokenizer.load(folder / ENCODER), max_length)
    check_finite(model, folder)
    _check_answers(bundle, device or torch.device("cpu"))
    return bundle


def _check_answers(bundle: Bundle, device: torch.device) -> None:
    """Raise BundleError unless the heads answer a short text, and a pair, with finite numbers.

    One pass of a few milliseconds notices what no look at the files does: weights that are not finite or too large, settings
    under which a layer breaks, windows without room.
    """
    import numpy as np

    from manyheads.predict import TorchBackend
    from manyheads.text.pack import Source

    try:
        for source in (Source("the 1 a 一"), Source("the 1", "a 一")):
            windows = bundle.tokenizer.encode([source], bundle.max_length)[0]
            outputs = TorchBackend(bundle.model, device).run(windows, list(bundle.tasks))
            for name, output in outputs.items():
                if not all(np.isfinite(value).all() for value in output.values()):
                    raise BundleError(f"{bundle.folder}: task '{name}' gives numbers that are not finite, so its weights or "
                                      "settings are damaged; copy the model folder again")  # fmt: skip
    except (UsageError, RuntimeError, IndexError, ValueError, TypeError) as error:
        if isinstance(error, BundleError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise BundleError(f"{bundle.folder} cannot answer a text of four words ({reason}); it is damaged") from None
