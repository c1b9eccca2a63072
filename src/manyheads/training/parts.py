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
    taken: set[int] = set()
    parts = _encoder_parts(model.encoder, "", (), 0, taken)
    for branch in model.branches:
        parts += _encoder_parts(branch.encoder, f"{branch.name}: ", branch.tasks, branch.start, taken)
    for name in model.heads:
        modules = [model.heads[name], *([model.mixes[name]] if name in model.mixes else [])]
        parts.append(_part(f"head {name}", "head", model.encoder.depth, (name,), modules, taken))
    return [part for part in parts if part.parameters]


def _encoder_parts(encoder: Encoder, prefix: str, tasks: tuple[str, ...], start: int, taken: set[int]) -> list[Part]:
    """Embeddings, layers, and whatever is left (final norms, relative positions), which goes with the top layer."""
    layers = encoder.layer_modules()
    parts = [_part(f"{prefix}embeddings", "embeddings", -1, tasks, [encoder.embedding_module()], taken)]
    for i in range(start, len(layers)):
        parts.append(_part(f"{prefix}layer {i}", "layer", i, tasks, [layers[i]], taken))
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
