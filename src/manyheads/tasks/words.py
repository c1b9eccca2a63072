"""Tasks that tag words: their inputs, and which piece of which window stands for each word in training and in answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

import numpy as np

from manyheads.errors import UsageError
from manyheads.tasks.base import Array, EncoderInput, Encodings, Item, Row, Task, text_of
from manyheads.text.joining import joined
from manyheads.text.pack import Encoding, Source
from manyheads.text.windows import owned
from manyheads.text.words import first_pieces, places_in_pieces, within


class Words(Protocol):
    """An example with a text, whose words may be given."""

    @property
    def text(self) -> str:
        """The text."""

    @property
    def words(self) -> tuple[tuple[int, int], ...] | None:
        """Offsets of given words."""

    @property
    def document(self) -> str:
        """Empty if unknown."""


WordsT = TypeVar("WordsT", bound=Words)


@dataclass(frozen=True, slots=True)
class TaggedText:
    """A text, the offsets of its words, and a tag for each word."""

    text: str
    words: tuple[tuple[int, int], ...]
    tags: tuple[str, ...]
    document: str = ""


class WordTask(Task[WordsT]):
    """A task that tags the words of a text: those given with a row, else those found by `text.words`."""

    cluster_noun: ClassVar[str] = "documents"
    targets_on_cpu: ClassVar[frozenset[str]] = frozenset({"words_S"})

    @property
    @abstractmethod
    def stride(self) -> int:
        """Tokens by which windows overlap; a setting of the subclass."""

    def cluster(self, example: WordsT) -> str:
        """The document."""
        return example.document

    def sources_of_example(self, example: WordsT) -> Sequence[EncoderInput]:
        """The text with its words."""
        return [EncoderInput(Source(example.text, stride=self.stride), example.words)]

    def source_of_row(self, row: Row) -> EncoderInput | None:
        """`text`; or `tokens`, whose answers are about those words."""
        if "tokens" in row and "text" not in row:
            text, words = joined(row["tokens"], row.get("space_after"))
            return EncoderInput(Source(text, stride=self.stride), words)
        return EncoderInput(Source(text_of(row), stride=self.stride))

    def word_probabilities(self, item: Item) -> tuple[Array, Array]:
        """Offsets of the words of an item, `(W, 2)`, and the probability of each tag of `output_names`, `(W, K)`.

        Raises UsageError if the task gives none.
        """
        raise UsageError(f"task '{self.name}' ({self.kind}) gives no probabilities of tags")

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Number of words."""
        return float(len(targets["tag_P"]))


def locate_words(words: Sequence[Array], encodings: Encodings) -> dict[str, Array]:
    """Positions in their windows of the words of texts, given as offsets `(W, 2)`; P words, repeated where windows overlap.

    `piece_P` (row in the task's tokens), `unit_P` (index among all words), `words_S` (words in each window). For words that
    are not the first of their piece: `inner_I` (index among P) and `place_I` (position in the piece). Sources of an example
    after its text have no words.
    """
    pieces, places, seen, counts, base, first = [], [], [], [], 0, 0
    for offsets_W2, asked in zip(words, encodings, strict=True):
        unit_W = np.arange(first, first + len(offsets_W2))
        for window in asked[0]:
            reached = within(offsets_W2, window)
            piece_W = first_pieces(offsets_W2[reached], window)
            here = piece_W >= 0
            pieces.append(piece_W[here] + base)
            places.append(places_in_pieces(offsets_W2[reached], piece_W, window)[here])
            seen.append(unit_W[reached][here])
            counts.append(int(here.sum()))
            base += len(window)
        base += sum(len(window) for source in asked[1:] for window in source)
        first += len(offsets_W2)
    place_P = np.concatenate(places)
    inner_I = np.flatnonzero(place_P)
    return {
        "piece_P": np.concatenate(pieces).astype(np.int64),
        "unit_P": np.concatenate(seen),
        "words_S": np.array(counts, dtype=np.int64),
        "inner_I": inner_I,
        "place_I": place_P[inner_I],
    }


@dataclass(frozen=True, slots=True)
class WindowWords:
    """Words that one window of an item answers for."""

    output: Mapping[str, Array]
    """The head's output for the window."""
    word_W: Array
    """Index of each word in the item."""
    piece_W: Array
    """Its token."""
    place_W: Array
    """Its position among the words of that token, from 0."""


def owned_words(offsets_W2: Array, item: Item) -> Iterator[WindowWords]:
    """The words that each window owns: each word is answered once, in the window with most context for it."""
    for output, (word_W, piece_W, place_W) in zip(item.outputs, _owned(offsets_W2, item.encodings), strict=True):
        yield WindowWords(output, word_W, piece_W, place_W)


def owned_rows(offsets_W2: Array, windows: Sequence[Encoding]) -> Array:
    """The first token of each word in the window that owns it, `(W,)`; -1 for a word without one.

    Tokens are counted over all windows of the text, laid end to end.
    """
    row_W = np.full(len(offsets_W2), -1, np.int64)
    base = 0
    for window, (word_W, piece_W, _) in zip(windows, _owned(offsets_W2, windows), strict=True):
        row_W[word_W] = piece_W + base
        base += len(window)
    return row_W


def _owned(offsets_W2: Array, windows: Sequence[Encoding]) -> Iterator[tuple[Array, Array, Array]]:
    """For each window the words that it owns, their tokens in it, and their positions in these."""
    number_W = np.arange(len(offsets_W2))
    for window, own in zip(windows, owned(windows, 0), strict=True):
        reached = within(offsets_W2, window)  # words times windows would be quadratic in the text
        piece_W = first_pieces(offsets_W2[reached], window)
        place_W = places_in_pieces(offsets_W2[reached], piece_W, window)
        owned_L = np.zeros(len(window), bool)
        owned_L[own if (window.part_L == 0).any() else slice(None)] = True
        here = (piece_W >= 0) & owned_L[piece_W]
        yield number_W[reached][here], piece_W[here], place_W[here]
