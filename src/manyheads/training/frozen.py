"""Frozen bottom layers in training: their output is read from the store, or computed once and put there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from manyheads.training.store import digests_of

if TYPE_CHECKING:
    from manyheads.model import MultiTaskModel
    from manyheads.text.pack import Pack
    from manyheads.training.store import FrozenStore


def frozen_layers(model: MultiTaskModel) -> int:
    """How many layers from the bottom, with the embeddings, neither train nor drop out; at most those all tasks share.

    0 for a model that mixes its layers: that needs the output of each of them.
    """
    encoder = model.encoder
    if model.mixes or not _still(encoder.embedding_module()):
        return 0
    layers = encoder.layer_modules()
    count = next((i for i, layer in enumerate(layers) if not _still(layer)), len(layers))
    if count == len(layers) and not _still(encoder):
        count -= 1  # what runs after the layers, a final norm, goes with the last one
    return min(count, model.fork)


class Frozen:
    """Hidden states under layer `layer` of any pack."""

    def __init__(self, model: MultiTaskModel, layer: int, store: FrozenStore) -> None:
        """`store`: of this encoder's first `layer` layers."""
        self.model = model
        self.layer = layer
        self.store = store

    @torch.no_grad()
    def states(self, pack: Pack) -> torch.Tensor:
        """The output of the frozen layers, `(T, D)`, for a pack on the CPU."""
        names = digests_of(pack)
        known = self.store.known(names)
        if all(known):
            return self.store.read(names)
        missing = {name: s for s, (name, there) in enumerate(zip(names, known, strict=True)) if not there}
        some = pack.only(list(missing.values()))
        computed_TD = self.model.below(some, self.layer)[-1].float()
        lengths = some.segments.lengths
        self.store.write(list(missing), computed_TD, lengths)
        there = {name: s for s, (name, found) in enumerate(zip(names, known, strict=True)) if found}
        parts = dict(zip(missing, computed_TD.split_with_sizes(list(lengths)), strict=True))
        if there:
            sizes = [pack.segments.lengths[s] for s in there.values()]
            parts |= dict(zip(there, self.store.read(list(there)).split_with_sizes(sizes), strict=True))
        return torch.cat([parts[name] for name in names])


def _still(module: torch.nn.Module) -> bool:
    """Whether nothing in a module trains or drops out. Containers do neither, whatever their mode says."""
    leaves = (inner for inner in module.modules() if next(inner.children(), None) is None)
    return not any(leaf.training for leaf in leaves) and not any(p.requires_grad for p in module.parameters())
