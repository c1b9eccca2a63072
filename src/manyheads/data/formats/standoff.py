"""Texts with annotated spans, as annotation tools export them, to rows with `entities`.

Design:
- Every span is checked against its text. Offsets outside of the text, empty spans, and quoted spans that differ from
  the text are refused, with both strings. Discontinuous spans are not used, only counted.
- Pieces with only white space between them are one span, because brat cuts spans at line ends.
- A character has at most one label. Of overlapping spans the longest is kept, of equally long ones the first in the file;
  the others are counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from manyheads.data.formats.annotations import Interval, Relation, Span, entity, relation_entry, with_ends
from manyheads.data.formats.records import Record, as_label, as_list, as_offset
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.errors import DataError
from manyheads.text.spans import edges_of, longest_apart

DISCONTINUOUS = "discontinuous spans"
MISPLACED = "discontinuous spans that do not fit their text"
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


@dataclass(frozen=True, slots=True)
class AnnotatedText:
    """A text with its spans."""

    text: str
    spans: Sequence[Span]
    where: str
    document: str = ""
    left_out: tuple[LeftOut, ...] = ()
    """Annotations that rows have no place for."""
    id: Any = None
    skip: str | None = None
    """Why the text is not used, if it is not."""
    relations: Sequence[Relation] = ()


def span_at(start: Any, end: Any, label: Any, where: str, text: Any = None) -> Span:
    """A span from its fields. Raises DataError for an invalid offset or label."""
    piece = as_offset(start, where), as_offset(end, where)
    return Span((piece,), as_label(label, where), where=where, text=text if isinstance(text, str) else None)


def span_in_list(entry: Any, where: str, what: str = "span", sizes: Sequence[int] = (3,)) -> Span:
    """A span written as `[start, end, label]`. Raises DataError for any other form."""
    if not isinstance(entry, list) or len(entry) not in sizes:
        raise DataError(f"{where} has the {what} {entry!r:.80}; write it as [start, end, label]")
    start, end, label = entry[:3]
    return span_at(start, end, label, where)


def left_out_of(record: Record, key: str, what: str) -> tuple[LeftOut, ...]:
    """One entry for each item under a key of a record that is not read. Raises DataError unless it is a list or object."""
    found = record.value.get(key) or []
    items = found if isinstance(found, dict) else as_list(found, record.where, key)
    return tuple(LeftOut(what, record.where) for _ in items)


def relations_left_out(values: Mapping[str, Any], where: str) -> tuple[LeftOut, ...]:
    """One entry for each of a record's `relations`. Raises DataError if they are not a list."""
    return tuple(LeftOut(RELATIONS, where) for _ in as_list(values.get("relations") or [], where, "relations"))


def entity_row(annotated: AnnotatedText) -> RawRow:
    """The row with its `entities` and `relations`. Raises DataError for a span that does not fit the text.

    It is one for tasks that give a character one label: of overlapping spans the longest is kept; discontinuous spans,
    attributes, identifiers and relations are counted. `whole_row` makes one of it for other tasks.
    """
    if annotated.skip:
        return RawRow({"text": annotated.text}, annotated.where, skip=annotated.skip)
    whole = checked_text(annotated)
    kept, flat = without_overlaps(whole.spans)
    values: dict[str, Any] = {"text": annotated.text, **_entries(kept, with_ends(whole.relations, kept))}
    if annotated.id is not None:
        values["id"] = annotated.id
    if annotated.document:
        values["document"] = annotated.document
    left_out = (*whole.left_out, *_unused(whole), *flat)
    return RawRow(values, annotated.where, left_out=left_out, annotated=whole)


def entity_rows(annotated: AnnotatedText) -> Iterator[RawRow]:
    """The row that `entity_row` makes, or one with an error for each span that does not fit the text."""
    try:
        yield entity_row(annotated)
    except DataError:
        for span in annotated.spans:
            try:
                checked(annotated.text, span)
            except DataError as error:
                yield RawRow({}, span.where, error=str(error))


def whole_row(raw: RawRow, *, relations: bool) -> RawRow:
    """A row of `entity_row` with all spans and all relations. `relations`: its task reads them, so they are not counted."""
    found = raw.annotated
    if found is None:
        return raw
    left_out = found.left_out if relations else found.left_out + without(found.relations, ())
    return replace(raw, values={**raw.values, **_entries(found.spans, found.relations)}, left_out=left_out)


def _entries(spans: Iterable[Span], relations: Sequence[Relation]) -> dict[str, Any]:
    related = {"relations": list(map(relation_entry, relations))} if relations else {}
    return {"entities": list(map(entity, spans)), **related}


def checked_text(annotated: AnnotatedText) -> AnnotatedText:
    """With spans as `checked` gives them. Discontinuous ones that do not fit, and relations without ends, are counted.

    Raises DataError for a span in one piece that does not fit.
    """
    spans = [checked(annotated.text, span) for span in annotated.spans]
    fitting = [span for span in spans if len(span.pieces) == 1 or _fits(annotated.text, span)]
    relations = with_ends(annotated.relations, fitting)
    apart = () if len(fitting) == len(spans) else tuple(
        LeftOut(MISPLACED, span.where) for span in spans if len(span.pieces) > 1 and not _fits(annotated.text, span)
    )  # fmt: skip
    lost = annotated.left_out + apart + without(annotated.relations, relations)
    return replace(annotated, spans=fitting, relations=relations, left_out=lost)


def without(relations: Iterable[Relation], kept: Iterable[Relation]) -> tuple[LeftOut, ...]:
    """One entry for each relation that is not kept."""
    held = set(kept)
    return tuple(LeftOut(RELATIONS, relation.where) for relation in relations if relation not in held)


def _fits(text: str, span: Span) -> bool:
    """Whether the pieces of a discontinuous span are in order, in the text, and what the file quotes, but for white space."""
    edges = [edge for piece in span.pieces for edge in piece]
    inside = edges == sorted(edges) and edges[0] >= 0 and edges[-1] <= len(text)
    whole = inside and all(start < end for start, end in span.pieces)
    found = "".join(text[start:end] for start, end in span.pieces)
    return whole and (span.text is None or "".join(found.split()) == "".join(span.text.split()))


def _unused(annotated: AnnotatedText) -> Iterator[LeftOut]:
    for span in annotated.spans:
        if span.links:
            yield LeftOut(IDENTIFIERS, span.where)
        yield from (LeftOut(ATTRIBUTES, span.where) for _ in span.attributes)
    yield from (LeftOut(RELATIONS, relation.where) for relation in annotated.relations)


def without_overlaps(spans: Iterable[Span]) -> tuple[list[Span], list[LeftOut]]:
    """Spans that do not overlap, in text order, and those left out."""
    left_out: list[LeftOut] = []
    whole: dict[tuple[int, int, str], Span] = {}
    for span in spans:
        if len(span.pieces) > 1:
            left_out.append(LeftOut(DISCONTINUOUS, span.where))
            continue
        key = (*span.pieces[0], span.label)
        if key in whole:
            left_out.append(LeftOut(REPEATED, span.where))
        whole.setdefault(key, span)
    kept = longest_apart(whole, edges_of)
    chosen = set(kept)
    rest = sorted((span for span in whole if span not in chosen), key=lambda span: span[0] - span[1])
    return [whole[span] for span in kept], [*left_out, *(LeftOut(OVERLAPPING, whole[span].where) for span in rest)]


def checked(text: str, span: Span) -> Span:
    """The span, in one piece if possible. Raises DataError if it then lies outside the text or quotes another text."""
    pieces = sorted(span.pieces)
    joined = [pieces[0]]
    for start, end in pieces[1:]:
        if joined[-1][1] <= start and not text[joined[-1][1] : start].strip() and start <= len(text):
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    if len(joined) > 1:
        return replace(span, pieces=tuple(joined))
    ((start, end),) = joined
    what = f"{span.where}: span {start}-{end} ({span.label:.80})"
    if not 0 <= start <= end <= len(text):
        raise DataError(f"{what} lies outside its text of {len(text)} characters; correct its offsets")
    if start == end:
        raise DataError(f"{what} is empty; correct its offsets, or remove it")
    if span.text is not None and not _matches(text, pieces, span.text):
        raise DataError(f"{what} says {span.text[:QUOTED]!r}, but the text there is {text[start:end][:QUOTED]!r}"
                        f"{_offset_hint(text, start, span.text)}")  # fmt: skip
    return replace(span, pieces=((start, end),))


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
