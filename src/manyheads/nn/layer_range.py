"""Runs a stock model on some of its layers without knowing its code.

The model's own forward pass goes over stand-ins for the layers that are not wanted. Stand-ins live in shallow copies that
share every parameter, so neither the model nor its state dict ever changes, and threads do not meet.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from manyheads.errors import EncoderError
from manyheads.nn.families import layer_place, supported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class LayerRange:
    """A stock model on a padded rectangle, from any of its layers to any other.

    Raises EncoderError when the model does not call its layers once each, in order, hidden states first.
    """

    def __init__(self, model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> None:
        """Learns from one pass over `inputs` what layers return and whether embeddings go straight into the first."""
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
        """The input of the first layer, `(S, L, D)`."""
        return self._between(None, inputs, 0, 0)

    def layers(
        self, hidden_SLD: torch.Tensor, inputs: Mapping[str, torch.Tensor], start: int, stop: int
    ) -> torch.Tensor:
        """Layers `start` to `stop - 1`; when `stop` is the depth, also what the model does after them."""
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

    def _layers(self) -> Any:
        return self._model.get_submodule(self._place)

    def _run(
        self, layers: list[nn.Module], below: Callable[..., Any] | None, inputs: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        view = _with(self._model, self._place, nn.ModuleList(layers))
        if below is not None and hasattr(view, "embeddings"):
            view = _with(view, "embeddings", _Stand(view.embeddings, below))
        out: torch.Tensor = view(**inputs)[0]
        return out


class _Stand(nn.Module):
    """Answers in the place of a module; attributes are the module's own."""

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


def _with(model: nn.Module, place: str, module: nn.Module) -> Any:
    """The model with another module at a place: shallow copies along the way, everything else shared."""
    view = copy.copy(model)
    name, _, rest = place.partition(".")
    inner = _with(model._modules[name], rest, module) if rest else module  # type: ignore[arg-type]
    view.__dict__["_modules"] = {**model._modules, name: inner}
    return view


def _first(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    return args[0] if args else kwargs.get("hidden_states")
