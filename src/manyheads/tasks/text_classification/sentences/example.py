"""Rows of documents with labelled sentences, and the sentences of rows to answer.

A document is one row, with `sentences` and `labels` or with `text` and spans; or several consecutive rows, one per sentence,
with the same `document`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from manyheads.errors import RowError
from manyheads.tasks.base import Row, text_of
from manyheads.tasks.pooled import document_of
from manyheads.tasks.text_classification.example import LabelledText
from manyheads.text.sentences import Offsets, joined_sentences, sentences
from manyheads.text.values import check_spelling, is_missing, label_of

ONE_LABEL = "each sentence has exactly one label"


@dataclass(frozen=True, slots=True)
class LabelledDocument:
    """A text, the offsets of its sentences, and a label for each."""

    text: str
    sentences: Offsets
    labels: tuple[str, ...]
    document: str = ""

    def texts(self) -> list[LabelledText]:
        """The sentences as examples of their own."""
        return [
            LabelledText(self.text[start:end], None, (label,), False, self.document)
            for (start, end), label in zip(self.sentences, self.labels, strict=True)
        ]


def read_document(row: Row) -> LabelledDocument:
    """A row with `sentences`, or a row of a single sentence. Raises RowError."""
    if row.get("sentences") is None:
        sentence_document(row)
        row = joined_rows([row])
    text, offsets = sentences_of(row)
    given = row["sentences"]
    labels: Any = row.get("labels")
    if isinstance(given[0], Mapping):
        labels = [part.get("label") for part in given]
    elif not isinstance(labels, Sequence) or isinstance(labels, str) or len(labels) != len(given):
        seen = f"{len(labels)} labels" if isinstance(labels, list | tuple) else "no list 'labels'"
        raise RowError(f"has {len(given)} sentences and {seen}; give each sentence one label")
    return LabelledDocument(text, offsets, tuple(map(_label, labels)), document_of(row))


def sentence_document(row: Row) -> str | None:
    """The document of a row of one sentence; None for a row of a document. Raises RowError for what cannot be read."""
    if row.get("sentences") is not None:
        return None
    check_spelling(row, ("document",))
    if not text_of(row).strip():
        raise RowError("has an empty 'text'; there is nothing to learn from it")
    if not is_missing(row.get("text_pair")):
        raise RowError("has a 'text_pair', but sentences are read with their neighbours; remove it")
    if not is_missing(row.get("labels")):
        raise RowError(f"has 'labels'; {ONE_LABEL}, so give it as 'label', or use `unit: text`")
    if "label" not in row:
        raise RowError("has no 'label'")
    _label(row["label"])
    if not (document := document_of(row)):
        raise RowError("has no 'document', which says what sentences are read together: give the sentences of a text the "
                       "same one, in consecutive rows, or use `unit: text`")  # fmt: skip
    return document


def joined_rows(rows: Sequence[Row]) -> Row:
    """Rows of the sentences of a document as one row."""
    first = rows[0]
    return {
        "sentences": [text_of(row) for row in rows],
        "labels": [row["label"] for row in rows],
        "document": first["document"],
    }


def sentences_of(row: Row) -> tuple[str, Offsets]:
    """The text of a row and its sentences: those given, else those found by `text.sentences`. Raises RowError."""
    if row.get("sentences") is None:
        text = text_of(row)
        return text, tuple(sentences(text))
    given = row["sentences"]
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise RowError(f"'sentences' must be a list of at least one sentence, seen {given!r:.80}")
    if all(isinstance(part, str) for part in given):
        if blank := next((str(number) for number, part in enumerate(given, 1) if not part.strip()), ""):
            raise RowError(f"sentence {blank} is blank; remove it")
        return joined_sentences(given) if is_missing(row.get("text")) else _found(text_of(row), given)
    text = text_of(row)
    offsets = tuple(_span(part, text) for part in given)
    for one, two in pairwise(offsets):
        if two[0] < one[1]:
            raise RowError(f"sentences {one[0]}-{one[1]} and {two[0]}-{two[1]} overlap or are out of order; correct them")
    return text, offsets


def _found(text: str, given: Sequence[str]) -> tuple[str, Offsets]:
    """Sentences at their places in a text. Raises RowError for one that is not there."""
    offsets, start = [], 0
    for number, sentence in enumerate(given, 1):
        start = text.find(sentence, start)
        if start < 0:
            raise RowError(f"sentence {number}, {sentence!r:.60}, is not in its text after the one before; give the text "
                           "as it is, or leave 'text' out")  # fmt: skip
        offsets.append((start, start + len(sentence)))
        start += len(sentence)
    return text, tuple(offsets)


def _span(part: Any, text: str) -> tuple[int, int]:
    """Offsets of a sentence given as {start, end} or [start, end]. Raises RowError."""
    place: Any = [part.get("start"), part.get("end")] if isinstance(part, Mapping) else part
    pair = isinstance(place, Sequence) and len(place) == 2 and all(type(edge) is int for edge in place)
    if not pair:
        raise RowError(f"'sentences' must be texts, or offsets such as {{\"start\": 0, \"end\": 12}}; seen {part!r:.80}")
    start, end = place
    if not 0 <= start < end <= len(text) or not text[start:end].strip():
        raise RowError(f"sentence {start}-{end} lies outside its text of {len(text)} characters or is empty")
    return start, end


def _label(value: Any) -> str:
    if isinstance(value, list | tuple):
        raise RowError(f"a sentence has the labels {value!r:.80}, but {ONE_LABEL}; give one, or use `unit: text`")
    return label_of(value)
