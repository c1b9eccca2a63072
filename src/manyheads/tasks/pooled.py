"""What task types share that answer a text, or a pair of texts, from its pooled vector: encoding, windows, and the head.

A type adds its settings, how rows are read, what its numbers mean, and its loss and scores.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, Protocol, TypeVar

import numpy as np
from annotated_types import Gt

from manyheads.errors import RowError
from manyheads.tasks.base import Array, EncoderInput, Item, Level, Output, Row, Task, merged, text_of, window_owners
from manyheads.tasks.settings import Doc, Dropout, Pooling, Stride
from manyheads.text.pack import Source
from manyheads.text.values import check_spelling, first_given, key_of, optional_text

if TYPE_CHECKING:
    import torch
    from torch import nn

    from manyheads.text.pack import Encoding


class Textual(Protocol):
    """An example that is a text, perhaps with a second one, of a document."""

    @property
    def text(self) -> str:
        """The first."""
        ...

    @property
    def pair(self) -> str | None:
        """The second."""
        ...

    @property
    def document(self) -> str:
        """Empty where it stands alone."""
        ...


TextT = TypeVar("TextT", bound=Textual)
GoldT = TypeVar("GoldT")


@dataclass(frozen=True, kw_only=True)
class TextTask(Task[TextT]):
    """A task whose head gives `size` numbers for each text. Windows of a long text are merged by their tokens."""

    pooling: Pooling = "mean"
    dropout: Dropout = 0.1
    hidden: Annotated[int | None, Gt(0), Doc("width of a hidden layer in the head")] = None
    """Width of one hidden layer between pooling and outputs; None for a linear head."""
    stride: Stride = 64

    @property
    @abstractmethod
    def size(self) -> int:
        """Numbers for each text."""

    @property
    def outputs(self) -> Mapping[str, Level]:
        """Numbers for each window."""
        return {"logits_SK": "sequence"}

    def cluster(self, example: TextT) -> str:
        """The document, where rows name one."""
        return example.document

    def sources_of_example(self, example: TextT) -> Sequence[EncoderInput]:
        """The text, with its second one."""
        return [EncoderInput(Source(example.text, example.pair, stride=self.stride))]

    def source_of_row(self, row: Row) -> EncoderInput | None:
        """`text`, and `text_pair` if it is there."""
        pair = optional_text(row.get("text_pair"), "text_pair")
        return EncoderInput(Source(text_of(row), pair, stride=self.stride))

    def build_head(self, width: int) -> nn.Module:
        """Pooling, dropout, and a linear layer or one with a hidden layer before it."""
        from manyheads.nn.heads import PooledHead

        return PooledHead(width, self.size, pooling=self.pooling, dropout=self.dropout, hidden=self.hidden)

    def logits(self, items: Sequence[Item]) -> np.ndarray:
        """The head's numbers for each item, `(B, K)` float64."""
        if not items:
            return np.zeros((0, self.size))
        owner_S, share_S = window_owners([item.encodings for item in items])
        found: list[Any] = [output["logits_SK"] for item in items for output in item.outputs]
        logits_BK = np.zeros((len(items), self.size))
        np.add.at(logits_BK, owner_S, np.concatenate(found).astype(np.float64) * share_S[:, None])
        return logits_BK


@dataclass(frozen=True, slots=True)
class Text(Generic[GoldT]):
    """A text, perhaps a second one, and what is known of it."""

    text: str
    pair: str | None
    gold: GoldT
    document: str = ""


@dataclass(frozen=True, kw_only=True)
class PooledTask(TextTask[Text[GoldT]]):
    """A `TextTask` that says what is known of a text (`gold`), and what that is in arrays (`golds`)."""

    @abstractmethod
    def gold(self, row: Row) -> GoldT:
        """What a labelled row says of its text. Raises RowError."""

    @abstractmethod
    def golds(self, examples: Sequence[Text[GoldT]]) -> Array:
        """The same of several texts for `loss`, which finds it under `gold`: one row each."""

    def read(self, row: Row) -> Text[GoldT]:
        """`text`, optional `text_pair` and `document`, and what `gold` reads."""
        return Text(*text_and_pair(row), self.gold(row), document_of(row))

    def row_of_target(self, row: Row, target: Any) -> Row:
        """Columns of the task as an object, or what stands in the second of its columns."""
        own = target if isinstance(target, Mapping) else {self.columns[0][1]: target}
        return {**shared_keys(row), **own}

    def targets(
        self, examples: Sequence[Text[GoldT]], encodings: Sequence[Sequence[Sequence[Encoding]]]
    ) -> dict[str, Array]:
        """`owner_S` text of each window, `share_S` its weight there, and `gold`."""
        owner_S, share_S = window_owners([asked[0] for asked in encodings])
        return {"owner_S": owner_S, "share_S": share_S, "gold": self.golds(examples)}

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Texts."""
        return float(len(targets["gold"]))

    def of_texts(self, output: Output, targets: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The head's numbers for each text of a batch, `(B, K)`, with their gradient."""
        return merged(output["logits_SK"], targets["owner_S"], targets["share_S"], len(targets["gold"]))


def text_and_pair(row: Row) -> tuple[str, str | None]:
    """`text` and `text_pair` of a labelled row. Raises RowError."""
    text = text_of(row)
    if not text.strip():
        raise RowError("has an empty 'text'; there is nothing to learn from it")
    pair = optional_text(row.get("text_pair"), "text_pair")
    check_spelling(row, ("text_pair", "document"))
    return text, pair


def document_of(row: Row) -> str:
    """`document`, or nothing."""
    return key_of(row.get("document"), "document")


def shared_keys(row: Row) -> dict[str, Any]:
    """What a row of several tasks says for each: its text, and its id as document where it names none."""
    shared = {key: row[key] for key in ("text", "tokens", "text_pair") if row.get(key) is not None}
    return {**shared, "document": first_given(row.get("document"), row.get("id"))}
