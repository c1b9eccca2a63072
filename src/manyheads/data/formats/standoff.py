"""Texts with annotated spans, as annotation tools export them, to rows with `entities`.

Design:
- Every span is checked against its text. Offsets outside of the text, empty spans, and quoted mentions that differ from
  the text are refused, with both strings. Discontinuous spans are not used, only counted.
- Pieces with only white space between them are one span, because brat cuts spans at line ends.
- A character has at most one label. Of overlapping spans the longest is kept, of equally long ones the first in the file;
  the others are counted.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from manyheads.data.formats.records import Record, as_label, as_list, as_offset
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.errors import DataError

DISCONTINUOUS = "discontinuous spans"
OVERLAPPING = "spans that overlap a longer one"
REPEATED = "repeated spans"
RELATIONS = "relations"
IDENTIFIERS = "identifiers of entities"
ATTRIBUTES = "attributes"
SPANS_OF_TEXTS = "spans"
"""Of texts whose labels are read."""
LABELS_OF_TEXTS = "labels of texts"
"""Of texts whose spans are read."""
OTHER_LAYERS = "annotations of other layers"
NO_LABEL = "spans without a label"
CHAINS = "coreference links"
QUOTED = 200
"""Characters of a text quoted in a message."""

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Mention:
    """An annotated span."""

    pieces: tuple[Interval, ...]
    """Offsets in the text, end exclusive; several for a discontinuous span."""
    label: str
    where: str
    text: str | None = None
    """The mention as the file quotes it, if it does; pieces are joined by a space."""
    identifier: str = ""
    """In a knowledge base."""


@dataclass(frozen=True, slots=True)
class AnnotatedText:
    """A text with its spans."""

    text: str
    mentions: Sequence[Mention]
    where: str
    document: str = ""
    left_out: tuple[LeftOut, ...] = ()
    """Other annotations of the text."""
    id: Any = None
    skip: str | None = None
    """Why the text is not used, if it is not."""


def mention_at(start: Any, end: Any, label: Any, where: str, text: Any = None) -> Mention:
    """A span from its fields. Raises DataError for an invalid offset or label."""
    piece = as_offset(start, where), as_offset(end, where)
    return Mention((piece,), as_label(label, where), where, text if isinstance(text, str) else None)


def mention_in_list(entry: Any, where: str, what: str = "span", sizes: Sequence[int] = (3,)) -> Mention:
    """A span written as `[start, end, label]`. Raises DataError for any other form."""
    if not isinstance(entry, list) or len(entry) not in sizes:
        raise DataError(f"{where} has the {what} {entry!r:.80}; write it as [start, end, label]")
    start, end, label = entry[:3]
    return mention_at(start, end, label, where)


def left_out_of(record: Record, key: str, what: str) -> tuple[LeftOut, ...]:
    """One entry for each item under a key of a record that is not read. Raises DataError unless it is a list or object."""
    found = record.value.get(key) or []
    items = found if isinstance(found, dict) else as_list(found, record.where, key)
    return tuple(LeftOut(what, record.where) for _ in items)


def relations_left_out(values: Mapping[str, Any], where: str) -> tuple[LeftOut, ...]:
    """One entry for each of a record's `relations`. Raises DataError if they are not a list."""
    return tuple(LeftOut(RELATIONS, where) for _ in as_list(values.get("relations") or [], where, "relations"))


def entity_row(annotated: AnnotatedText) -> RawRow:
    """The row with its `entities`. Raises DataError for a span that does not fit the text."""
    if annotated.skip:
        return RawRow({"text": annotated.text}, annotated.where, skip=annotated.skip)
    mentions = tuple(checked(annotated.text, mention) for mention in annotated.mentions)
    kept, left_out = without_overlaps(mentions)
    entities = [{"start": m.pieces[0][0], "end": m.pieces[-1][1], "label": m.label} for m in kept]
    values: dict[str, Any] = {"text": annotated.text, "entities": entities}
    if annotated.id is not None:
        values["id"] = annotated.id
    if annotated.document:
        values["document"] = annotated.document
    return RawRow(values, annotated.where, left_out=(*annotated.left_out, *left_out), spans=mentions)


def without_overlaps(mentions: Iterable[Mention]) -> tuple[list[Mention], list[LeftOut]]:
    """Mentions that do not overlap, in text order, and those left out."""
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


def checked(text: str, mention: Mention) -> Mention:
    """The mention, in one piece if possible. Raises DataError if it then lies outside the text or quotes another text."""
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
    if mention.text is not None and not _matches(text, pieces, mention.text):
        raise DataError(f"{what} says {mention.text[:QUOTED]!r}, but the text there is {text[start:end][:QUOTED]!r}"
                        f"{_offset_hint(text, start, mention.text)}")  # fmt: skip
    return replace(mention, pieces=((start, end),))


def _matches(text: str, pieces: Sequence[Interval], quoted: str) -> bool:
    """Whether a quoted mention is the text of the pieces. Line ends become spaces in line-based files."""
    found = " ".join(text[start:end] for start, end in pieces), text[pieces[0][0] : pieces[-1][1]]
    return quoted in found or re.sub(r"\s", " ", quoted) in (re.sub(r"\s", " ", one) for one in found)


def _offset_hint(text: str, start: int, quoted: str) -> str:
    """Where the quoted mention is in the text, or in which unit its offset was probably counted."""
    for unit, encoding, width in (("UTF-16 units", "utf-16-le", 2), ("bytes", "utf-8", 1)):
        ahead = text.encode(encoding, "surrogatepass")[: start * width].decode(encoding, "ignore")
        if len(ahead) != start and text.startswith(quoted, len(ahead)):
            return f"; its offset counts {unit}, but characters are expected"
    at = text.find(quoted, max(0, start - 99)) if quoted else -1
    return f"; it stands at {at}" if at >= 0 else ""
