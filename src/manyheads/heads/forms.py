"""What a new task may own of a model: its head, upper layers, or low-rank adapters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from manyheads.errors import UsageError

if TYPE_CHECKING:
    from manyheads.nn.encoder import Encoder

@dataclass(frozen=True, slots=True)
class Form:
    """One answer to "what may the task train?".

    >>> Form.parse("top:2"), str(Form.parse("head"))
    (Form(kind='top', layers=2), 'head')
    """

    kind: Literal["head", "top", "lora"]
    layers: int = 0
    """Upper layers, for `top`."""

    @staticmethod
    def parse(text: str) -> Form:
        """`head`, `top:N` or `lora`. Raises UsageError."""
        kind, _, count = text.partition(":")
        if text == "head":
            return Form("head")
        if text == "lora":
            return Form("lora")
        if kind == "top" and count.isascii() and count.isdigit() and int(count):
            return Form("top", int(count))
        raise UsageError(f"--own {text!r:.40} is none of head, top:N (such as top:2), lora, auto")

    def __str__(self) -> str:
        """As `parse` reads it."""
        return f"top:{self.layers}" if self.kind == "top" else self.kind

    def passes(self, depth: int) -> float:
        """Encoder passes for a text that this task and the shared ones answer."""
        return {"head": 1.0, "top": 1 + self.layers / depth, "lora": 2.0}[self.kind]

    def settings(self, depth: int, *, has_weights: bool = True) -> dict[str, Any]:
        """Keys of `training`: everything else of the encoder is frozen. `has_weights`: whether the head has any."""
        if self.kind == "head" and not has_weights:
            return {"fit_heads": True, "phases": None, "freeze": "all"}
        if self.kind == "lora":  # its base is frozen as it is
            return {"fit_heads": True, "phases": None, "freeze": None}
        freeze = {"layers": depth - self.layers} if self.layers else {"encoder": True}
        return {"fit_heads": True, "phases": None, "freeze": freeze}


def forms_of(encoder: Encoder) -> list[Form]:
    """The forms to try, cheapest first: the head, then more and more upper layers; adapters cost as much as all layers.

    Encoders whose layers share position biases (MPNet, DeBERTa) can give a task all layers or none.
    """
    from manyheads.nn.encoder import PackedEncoder

    depth = encoder.depth
    if not isinstance(encoder, PackedEncoder):
        return [Form("head"), Form("top", depth)]
    counts = sorted({1, 2, 3, depth // 2, 2 * depth // 3, depth} & set(range(1, depth + 1)))
    return [Form("head"), *(Form("top", count) for count in counts)]


def check_form(form: Form, encoder: Encoder) -> None:
    """Raise UsageError for more layers than there are, or a part of them where positions allow only all."""
    from manyheads.nn.encoder import PackedEncoder

    if form.layers > encoder.depth:
        raise UsageError(f"--own {form}: the encoder has {encoder.depth} layers")
    if 0 < form.layers < encoder.depth and not isinstance(encoder, PackedEncoder):
        raise UsageError(f"--own {form}: all layers of this encoder share position biases; give head or top:{encoder.depth}")
