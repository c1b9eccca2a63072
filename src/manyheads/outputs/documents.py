"""A text with its annotations in memory: what every format is written from.

Gold rows (`from_rows.py`) and answers of a model (`from_answers.py`) become documents; `formats/` has a function for each
format that turns documents into bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from manyheads.data.formats.annotations import Interval, Relation, Span
from manyheads.data.formats.rows import LeftOut


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a text."""

    names: tuple[str, ...]
    several: bool
    """Whether a text may have any number of labels."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Of the labels, and of others that do not apply."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a text; its answers are the spans of the document."""

    text: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A row: its text and what is annotated in it. `spans`, `labels` and `tags` are None if they are not annotated."""

    text: str
    where: str
    """For messages: `path:line`."""
    id: str | int | float | None = None
    group: str = ""
    """The document that the row is a part of; empty if it is one by itself."""
    spans: tuple[Span, ...] | None = None
    relations: tuple[Relation, ...] = ()
    """Between the spans."""
    labels: Labels | None = None
    question: Question | None = None
    words: tuple[Interval, ...] | None = None
    """Offsets of its own words, if the row came in words."""
    tags: tuple[str, ...] | None = None
    """Of its words."""
    tag_scores: tuple[float, ...] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Other columns of the row, as JSON."""
    predicted: bool = False
    """Whether the annotations are the answers of a model."""
    lost: tuple[LeftOut, ...] = ()
    """What the row had that a document has no place for, such as events."""

    @property
    def key(self) -> str:
        """What names it in formats of documents: its group, or else its id; empty if it has neither."""
        return self.group or ("" if self.id is None else str(self.id))
