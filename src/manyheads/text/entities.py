"""Labelled rows of entity recognition, and gold spans that no answer can equal.

Design:
- White space and invisible characters at the edges of a span are trimmed: no word has them, so no answer could.
- A span that begins or ends inside a unit is kept. Training uses the whole units, the score counts it as missed, and
  `misfits` reports it.
- Spans may overlap, and may be discontinuous (`pieces`); a task decides which it can learn.
- JavaScript and Java count offsets in UTF-16 units, some tools in bytes. If all spans of a row fit its words after
  conversion, or moved by the same few characters, the message says so.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.errors import RowError
from manyheads.text.joining import between, joined
from manyheads.text.spans import CharSpan, check_tag, spans_of_tags, tags_of_char_spans
from manyheads.text.units import Unit, units
from manyheads.text.words import words

if TYPE_CHECKING:
    from manyheads.text.units import Units

MOST_SHIFTED = 3
"""The largest shift that is recognised, in characters."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """A labelled span in one or several pieces, with offsets in reading order. *left ventricle* in *left and right ventricle*
    has two."""

    pieces: tuple[tuple[int, int], ...]
    label: str

    @property
    def start(self) -> int:
        """Where its first piece starts."""
        return self.pieces[0][0]

    @property
    def end(self) -> int:
        """Where its last piece ends."""
        return self.pieces[-1][1]

    def moved(self, by: int) -> Pieces:
        """The same span with its text `by` characters further on."""
        return Pieces(tuple((start + by, end + by) for start, end in self.pieces), self.label)


@dataclass(frozen=True, slots=True)
class EntityExample:
    """A text with its spans `(start, end, label)`, and its own words if the row has any."""

    text: str
    spans: tuple[CharSpan, ...]
    """In reading order; they may overlap."""
    words: tuple[tuple[int, int], ...] | None = None
    document: str = ""
    trimmed: tuple[tuple[int, int], ...] = ()
    """Original offsets of spans that had white space at their edges."""
    discontinuous: tuple[Pieces, ...] = ()
    """Spans in several pieces; not among `spans`."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """A gold span that no answer can equal."""

    gold: str
    answer: str
    """The text of an answer for the same words; empty if another span has these words."""


def tagged_example(row: Mapping[str, Any], document: str) -> EntityExample:
    """An example from `tokens` and `tags`. Raises RowError."""
    text, offsets = joined(row["tokens"], row.get("space_after"))
    tags = row.get("tags")
    if not isinstance(tags, Sequence) or isinstance(tags, str) or len(tags) != len(offsets):
        seen = f"{len(tags)} tags" if isinstance(tags, Sequence) and not isinstance(tags, str) else "no list of tags"
        raise RowError(f"has {len(offsets)} tokens and {seen}; give each token one tag")
    for tag in tags:
        problem = check_tag(tag)
        if problem:
            raise RowError(problem)
    spans = tuple((offsets[s.start][0], offsets[s.end - 1][1], s.label) for s in spans_of_tags(list(tags)))
    return EntityExample(text, spans, offsets, document)


def spanned_example(text: str, entities: Any, document: str) -> EntityExample:
    """An example from `text` and `entities`. Raises RowError for spans that are empty or outside of the text."""
    if not isinstance(entities, Sequence) or isinstance(entities, str):
        raise RowError("'entities' must be a list of {start, end, label}")
    spans, trimmed, discontinuous = [], [], []
    for entity in entities:
        found, was_trimmed = located(text, entity, entities)
        if was_trimmed:
            trimmed.append((entity["start"], entity["end"]))
        if len(found.pieces) > 1:
            discontinuous.append(found)
        else:
            spans.append((found.start, found.end, found.label))
    return EntityExample(text, tuple(sorted(spans)), None, document, tuple(trimmed), tuple(discontinuous))


def located(text: str, entity: Any, entities: Sequence[Any]) -> tuple[Pieces, bool]:
    """The span of an entity, one of all `entities` of its row, and whether white space at its edges was trimmed.

    Raises RowError for a span that is empty, or outside of the text.
    """
    start, end, label = _given(entity)
    if not 0 <= start < end <= len(text):
        raise RowError(
            f"entity {start}-{end} ({label}) lies outside its text of {len(text)} characters or is empty"
            + _shift_note(text, entities)
        )
    if pieces := _pieces(entity, (start, end, label)):
        return Pieces(pieces, label), False
    if "text" in entity and entity["text"] != text[start:end]:
        raise RowError(f"entity {start}-{end} says {entity['text']!r} but the text there is {text[start:end]!r}"
                       + _shift_note(text, entities))  # fmt: skip
    inner = _trimmed(text, start, end)
    if inner[0] >= inner[1]:
        raise RowError(f"entity {start}-{end} ({label}) is {text[start:end]!r}, which contains no word; remove it")
    return Pieces((inner,), label), inner != (start, end)


def followed(examples: Sequence[EntityExample]) -> EntityExample:
    """Join sentences of a document to one text, with a space between them if their script uses spaces."""
    if len(examples) == 1:
        return examples[0]
    text, spans, own, discontinuous = "", [], [], []
    for example in examples:
        text += between(text, example.text) if text else ""
        base = len(text)
        discontinuous += [span.moved(base) for span in example.discontinuous]
        spans += [(start + base, end + base, label) for start, end, label in example.spans]
        own += [(start + base, end + base) for start, end in example.words or ()]
        text += example.text
    words_given = tuple(own) if all(example.words is not None for example in examples) else None
    return EntityExample(text, tuple(spans), words_given, examples[0].document, discontinuous=tuple(discontinuous))


def misfits(example: EntityExample, unit: Unit, spans: Sequence[CharSpan] | None = None) -> list[Misfit]:
    """The gold spans of an example that no answer can equal: they end inside a unit, or share one with another span.

    `spans`: those of the example that are looked at, for a task whose answers hold only some in one sequence of tags.
    """
    spans = example.spans if spans is None else spans
    if example.words is not None or not spans:  # it is answered at its own words
        return []
    text, cut = example.text, units(example.text, unit)
    fits = _fits(cut, spans)
    if all(fits):
        return []
    found = []
    for (start, end, _), fit in zip(spans, fits, strict=True):
        if not fit:
            first = int(np.searchsorted(cut[:, 1], start, side="right"))
            last = int(np.searchsorted(cut[:, 0], end)) - 1
            answer = text[cut[first, 0] : cut[last, 1]]
            found.append(Misfit(text[start:end], "" if answer == text[start:end] else answer))
    return found


def shift(text: str, spans: Sequence[CharSpan]) -> str:
    """How the offsets of spans that do not fit the words of their text were counted; empty if unknown."""
    for what, sizes in (
        ("count UTF-16 units, as JavaScript and Java do", [1 + (character > "\uffff") for character in text]),
        ("count bytes", [len(character.encode("utf-8", "surrogatepass")) for character in text]),
    ):
        index = {offset: place for place, offset in enumerate(accumulate(sizes, initial=0))}
        moved = [(index.get(start, -1), index.get(end, -1), label) for start, end, label in spans]
        if moved != list(spans) and _all_fit(text, moved):
            return f"{what}; convert them to characters (code points)"
    for size in range(1, MOST_SHIFTED + 1):
        for by in (-size, size):
            if _all_fit(text, [(start + by, end + by, label) for start, end, label in spans]):
                side = "earlier" if by < 0 else "later"
                return f"fit {size} character{'s' * (size > 1)} {side}; correct them"
    return ""


def _shift_note(text: str, entities: Sequence[Any]) -> str:
    found = shift(text, [_given(entity) for entity in entities])
    return f"; the offsets of this row {found}" if found else ""


def _all_fit(text: str, spans: Sequence[CharSpan]) -> bool:
    return all(0 <= start < end <= len(text) for start, end, _ in spans) and all(_fits(units(text), spans))


def _fits(cut: Units, spans: Sequence[CharSpan]) -> list[bool]:
    """For each span whether it begins and ends where units do, without sharing one."""
    return tags_of_char_spans(cut, spans)[1]


def _given(entity: Any) -> CharSpan:
    if not isinstance(entity, Mapping) or not {"start", "end", "label"} <= set(entity):
        raise RowError(f"entity {entity!r} needs 'start', 'end' and 'label'")
    start, end, label = entity["start"], entity["end"], entity["label"]
    if not isinstance(start, int) or not isinstance(end, int) or isinstance(start, bool):
        raise RowError(f"entity offsets must be whole numbers, seen start {start!r}, end {end!r}")
    if not isinstance(label, str) or not label:
        raise RowError(f"entity {start}-{end} has label {label!r}; give a name")
    return start, end, label


def _pieces(entity: Mapping[str, Any], span: CharSpan) -> tuple[tuple[int, int], ...]:
    """Offsets of the pieces of a discontinuous span; none for a span in one piece. Raises RowError."""
    pieces = entity.get("pieces")
    if pieces is None:
        return ()
    start, end, label = span
    try:
        found = tuple((operator.index(one), operator.index(other)) for one, other in pieces)
    except (TypeError, ValueError):
        what = f"entity {start}-{end} ({label})"
        raise RowError(f"{what}: 'pieces' must be a list of [start, end], seen {pieces!r:.80}") from None
    flat = [offset for piece in found for offset in piece]
    if not found or any(one >= other for one, other in found) or flat != sorted(flat) or (flat[0], flat[-1]) != (start, end):
        raise RowError(f"entity {start}-{end} ({label}) has the pieces {pieces!r:.80}; they must follow one another and "
                       "reach from its start to its end")  # fmt: skip
    return found if len(found) > 1 else ()


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """A span without characters outside of words at its edges; edges inside a word stay."""
    if _is_of_word(text[start]) and _is_of_word(text[end - 1]):
        return start, end
    touched = [(first, last) for first, last in words(text) if first < end and last > start]
    if not touched:
        return start, start
    return max(start, touched[0][0]), min(end, touched[-1][1])


def _is_of_word(character: str) -> bool:
    """Whether a character is certainly part of a word."""
    return character.isalnum() or "!" <= character <= "~"
