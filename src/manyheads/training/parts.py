"""A model in parts, bottom to top: what can be frozen, and what has a learning rate of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

    from manyheads.model import MultiTaskModel
    from manyheads.nn.encoder import Encoder

Place = Literal["embeddings", "layer", "head"]


@dataclass(frozen=True, slots=True)
class Part:
    """Parameters that are frozen and paced together."""

    name: str
    """`embeddings`, `layer 3`, `head entities`; `BRANCH: layer 5` where tasks own it."""
    place: Place
    layer: int
    """From 0; -1 for the embeddings, the depth for heads."""
    tasks: tuple[str, ...]
    """The tasks that it belongs to; none for a part of all tasks."""
    modules: tuple[nn.Module, ...]
    parameters: tuple[nn.Parameter, ...]

    @property
    def size(self) -> int:
        """Numbers in its parameters."""
        return sum(parameter.numel() for parameter in self.parameters)


def parts_of(model: MultiTaskModel) -> list[Part]:
    """Every parameter of a model in exactly one part. Parts without parameters are left out."""
    return [part for part in places_of(model) if part.parameters]


def places_of(model: MultiTaskModel) -> list[Part]:
    """The parts of a model, also those whose parameters all belong to another part."""
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
    """Whose an encoder is from layer `start` on, and how its parts are called."""

    prefix: str
    tasks: tuple[str, ...]
    start: int


def _encoder_parts(encoder: Encoder, own: _Own, stop: int, taken: set[int]) -> list[Part]:
    """Embeddings, layers, and whatever is left (final norms, relative positions), which goes with the top layer."""
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
    """The same parts with those parameters alone that require gradients (adapters leave their base out)."""
    kept = [
        Part(p.name, p.place, p.layer, p.tasks, p.modules, tuple(x for x in p.parameters if x.requires_grad))
        for p in parts
    ]
    return [part for part in kept if part.parameters]
