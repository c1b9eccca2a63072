"""What we know of transformers' encoder families, and how a stock model is run on some of its layers.

Decided here: a family counts as an encoder when transformers trains it by filling in masks, and it has no decoder. Where
its layers are is looked up in the few places that transformers uses. `Excerpt` runs a stock model on a range of its
layers without knowing its code: the model's own forward pass goes over stand-ins for the layers that are not wanted.
Stand-ins live in shallow copies that share every parameter, so neither the model nor its state dict ever changes, and
threads do not meet.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from manyheads.errors import EncoderError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PACKED = frozenset({"bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "modernbert"})
"""Families that run on packs: attention is the only thing in them that looks at neighbours."""
PADDED = frozenset({"mpnet", "deberta-v2"})
"""Families that run padded and are tested; others are tried when they are loaded."""
UNFIT = {"big_bird": "its attention skips blocks, which ones depends on the length of the longest sequence"}
"""Encoders that load but would answer differently in other company."""
PLACES = ("encoder.layer", "transformer.layer", "layers", "encoder.layers")
LEFTOVERS = ("position_ids", "token_type_ids", "inv_freq")
"""Buffers that older versions of transformers wrote into checkpoints."""


def supported() -> str:
    """The families that are tested, for messages."""
    return f"use one of {', '.join(sorted(PACKED | PADDED))}"


def check_family(config: Any) -> None:
    """Raise EncoderError unless the configuration is that of a text encoder."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    family = config.model_type
    if getattr(config, "is_encoder_decoder", False) or getattr(config, "is_decoder", False):
        raise EncoderError(f"a model of the family '{family}' with a decoder is not an encoder; {supported()}")
    if family not in PACKED | PADDED and family not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        raise EncoderError(f"models of the family '{family}' are no text encoders (decoder-only, or not for text); "
                           f"{supported()}")  # fmt: skip
    if family in UNFIT:
        raise EncoderError(f"encoders of the family '{family}' are not supported: {UNFIT[family]}; {supported()}")


def layer_place(model: nn.Module) -> tuple[str, ...]:
    """The names that lead from the model to its list of layers. Raises EncoderError where there is no such list."""
    for place in PLACES:
        found: Any = model
        for name in place.split("."):
            found = getattr(found, name, None)
        if isinstance(found, nn.ModuleList) and len(found):
            return tuple(place.split("."))
    family = getattr(model.config, "model_type", type(model).__name__)
    raise EncoderError(f"encoders of the family '{family}' have layers where we do not find them; {supported()}")


def positions_spent(model: Any) -> int:
    """Positions below that of the first token: `padding_idx + 1` in the RoBERTa family and MPNet, else 0."""
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return 0 if padding is None else padding + 1


def is_of_encoder(key: str, model: Any) -> bool:
    """Whether a checkpoint's entry lies inside a part that the encoder has (else: in a pooler or a head)."""
    part = key.removeprefix(f"{model.base_model_prefix}.").split(".")[0]
    return part in dict(model.named_children()) and not key.endswith(LEFTOVERS)


class Excerpt:
    """Runs a stock model on a range of its layers, on a padded rectangle.

    Raises EncoderError when the model does not call its layers once each, in order, hidden states first.
    """

    def __init__(self, model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> None:
        """Learns from one pass over `inputs` what layers give back and whether embeddings go straight into the first."""
        self._model = model
        self._place = layer_place(model)
        self._depth = len(self._layers())
        heard: list[tuple[int, Any, Any]] = []
        embedded: list[Any] = []

        def listen(index: int) -> Callable[..., Any]:
            def answer(layer: nn.Module, args: Any, kwargs: Any) -> Any:
                out = layer(*args, **kwargs)
                heard.append((index, _first(args, kwargs), out))
                return out

            return answer

        def listen_below(module: nn.Module, args: Any, kwargs: Any) -> Any:
            embedded.append(module(*args, **kwargs))
            return embedded[-1]

        self._run([_Stand(layer, listen(i)) for i, layer in enumerate(self._layers())], listen_below, inputs)
        if [index for index, _, _ in heard] != list(range(self._depth)) or any(
            not isinstance(hidden, torch.Tensor) for _, hidden, _ in heard
        ):
            family = getattr(model.config, "model_type", "?")
            raise EncoderError(f"encoders of the family '{family}' do not run their layers one by one; {supported()}")
        self._straight = len(embedded) == 1 and heard[0][1] is embedded[0]
        self._extras = len(heard[0][2]) - 1 if isinstance(heard[0][2], tuple) else -1

    def embed(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """What the first layer reads, `(S, L, D)`."""
        return self._between(None, inputs, 0, 0)

    def layers(
        self, hidden_SLD: torch.Tensor, inputs: Mapping[str, torch.Tensor], start: int, stop: int
    ) -> torch.Tensor:
        """Layers `start` to `stop - 1`, and when `stop` is the depth whatever the model does after them."""
        return self._between(hidden_SLD, inputs, start, stop)

    def _between(
        self, hidden_SLD: torch.Tensor | None, inputs: Mapping[str, torch.Tensor], start: int, stop: int
    ) -> torch.Tensor:
        seen: list[torch.Tensor] = []

        def enter(layer: nn.Module, args: Any, kwargs: Any) -> Any:
            if args:
                return layer(hidden_SLD, *args[1:], **kwargs)
            return layer(**{**kwargs, "hidden_states": hidden_SLD})

        def skip(_: nn.Module, args: Any, kwargs: Any) -> Any:
            hidden = _first(args, kwargs)
            return hidden if self._extras < 0 else (hidden, *[None] * self._extras)

        def leave(layer: nn.Module, args: Any, kwargs: Any) -> Any:
            seen.append(_first(args, kwargs))
            return skip(layer, args, kwargs)

        shown: list[nn.Module] = []
        for i, layer in enumerate(self._layers()):
            answer = leave if i == stop else enter if i == start < stop else None if start < i < stop else skip
            shown.append(layer if answer is None else _Stand(layer, answer))
        given = None if hidden_SLD is None or not self._straight else lambda *_: hidden_SLD
        out = self._run(shown, given, inputs)
        return out if stop == self._depth else seen[0]

    def _layers(self) -> nn.ModuleList:
        found: Any = self._model
        for name in self._place:
            found = getattr(found, name)
        return found

    def _run(
        self, layers: list[nn.Module], below: Callable[..., Any] | None, inputs: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        view = _with(self._model, self._place, nn.ModuleList(layers))
        if below is not None and hasattr(view, "embeddings"):
            view = _with(view, ("embeddings",), _Stand(view.embeddings, below))
        out: torch.Tensor = view(**inputs)[0]
        return out


class _Stand(nn.Module):
    """Stands where a module stood and answers for it; for its attributes the module itself is asked."""

    def __init__(self, module: nn.Module, answer: Callable[..., Any]) -> None:
        super().__init__()
        self.stood, self._answer = module, answer

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("stood"), name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The answer."""
        return self._answer(self.stood, args, kwargs)


def _with(model: nn.Module, place: tuple[str, ...], module: nn.Module) -> Any:
    """The model with another module at a place: shallow copies along the way, everything else shared."""
    view = copy.copy(model)
    name, rest = place[0], place[1:]
    inner = _with(model._modules[name], rest, module) if rest else module  # type: ignore[arg-type]
    view.__dict__["_modules"] = {**model._modules, name: inner}
    return view


def _first(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    return args[0] if args else kwargs.get("hidden_states")
