"""Saving a model as a folder, and loading it again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.bundle.encoder import (
    UnmergedAdapters,
    base_folder,
    owned_weights,
    read_branches,
    read_weights,
    saved_sharing,
    write_base,
)
from manyheads.bundle.loaded import LoadedFolder, check_answers
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
    file_entries,
    read_manifest,
    versions,
    write_manifest,
)
from manyheads.bundle.stores import with_stores_of, write_stores
from manyheads.bundle.tasks import check_heads, tasks_of
from manyheads.bundle.verify import verify
from manyheads.durable import apply_umask
from manyheads.errors import BundleError, UsageError
from manyheads.nn.safetensors_header import read_header
from manyheads.tasks import describe

if TYPE_CHECKING:
    import torch

    from manyheads.model import MultiTaskModel
    from manyheads.nn.encoder import Encoder
    from manyheads.tasks.base import Task
    from manyheads.text.tokenizer import Tokenizer

ReadEncoder = Callable[[Path], "Encoder"]
MIX = "_mix."
"""Prefix of layer mixes among the tensors of heads; task names cannot start with _."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything in a model folder besides merged weights and the tokenizer."""

    tasks: Mapping[str, Task[Any]]
    encoder_name: str
    max_length: int
    metrics: Mapping[str, Any]
    run: str
    card: str
    adapters: UnmergedAdapters | None = None
    refitted: bool = False
    """Whether the weights were finally trained on all rows, including validation rows split off from training data."""
    unchanged: Sequence[Mapping[str, Any]] = ()
    """Which tasks of other models are in this one bit for bit (`heads/proof.py`)."""
    started_from: Mapping[str, Any] | None = None
    """The model that the training started from, and what became of its labels."""
    card_facts: Mapping[str, Any] | None = None
    """What the card says and no other file has, kept for the cards of models made from this one."""


@dataclass(frozen=True, slots=True)
class Bundle(LoadedFolder):
    """A loaded model folder."""

    model: MultiTaskModel


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a complete model."""
    return (folder / MANIFEST).exists()


def save_bundle(folder: Path, model: MultiTaskModel, tokenizer: Tokenizer, contents: Contents) -> None:
    """Write a model folder; other files that are there already stay. Adapters must be merged before."""
    encoder_folder = folder / ENCODER
    encoder_folder.mkdir(parents=True, exist_ok=True)
    adapters = contents.adapters
    write_base(model.encoder, encoder_folder, adapters)
    tokenizer.save(encoder_folder)
    names = [*_write_weights(folder, model, adapters), *write_stores(folder, contents.tasks), METRICS, RUN, CARD]
    names += [f"{ENCODER}/{path.name}" for path in sorted(encoder_folder.iterdir())]
    (folder / METRICS).write_text(json.dumps(contents.metrics, indent=2) + "\n", encoding="utf-8")
    (folder / RUN).write_text(contents.run, encoding="utf-8")
    (folder / CARD).write_text(contents.card, encoding="utf-8")
    apply_umask(folder, [folder / name for name in names])
    manifest = {
        "format": FORMAT,
        "encoder": {"name": contents.encoder_name, "max_length": contents.max_length},
        "tasks": {name: describe(task) for name, task in contents.tasks.items()},
        "sharing": saved_sharing(model, adapters, folder).to_json(),
        "files": file_entries(folder, names),
        "versions": versions(),
        **({"refitted": True} if contents.refitted else {}),
        **({"unchanged": list(contents.unchanged)} if contents.unchanged else {}),
        **({"started_from": dict(contents.started_from)} if contents.started_from else {}),
        **({"card": dict(contents.card_facts)} if contents.card_facts else {}),
    }
    write_manifest(folder, manifest)


def _write_weights(folder: Path, model: MultiTaskModel, adapters: UnmergedAdapters | None) -> list[str]:
    """Write all weights except the base; the names of the files."""
    from safetensors.torch import save_file

    from manyheads.nn.lora import write_adapter

    written = {HEADS: {**model.heads.state_dict(), **{MIX + key: mix for key, mix in model.mixes.state_dict().items()}}}
    if model.branches and adapters is None:
        written[BRANCHES] = owned_weights(model)
    for name, tensors in written.items():
        plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        save_file(plain, folder / name, metadata={"format": "pt"})
    names = list(written)
    for name, adapter in (adapters.by_branch if adapters else {}).items():
        write_adapter(adapter, folder / ADAPTERS / name)
        names += [f"{ADAPTERS}/{name}/{file}" for file in ADAPTER_FILES]
    return names


def load_bundle(folder: Path, device: torch.device | None = None, *, read_encoder: ReadEncoder | None = None) -> Bundle:
    """Verify and load a model folder; weights are float32 on the device (default: the CPU).

    `read_encoder`: how to read an encoder without adapters; by default `load_checked`, with transformers' modules.

    Raises BundleError, also for missing base weights, and EncoderError for an encoder that cannot be used.

    >>> bundle = load_bundle(Path("runs/demo"))
    >>> list(bundle.tasks), bundle.max_length
    (['entities', 'section', 'answers', 'similarity'], 48)
    """
    import torch

    from manyheads.model import MultiTaskModel
    from manyheads.nn.encoder_files import check_finite
    from manyheads.nn.pretrained import load_checked
    from manyheads.predict import TorchBackend
    from manyheads.text.tokenizer import Tokenizer

    manifest = read_manifest(folder)
    sharing = verify(folder, manifest)
    tasks = with_stores_of(folder, tasks_of(manifest, folder / MANIFEST))
    read = load_checked if read_encoder is None or sharing.adapters else read_encoder
    encoder = read(Path(base_folder(folder, sharing.base)))
    check_heads(tasks, encoder.width, read_header(folder / HEADS), folder / HEADS)
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
    device = device or torch.device("cpu")
    model = model.to(device).eval()
    max_length = int(manifest["encoder"]["max_length"])
    if max_length > encoder.max_length:
        raise BundleError(f"{folder / MANIFEST} asks for windows of {max_length} tokens, but the encoder reads at most "
                          f"{encoder.max_length}; the model folder is damaged")  # fmt: skip
    bundle = Bundle(folder, manifest, tasks, Tokenizer.load(folder / ENCODER), max_length, model)
    check_finite(model, folder)
    failures = (UsageError, RuntimeError, IndexError, ValueError, TypeError)
    check_answers(bundle, TorchBackend(model, device), failures)
    return bundle
