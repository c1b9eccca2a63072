"""Adapters at the end of training: merged into the weights, or saved beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from manyheads.bundle import SHARED, Base, UnmergedAdapters
from manyheads.nn.lora import Adapter, Lora, adapters_of, merge, take_adapter

if TYPE_CHECKING:
    import torch

    from manyheads.model import MultiTaskModel


@dataclass(frozen=True, slots=True)
class Adapters:
    """The adapters of a run, and how they are saved."""

    lora: Lora
    encoder_name: str
    unmerged: bool
    """Saved beside the base weights instead of merged into them."""
    base: Base | None
    """Set: the base weights are not saved."""

    def settle(self, model: MultiTaskModel) -> UnmergedAdapters | None:
        """Merge all adapters in place, so that the model is scored as it will be loaded; returns those to save unmerged."""
        taken: dict[str, Adapter] = {}
        weights: dict[str, torch.Tensor] = {}
        holders = [(branch.name, branch.encoder) for branch in model.branches] or [(SHARED, model.encoder)]
        for name, encoder in holders:
            if not adapters_of(encoder):
                continue
            taken[name] = take_adapter(encoder, self.lora, self.encoder_name)
            replaced = merge(encoder)
            weights |= replaced if encoder is model.encoder else {}
        return UnmergedAdapters(taken, weights, self.base) if self.unmerged else None
