"""Encoders whose attention cannot be replaced (relative position biases: MPNet, DeBERTa): padded inside, packed outside.

A family that is not tested is tried when it is loaded, and refused if padding changes its answers.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from manyheads.errors import EncoderError, first_line
from manyheads.nn.attention import rectangle
from manyheads.nn.encoder import Encoder
from manyheads.nn.families import PADDED, supported
from manyheads.nn.layer_range import LayerRange
from manyheads.text.pack import Pack, Segments


class PaddedEncoder(Encoder):
    """Runs the stock model on a padded rectangle."""

    def __init__(self, model: nn.Module) -> None:
        """Tries a small pack. Raises EncoderError when layers cannot be run by range, or padding changes answers."""
        super().__init__(model)
        known = inspect.signature(self.model.forward).parameters
        self._takes_types = "token_type_ids" in known and getattr(self.config, "type_vocab_size", 0) > 1
        family = self.config.model_type
        if "attention_mask" not in known:
            raise EncoderError(f"encoders of the family '{family}' read their padding; {supported()}")
        training = model.training
        self.eval()
        try:
            with torch.no_grad():
                self._range = LayerRange(model, self._inputs(_trial((5, 3), self.config))[0])
                works = family in PADDED or self._passes()
        except (TypeError, ValueError, RuntimeError, IndexError, AttributeError, AssertionError) as error:
            raise EncoderError(f"encoders of the family '{family}' do not run here ({first_line(error)}); {supported()}"
                               ) from None  # fmt: skip
        if not works:
            raise EncoderError(f"encoders of the family '{family}' answer differently when a text is padded, or when "
                               f"layers are run by range; {supported()}")  # fmt: skip
        self.train(training)

    def embed(self, pack: Pack) -> torch.Tensor:
        """What the stock model computes before its first layer."""
        self._check_lengths(pack)
        inputs, place_T = self._inputs(pack)
        return self._range.embed(inputs).flatten(0, 1).index_select(0, place_T)

    def layers(self, hidden_TD: torch.Tensor, pack: Pack, start: int, stop: int) -> torch.Tensor:
        """The stock model on a rectangle, from one layer to another."""
        if start == stop:
            return hidden_TD
        inputs, place_T = self._inputs(pack)
        rows = inputs["input_ids"].shape
        full = hidden_TD.new_zeros((rows.numel(), self.width)).index_copy(0, place_T, hidden_TD)
        hidden_SLD = self._range.layers(full.view(*rows, self.width), inputs, start, stop)
        return hidden_SLD.flatten(0, 1).index_select(0, place_T)

    def forward(self, pack: Pack) -> torch.Tensor:
        """The stock model's own forward pass on a rectangle."""
        self._check_lengths(pack)
        inputs, place_T = self._inputs(pack)
        hidden_SLD: torch.Tensor = self.model(**inputs)[0]
        return hidden_SLD.flatten(0, 1).index_select(0, place_T)

    def _inputs(self, pack: Pack) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Inputs of the stock model, and the place of each token in the rectangle."""
        place_T, mask_SL = rectangle(pack.segments, pack.ids_T.device)
        ids = pack.ids_T.new_full((mask_SL.numel(),), self.pad_id).index_copy(0, place_T, pack.ids_T)
        inputs = {"input_ids": ids.view_as(mask_SL), "attention_mask": mask_SL.long()}
        if self._takes_types:
            types = torch.zeros_like(ids).index_copy(0, place_T, pack.type_T)
            inputs["token_type_ids"] = types.view_as(mask_SL)
        return inputs, place_T

    def _passes(self) -> bool:
        """Whether a sequence gives the same states alone as in company, and layers the same one by one as at once."""
        pack, alone = _trial((5, 3), self.config), _trial((3,), self.config)
        whole = self(pack)
        parts = self.layers(self.layers(self.embed(pack), pack, 0, 1), pack, 1, self.depth)
        near = 1e-4 * float(whole.abs().max())
        return bool(torch.allclose(whole[-3:], self(alone), atol=near) and torch.allclose(whole, parts, atol=near))


def _trial(lengths: tuple[int, ...], config: Any) -> Pack:
    """A pack of ids that are not padding; the last three are always the same."""
    padding = getattr(config, "pad_token_id", None)
    ids = [i for i in range(min(config.vocab_size, 16)) if i != padding]
    ids_T = torch.tensor([ids[-1 - i % len(ids)] for i in range(sum(lengths))][::-1])
    positions = [i for length in lengths for i in range(length)]
    return Pack(ids_T, torch.tensor(positions), torch.zeros_like(ids_T), Segments.of(lengths))
