"""Texts with spans marked in them, as annotation tools export them, to rows.

Decided here:
- A span is checked against its text: offsets that lie outside, spans of no width and mentions that are quoted otherwise
  than the text has them are refused, with both strings. Of a discontinuous span nothing is used, so it is only counted.
- Pieces with nothing but white space between them are one span: brat cuts spans at line ends.
- A row has one label for a character. Of spans that overlap the longest is kept, of equally long ones
  that which the file names first; the others are counted.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.errors import DataError

DISCONTINUOUS = "discontinuous spans"
OVERLAPPING = "spans that overlap a longer one"
REPEATED = "repeated spans"
RELATIONS = "relations"
QUOTED = 200
"""Characters of a text in a message."""

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Mention:
    """A span that a file marks in a text."""

    pieces: tuple[Interval, ...]
    """Offsets in the text, end exclusive; several of a discontinuous span."""
    label: str
    where: str
    text: str | None = None
    """What the file says stands there, where it says so; pieces are joined by a space."""


@dataclass(frozen=True, slots=True)
class Marked:
    """A text with the spans marked in it."""

    text: str
    mentions: Sequence[Mention]
    where: str
    document: str = ""
    left_out: tuple[LeftOut, ...] = ()
    """What else the file says of it."""
    id: Any = None


def row_of(marked: Marked) -> RawRow:
    """The row with its `entities`. Raises DataError for a span that the text does not have."""
    kept, left_out = flat(_checked(marked.text, mention) for mention in marked.mentions)
    entities = [{"start": m.pieces[0][0], "end": m.pieces[-1][1], "label": m.label} for m in kept]
    values: dict[str, Any] = {"text": marked.text, "entities": entities}
    if marked.id is not None:
        values["id"] = marked.id
    if marked.document:
        values["document"] = marked.document
    return RawRow(values, marked.where, left_out=(*marked.left_out, *left_out))


def flat(mentions: Iterator[Mention] | Sequence[Mention]) -> tuple[list[Mention], list[LeftOut]]:
    """Mentions that do not overlap, in their order in the text, and what was left out for it."""
    left_out: list[LeftOut] = []
    whole: dict[tuple[int, int, str], Mention] = {}
    for mention in mentions:
        if len(mention.pieces) > 1:
            left_out.append(LeftOut(DISCONTINUOUS, mention.where))
            continue
        span = (*mention.pieces[0], mention.label)
        if span in whole:
            left_out.append(LeftOut(REPEATED, mention.where))
        whole.setdefault(span, mention)
    kept: list[Interval] = []
    chosen: list[Mention] = []
    for (start, end, _), mention in sorted(whole.items(), key=lambda found: found[0][0] - found[0][1]):  # stable
        place = bisect_left(kept, (end, end))
        if place and kept[place - 1][1] > start:
            left_out.append(LeftOut(OVERLAPPING, mention.where))
            continue
        insort(kept, (start, end))
        chosen.append(mention)
    return sorted(chosen, key=lambda mention: mention.pieces), left_out


def offset(value: Any, where: str) -> int:
    """An offset. Raises DataError for what is no whole number."""
    if type(value) is not int:
        raise DataError(f"{where} has the offset {value!r:.80}; give a whole number")
    return value


def label_of(value: Any, where: str) -> str:
    """The name of a label. Raises DataError for what is none."""
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where} has a span with the label {value!r:.80}; give it a name")
    return value


def text_in(value: Any, where: str, key: str = "text") -> str:
    """A text. Raises DataError for what is none."""
    if not isinstance(value, str):
        raise DataError(f"{where} has no '{key}' that is a string, seen {value!r:.80}")
    return value


def _checked(text: str, mention: Mention) -> Mention:
    """The mention, in one piece where it can be."""
    pieces = sorted(mention.pieces)
    joined = [pieces[0]]
    for start, end in pieces[1:]:
        if joined[-1][1] <= start and not text[joined[-1][1] : start].strip() and start <= len(text):
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    if len(joined) > 1:
        return replace(mention, pieces=tuple(joined))
    ((start, end),) = joined
    what = f"{mention.where}: span {start}-{end} ({mention.label:.80})"
    if not 0 <= start <= end <= len(text):
        raise DataError(f"{what} lies outside its text of {len(text)} characters; correct its offsets")
    if start == end:
        raise DataError(f"{what} is empty; correct its offsets, or remove it")
    if mention.text is not None and not _same(text, pieces, mention.text):
        raise DataError(f"{what} says {mention.text[:QUOTED]!r}, but the text there is {text[start:end][:QUOTED]!r}"
                        f"{_elsewhere(text, start, mention.text)}")  # fmt: skip
    return replace(mention, pieces=((start, end),))


def _same(text: str, pieces: Sequence[Interval], said: str) -> bool:
    """Whether a quotation is that of the pieces. Line ends become spaces in files of lines."""
    found = " ".join(text[start:end] for start, end in pieces), text[pieces[0][0] : pieces[-1][1]]
    return said in found or re.sub(r"\s", " ", said) in (re.sub(r"\s", " ", one) for one in found)


def _elsewhere(text: str, start: int, said: str) -> str:
    """A hint where the quotation does stand, and in which unit its offset may have been counted."""
    before = text[: start + 1]
    for unit, size in (("UTF-16 units", "utf-16-le"), ("bytes", "utf-8")):
        width = 2 if size == "utf-16-le" else 1
        ahead = text.encode(size, "surrogatepass")[: start * width].decode(size, "ignore")
        if len(ahead) != start and text.startswith(said, len(ahead)):
            return f"; its offset counts {unit}, characters are wanted"
    at = text.find(said, max(0, len(before) - 100)) if said else -1
    return f"; it stands at {at}" if at >= 0 else ""
