"""spaCy's training pairs: spans as `[start, end, label]` under `entities`, `cats` with a number for each label.

    {"text": "Ada Byron wrote.", "entities": [[0, 9, "PER"]]}
    ["Ada Byron wrote.", {"entities": [[0, 9, "PER"]]}]
    ["Great value.", {"cats": {"positive": 1.0, "negative": 0.0}}]

Decided here: a label of `cats` holds where its number is 0.5 or more.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manyheads.data.formats.format import MARKED_OR_LABELLED, Format, Wanted
from manyheads.data.formats.head import Head
from manyheads.data.formats.labelled import Labelled, rows_of
from manyheads.data.formats.records import Record, a_list, an_object, values
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.standoff import Marked, Mention, label_of, offset, row_of, text_in
from manyheads.errors import DataError

HOLDS = 0.5
KNOWN = {"entities", "cats", "text", "id", "meta"}


def looks_like(head: Head) -> bool:
    """Spans in lists of three, or a pair of a text and an object of annotations."""
    shape = head.json
    rows = shape.has("text") and shape.holds("entities[][]", int, str)
    lines = shape.array and (_pairs(head, "") or _pairs(head, "[]"))
    return rows or lines


def _pairs(head: Head, path: str) -> bool:
    shape, dot = head.json, f"{path}." if path else ""
    return shape.holds(path, str) and (
        shape.holds(f"{dot}entities[][]", int, str) or shape.under(f"{dot}cats")
        or (shape.has(f"{dot}entities") and not shape.under(f"{dot}entities"))
    )  # fmt: skip


def read(path: Path, wanted: Wanted) -> Iterator[RawRow]:
    """Rows. Raises DataError for a span of another form."""
    if wanted.wants("label", "labels"):
        yield from rows_of(lambda: (_labelled(record) for record in values(path)), single=wanted.wants("label"))
    else:
        for record in values(path):
            yield row_of(_marked(record))


def _parts(record: Record) -> tuple[str, dict[str, Any]]:
    """The text and what is said of it."""
    value, where = record.value, record.where
    if isinstance(value, list):
        if len(value) != 2:
            raise DataError(f"{where} is a list of {len(value)}; a training pair is [text, {{...}}]")
        return text_in(value[0], where), an_object(value[1], where, "annotations")
    found = an_object(value, where, "row")
    return text_in(found.get("text"), where), found


def _marked(record: Record) -> Marked:
    (text, said), where = _parts(record), record.where
    if "entities" not in said:
        raise DataError(f"{where} has no 'entities'; a text without any has an empty list")
    mentions = []
    for span in a_list(said["entities"], where, "entities"):
        if not isinstance(span, list) or len(span) not in (3, 4):  # the fourth is an id of a knowledge base
            raise DataError(f"{where} has the entity {span!r:.80}; write it as [start, end, label]")
        pieces = ((offset(span[0], where), offset(span[1], where)),)
        mentions.append(Mention(pieces, label_of(span[2], where), where))
    left_out = tuple(LeftOut(f"'{key}'", where) for key in ("links", "spans", "relations", "heads") if said.get(key))
    return Marked(text, mentions, where, left_out=left_out)


def _labelled(record: Record) -> Labelled:
    (text, said), where = _parts(record), record.where
    if "cats" not in said:
        raise DataError(f"{where} has no 'cats', which text classification is read from")
    held = []
    for label, value in an_object(said["cats"], where, "cats").items():
        if not isinstance(value, int | float):  # true and false are numbers here
            raise DataError(f"{where} gives the label {label!r:.80} the number {value!r:.80}; give 1 or 0")
        if value >= HOLDS:
            held.append(label)
    return Labelled(text, tuple(held), where)


FORMAT = Format("spacy", "spaCy training pairs", MARKED_OR_LABELLED, looks_like, read)
