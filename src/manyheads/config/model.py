"""Settings to a model: shared and private layers, and adapters."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.errors import EncoderError, UsageError

if TYPE_CHECKING:
    from manyheads.config.files import RunFile
    from manyheads.config.strategies import Sharing
    from manyheads.model import MultiTaskModel
    from manyheads.nn.encoder import Encoder
    from manyheads.nn.lora import Lora
    from manyheads.nn.resolve_encoder import ResolvedEncoder
    from manyheads.nn.sharing import Branch
    from manyheads.tasks.base import Task
    from manyheads.training.adapters import Adapters


def encoder_location(file: RunFile) -> ResolvedEncoder:
    """The encoder of a run: a folder relative to the run file, bundled, or on the Hub."""
    from manyheads.config.start_model import start_model
    from manyheads.nn.resolve_encoder import ResolvedEncoder, holds_encoder, resolve_encoder

    encoder, start = file.run.encoder, start_model(file)
    if start is not None:
        return ResolvedEncoder(str(start.encoder), "folder")
    local = file.resolve(encoder.name)
    name = str(local) if holds_encoder(local) else encoder.name
    return resolve_encoder(name, encoder.revision)


def base_model(file: RunFile, located: ResolvedEncoder) -> str | None:
    """Hub id of the encoder or model that a run starts from; None for a local folder of unknown origin."""
    from manyheads.config.start_model import start_model
    from manyheads.hub.facts import kept_facts
    from manyheads.nn.resolve_encoder import BUNDLED

    start, given = start_model(file), file.run.training.init_from
    if start is not None:
        return kept_facts(start.bundle.manifest)[0] if file.resolve(str(given)).exists() else str(given)
    name = file.run.encoder.name
    return None if located.origin == "folder" else BUNDLED[-1] if name in BUNDLED else name


def build_model(file: RunFile, located: ResolvedEncoder, tasks: Mapping[str, Task[Any]]) -> MultiTaskModel:
    """The model of a run, with heads and adapters initialised from the run's seed.

    Raises EncoderError, and UsageError for sharing or adapters that the encoder does not support.
    """
    import torch

    from manyheads.config.start_model import private_branches, start_model
    from manyheads.model import MultiTaskModel
    from manyheads.nn.pretrained import load_encoder

    run = file.run
    start = start_model(file)
    encoder = load_encoder(located.path_or_id) if start is None else copy.deepcopy(start.bundle.model.encoder)
    if run.encoder.max_length > encoder.max_length:
        raise EncoderError(
            f"encoder.max_length is {run.encoder.max_length}, but {run.encoder.name} reads at most {encoder.max_length} "
            f"tokens; lower it (longer texts are read in windows)"
        )
    if run.training.gradient_checkpointing:
        _checkpoint(encoder)
    torch.manual_seed(run.training.seed)
    lora = lora_of(file)
    if start is not None and start.bundle.model.branches and not run.sharing.model_fields_set and lora is None:
        branches = private_branches(start, encoder, tasks)
    elif lora is None:
        branches = _private_layers(run.sharing, encoder, tasks)
    elif run.sharing.shared_layers is not None:
        raise UsageError("lora and sharing.shared_layers cannot be combined; for adapters per task on the upper layers "
                         "set lora.adapters: per-task and lora.layers")  # fmt: skip
    else:
        branches = _adapted(lora, encoder, list(tasks) if run.lora and run.lora.adapters == "per-task" else [])
    return MultiTaskModel(encoder, tasks, branches, layer_mix=run.sharing.layer_mix)


def lora_of(file: RunFile) -> Lora | None:
    """The adapter settings of a run file."""
    from manyheads.nn.lora import Lora

    section = file.run.lora
    if section is None:
        return None
    return Lora(
        section.rank, section.alpha, section.dropout, tuple(section.targets), tuple(section.layers), section.bias
    )


def adapters_of_run(file: RunFile, located: ResolvedEncoder) -> Adapters | None:
    """How the adapters of a run are saved."""
    from manyheads.bundle import Base
    from manyheads.training.adapters import Adapters

    lora, section = lora_of(file), file.run.lora
    if lora is None or section is None:
        return None
    encoder = file.run.encoder
    folder = Path(located.path_or_id).resolve()
    name = str(folder) if located.origin == "folder" else encoder.name
    base = Base.of(name, encoder.revision, folder) if section.save == "adapter-only" else None
    return Adapters(lora, encoder.name, unmerged=section.save != "merged", base=base)


def _private_layers(sharing: Sharing, encoder: Encoder, tasks: Mapping[str, Task[Any]]) -> list[Branch]:
    """A branch for each group of tasks except the first, which uses the encoder itself."""
    from manyheads.nn.sharing import Branch, branched, groups_of, names_from_layer

    start = sharing.shared_layers
    _check_groups(sharing, tasks)
    if start is None or start == encoder.depth:
        return []
    if start > encoder.depth:
        raise UsageError(f"sharing.shared_layers is {start}, but the encoder has {encoder.depth} layers; "
                         f"use 0 to {encoder.depth}")  # fmt: skip
    groups = groups_of(((name, tuple(members)) for name, members in sharing.groups.items()), tasks)
    owned = names_from_layer(encoder, start)
    return [
        Branch(name, members, start, branched(encoder, owned.__contains__))
        for name, members in list(groups.items())[1:]
    ]


def _check_groups(sharing: Sharing, tasks: Mapping[str, Task[Any]]) -> None:
    """Raise UsageError for a group with an unknown task or an invalid name."""
    from manyheads.bundle import plain_name

    for group, members in sharing.groups.items():
        if not plain_name(group):
            raise UsageError(
                f"sharing.groups: the name {group!r} must start with a letter and contain only letters, digits, - and _"
            )
        unknown = [task for task in members if task not in tasks]
        if unknown:
            raise UsageError(
                f"sharing.groups.{group}: there is no task '{unknown[0]}'; the tasks are {', '.join(tasks)}"
            )
        if group in tasks and group not in members:
            raise UsageError(f"sharing.groups.{group} is named like a task that is not in it; rename the group")


def _adapted(lora: Lora, encoder: Encoder, tasks: list[str]) -> list[Branch]:
    """One adapter in the encoder, or one per task, each in its own branch."""
    from manyheads.nn.lora import adapted_layers, add_adapter
    from manyheads.nn.sharing import Branch, branched

    layers = adapted_layers(encoder, lora)
    if not tasks:
        add_adapter(encoder, replace(lora, layers=tuple(layers)))
        return []
    encoder.requires_grad_(requires_grad=False)
    branches = []
    for task in tasks:
        branch = Branch(task, (task,), layers[0], branched(encoder, lambda _: False))
        add_adapter(branch.encoder, replace(lora, layers=tuple(layers)))
        branches.append(branch)
    return branches


def _checkpoint(encoder: Encoder) -> None:
    """Recompute the hidden states inside a layer in the backward pass instead of storing them (Chen et al. 2016)."""
    model = encoder.model
    try:
        if hasattr(model, "activation_checkpointing_enable"):  # since transformers 5.2x
            model.activation_checkpointing_enable()
        else:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    except ValueError:
        raise EncoderError(
            f"encoders of type '{encoder.config.model_type}' do not support gradient checkpointing; "
            "remove training.gradient_checkpointing"
        ) from None
