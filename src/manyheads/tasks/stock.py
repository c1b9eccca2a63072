"""A head in other libraries: a class of transformers ("stock class"), or modules of sentence-transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Linear = tuple["torch.Tensor", "torch.Tensor"]
"""Weight and bias."""
FOLDER = '"path/to/this/folder"'
"""Placeholder in usage examples."""


@dataclass(frozen=True, slots=True)
class StockClass:
    """A class of transformers, the weights to load into it, and how to use it."""

    auto: str
    """Its auto class, such as `AutoModelForTokenClassification`."""
    layers: Mapping[str, Linear]
    """Linear layers by their names in the class."""
    outputs: Mapping[str, str]
    """Outputs of the class, with the head's outputs that they must equal."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Settings added to the encoder's."""
    temperature: float = 1.0
    """Divisor of the head's outputs in the class."""
    pairs: bool = False
    """Whether it reads pairs of texts."""
    use: Sequence[str] = ()
    """Lines of Python that use an exported folder."""
    differs: Sequence[str] = ()
    """Sentences on how its answers differ from manyheads'."""


@dataclass(frozen=True, slots=True)
class SentenceModule:
    """A module of a sentence-transformers folder."""

    kind: str
    """`Pooling`, `Dense`, `LayerNorm`, `Normalize`."""
    config: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, torch.Tensor] = field(default_factory=dict)


def linear_of(module: Any) -> Linear:
    """A copy of a linear layer's weight and bias."""
    return module.weight.detach().clone(), module.bias.detach().clone()


def labels_config(names: Sequence[str]) -> dict[str, Any]:
    """`id2label` and `label2id`."""
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
