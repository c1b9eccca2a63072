"""Tasks on the pooled vector of a text or pair of texts: their inputs, windows and head.

A task type adds its settings, how rows are read, what the numbers of the head mean, its loss and its scores.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, Protocol, TypeVar

import numpy as np
from annotated_types import Gt

from manyheads.errors import RowError
from manyheads.tasks.base import Array, EncoderInput, Encodings, Item, Level, Output, Row, Task, text_of
from manyheads.tasks.inputs import merge_outputs, merge_windows, window_weights
from manyheads.tasks.settings import Doc, Dropout, Pooling, Stride
from manyheads.text.pack import Source
from manyheads.text.values import check_spelling, first_given, key_of, optional_text

if TYPE_CHECKING:
    import torch
    from torch import nn



class Textual(Protocol):
    """An example with a text, and possibly a second one and a document."""

    @property
    def text(self) -> str:
        """The first text."""

    @property
    def pair(self) -> str | None:
        """The second text."""

    @property
    def document(self) -> str:
        """Empty if unknown."""


TextT = TypeVar("TextT", bound=Textual)
GoldT = TypeVar("GoldT")


@dataclass(frozen=True, kw_only=True)
class TextTask(Task[TextT]):
    """A task whose head gives `size` numbers per text. Windows of a long text are averaged, weighted by their tokens."""

    pooling: Pooling = "mean"
    dropout: Dropout = 0.1
    hidden: Annotated[int | None, Gt(0), Doc("width of a hidden layer in the head")] = None
    """Width of one hidden layer between pooling and outputs; None for a linear head."""
    stride: Stride = 64

    @property
    @abstractmethod
    def size(self) -> int:
        """Numbers per text."""

    @property
    def outputs(self) -> Mapping[str, Level]:
        """Numbers per window."""
        return {"logits_SK": "sequence"}

    def cluster(self, example: TextT) -> str:
        """The document, if rows name one."""
        return example.document

    def sources_of_example(self, example: TextT) -> Sequence[EncoderInput]:
        """The text, with the second one if there is one."""
        return [EncoderInput(Source(example.text, example.pair, stride=self.stride))]

    def source_of_row(self, row: Row) -> EncoderInput | None:
        """`text`, and `text_pair` if present."""
        pair = optional_text(row.get("text_pair"), "text_pair")
        return EncoderInput(Source(text_of(row), pair, stride=self.stride))

    def build_head(self, width: int) -> nn.Module:
        """Pooling, dropout, and a linear layer, after a hidden one if set."""
        from manyheads.nn.heads import PooledHead

        return PooledHead(width, self.size, pooling=self.pooling, dropout=self.dropout, hidden=self.hidden)

    def logits(self, items: Sequence[Item]) -> np.ndarray:
        """The head's numbers for each item, `(B, K)` float64."""
        return merge_outputs(items, "logits_SK", np.float64) if items else np.zeros((0, self.size))


@dataclass(frozen=True, slots=True)
class Text(Generic[GoldT]):
    """A text, possibly with a second one, and its gold value."""

    text: str
    pair: str | None
    gold: GoldT
    document: str = ""


@dataclass(frozen=True, kw_only=True)
class PooledTask(TextTask[Text[GoldT]]):
    """A `TextTask` defined by how a row's gold value is read (`read_gold`), and its array for the loss (`gold_array`)."""

    @abstractmethod
    def read_gold(self, row: Row) -> GoldT:
        """The gold value of a labelled row. Raises RowError."""

    @abstractmethod
    def gold_array(self, examples: Sequence[Text[GoldT]]) -> Array:
        """Gold values as an array, one row per text. `loss` finds it in its targets as `gold`."""

    def read(self, row: Row) -> Text[GoldT]:
        """`text`, optional `text_pair` and `document`, and the gold value."""
        return Text(*text_and_pair(row), self.read_gold(row), document_of(row))

    def row_of_target(self, row: Row, target: Any) -> Row:
        """An object of the task's columns, or the value of the second of them."""
        own = target if isinstance(target, Mapping) else {self.columns[0][1]: target}
        return {**shared_keys(row), **own}

    def targets(self, examples: Sequence[Text[GoldT]], encodings: Encodings) -> dict[str, Array]:
        """`owner_S` text of each window, `share_S` its weight there, and `gold`."""
        owner_S, share_S = window_weights([asked[0] for asked in encodings])
        return {"owner_S": owner_S, "share_S": share_S, "gold": self.gold_array(examples)}

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Number of texts."""
        return float(len(targets["gold"]))

    def text_logits(self, output: Output, targets: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The head's numbers for each text of a batch, `(B, K)`, differentiable."""
        return merge_windows(output["logits_SK"], targets["owner_S"], targets["share_S"], len(targets["gold"]))


def text_and_pair(row: Row) -> tuple[str, str | None]:
    """`text` and `text_pair` of a labelled row. Raises RowError."""
    text = text_of(row)
    if not text.strip():
        raise RowError("has an empty 'text'; there is nothing to learn from it")
    pair = optional_text(row.get("text_pair"), "text_pair")
    check_spelling(row, ("text_pair", "document"))
    return text, pair


def document_of(row: Row) -> str:
    """`document`, or an empty string."""
    return key_of(row.get("document"), "document")


def shared_keys(row: Row) -> dict[str, Any]:
    """Keys of a row of several tasks that each task reads: its texts, and as document its `document` or else its id."""
    shared = {key: row[key] for key in ("text", "tokens", "text_pair") if row.get(key) is not None}
    return {**shared, "document": first_given(row.get("document"), row.get("id"))}
