"""Frozen bottom layers in training: their output is read from the store, or computed once and stored."""

from __future__ import annotations

import torch

from manyheads.model import MultiTaskModel
from manyheads.text.pack import Pack
from manyheads.training.frozen_store import FrozenStore, digests_of


def frozen_layers(model: MultiTaskModel) -> int:
    """The number of bottom layers, shared by all tasks, that neither train nor have dropout; 0 where the embeddings do.

    0 for a model with layer mixes, which need the output of every layer.
    """
    encoder = model.encoder
    if model.mixes or not _is_inactive(encoder.embedding_module()):
        return 0
    layers = encoder.layer_modules()
    count = next((i for i, layer in enumerate(layers) if not _is_inactive(layer)), len(layers))
    if count == len(layers) and not _is_inactive(encoder):
        count -= 1  # modules after the layers, such as a final norm, belong to the last one
    return min(count, model.fork)


class Frozen:
    """Hidden states of any pack below layer `layer`."""

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


def _is_inactive(module: torch.nn.Module) -> bool:
    """Whether nothing in a module trains or has active dropout. The mode of containers does not matter."""
    leaves = (inner for inner in module.modules() if next(inner.children(), None) is None)
    return not any(leaf.training for leaf in leaves) and not any(p.requires_grad for p in module.parameters())
