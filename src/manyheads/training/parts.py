"""A model in parts, bottom to top: the units of freezing and of learning rates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

    from manyheads.model import MultiTaskModel
    from manyheads.nn.encoder import Encoder

Place = Literal["embeddings", "layer", "head"]


@dataclass(frozen=True, slots=True)
class Part:
    """Parameters that are frozen together and share a learning rate."""

    name: str
    """`embeddings`, `layer 3`, `head entities`; `BRANCH: layer 5` for layers that tasks own."""
    place: Place
    layer: int
    """From 0; -1 for the embeddings, the encoder's depth for heads."""
    tasks: tuple[str, ...]
    """The tasks that own it; none for a part that all tasks share."""
    modules: tuple[nn.Module, ...]
    parameters: tuple[nn.Parameter, ...]

    @property
    def size(self) -> int:
        """The number of parameters, counted one by one."""
        return sum(parameter.numel() for parameter in self.parameters)


def parts_of(model: MultiTaskModel) -> list[Part]:
    """The parts of a model that have parameters; every parameter is in exactly one."""
    return [part for part in places_of(model) if part.parameters]


def places_of(model: MultiTaskModel) -> list[Part]:
    """The parts of a model, including those whose parameters all belong to another part."""
    taken: set[int] = set()
    parts = _encoder_parts(model.encoder, _Own("", (), 0), model.fork, taken)
    # Above the fork the shared encoder belongs to the tasks without a branch: the first group has no copy of its own.
    first = tuple(name for name in model.heads if model.branch_of(name) is None) if model.branches else ()
    own = _Own(f"{', '.join(first)}: " if first else "", first, model.fork)
    parts += _encoder_parts(model.encoder, own, model.encoder.depth, taken)
    for branch in model.branches:
        own = _Own(f"{branch.name}: ", branch.tasks, branch.start)
        parts += _encoder_parts(branch.encoder, own, model.encoder.depth, taken)
    for name in model.heads:
        modules = [model.heads[name], *([model.mixes[name]] if name in model.mixes else [])]
        parts.append(_part(f"head {name}", "head", model.encoder.depth, (name,), modules, taken))
    return parts


@dataclass(frozen=True, slots=True)
class _Own:
    """The owner of an encoder from layer `start` on, and the prefix of its parts' names."""

    prefix: str
    tasks: tuple[str, ...]
    start: int


def _encoder_parts(encoder: Encoder, own: _Own, stop: int, taken: set[int]) -> list[Part]:
    """Embeddings, layers, and the rest (final norms, relative positions), which belongs to the top layer."""
    layers, prefix, tasks = encoder.layer_modules(), own.prefix, own.tasks
    parts = []
    if own.start == 0 and stop > 0:
        parts.append(_part(f"{prefix}embeddings", "embeddings", -1, tasks, [encoder.embedding_module()], taken))
    for i in range(own.start, stop):
        parts.append(_part(f"{prefix}layer {i}", "layer", i, tasks, [layers[i]], taken))
    if stop < len(layers):
        return parts
    inside = {id(module) for part in (encoder.embedding_module(), *layers) for module in part.modules()}
    rest = [m for m in encoder.modules() if id(m) not in inside and any(True for _ in m.parameters(recurse=False))]
    parts.append(_part(f"{prefix}above the layers", "layer", len(layers) - 1, tasks, rest, taken))
    return parts


def _part(
    name: str, place: Place, layer: int, tasks: tuple[str, ...], modules: list[nn.Module], taken: set[int]
) -> Part:
    own = []
    for module in modules:
        for parameter in module.parameters():
            if id(parameter) not in taken:
                taken.add(id(parameter))
                own.append(parameter)
    return Part(name, place, layer, tasks, tuple(modules), tuple(own))


def trainable(parts: list[Part]) -> list[Part]:
    """The same parts with only those parameters that require gradients: under adapters, without the base weights."""
    kept = [replace(part, parameters=tuple(p for p in part.parameters if p.requires_grad)) for part in parts]
    return [part for part in kept if part.parameters]
