"""The encoder on batches of padded rows, as transformers itself runs it: for exported graphs and for users' own code.

Decided here:
- Attention is written out ("eager"): ONNX Runtime fuses plain matrix products best, and int8 replaces them.
- Positions are passed in if the model would derive them from ids, because texts may spell the padding token.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from manyheads.nn.encoder import Encoder
from manyheads.nn.layer_range import LayerRange
from manyheads.nn.pooling import Rows
from manyheads.text.pack import IDS, MASK, TYPES


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """Takes the place of a pack: inputs of a transformers model, rows padded to one length."""

    inputs: Mapping[str, torch.Tensor]
    segments: Rows

    @staticmethod
    def of(inputs: Mapping[str, torch.Tensor]) -> PaddedBatch:
        """The batch of `input_ids`, `attention_mask` and perhaps `token_type_ids`, `(S, L)` each."""
        return PaddedBatch(inputs, Rows(inputs[MASK]))

    def part(self, first: int, stop: int) -> PaddedBatch:
        """All rows."""
        return self


class BatchEncoder(Encoder):
    """A transformers encoder on padded batches; hidden states are `(S * L, D)`."""

    def __init__(self, model: nn.Module) -> None:
        """Raises EncoderError as `LayerRange` does."""
        super().__init__(model)
        self.config._attn_implementation = "eager"
        self._takes = frozenset(inspect.signature(self.model.forward).parameters)
        device = next(model.parameters()).device
        example = {key: value.to(device) for key, value in example_inputs(self.config).items()}
        self._layer_range = LayerRange(model, self._inputs(PaddedBatch.of(example)))

    def embed(self, pack: Any) -> torch.Tensor:
        """The input of the first layer."""
        return self._layer_range.embed(self._inputs(pack)).flatten(0, 1)

    def layers(self, hidden_TD: torch.Tensor, pack: Any, start: int, stop: int) -> torch.Tensor:
        """Layers `start` to `stop - 1`."""
        if start == stop:
            return hidden_TD
        hidden_SLD = hidden_TD.view(*pack.segments.mask_SL.shape, self.width)
        return self._layer_range.layers(hidden_SLD, self._inputs(pack), start, stop).flatten(0, 1)

    def forward(self, pack: Any) -> torch.Tensor:
        """All layers."""
        hidden_SLD: torch.Tensor = self.model(**self._inputs(pack))[0]
        return hidden_SLD.flatten(0, 1)

    def _inputs(self, pack: PaddedBatch) -> dict[str, torch.Tensor]:
        ids_SL = pack.inputs[IDS]
        inputs = {IDS: ids_SL, MASK: pack.inputs[MASK]}
        if TYPES in self._takes:
            inputs[TYPES] = pack.inputs.get(TYPES, torch.zeros_like(ids_SL))
        if "position_ids" in self._takes and self.config.model_type not in ("modernbert", "mpnet"):
            position_L = torch.arange(ids_SL.shape[1], device=ids_SL.device) + self.position_offset
            inputs["position_ids"] = position_L.expand(ids_SL.shape)
        return inputs


def input_names(encoder: Encoder) -> tuple[str, ...]:
    """Inputs that the encoder needs; token types only if it has more than one."""
    typed = getattr(encoder.config, "type_vocab_size", 0) > 1
    takes_types = typed and TYPES in inspect.signature(encoder.model.forward).parameters
    return (IDS, MASK, TYPES) if takes_types else (IDS, MASK)


def example_inputs(config: Any) -> dict[str, torch.Tensor]:
    """Rows of two lengths, with all inputs. Sizes differ from each other and from 1, to be taken as dynamic."""
    padding = getattr(config, "pad_token_id", None) or 0
    ids = [i for i in range(min(config.vocab_size, 64)) if i != padding]
    ids_SL = torch.tensor([[ids[(r + c) % len(ids)] for c in range(7)] for r in range(3)])
    mask_SL = torch.ones_like(ids_SL)
    mask_SL[1, 5:] = 0
    ids_SL = ids_SL.masked_fill(mask_SL == 0, padding)
    return {IDS: ids_SL, MASK: mask_SL, TYPES: torch.zeros_like(ids_SL)}
