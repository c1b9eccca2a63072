"""GLiNER2: mentions by label, classifications with their true label.

    {"input": "Ada Byron wrote.", "output": {"entities": {"person": ["Ada Byron"]}}}
    {"input": "Great.", "output": {"classifications": [{"task": "s", "labels": ["good", "bad"], "true_label": ["good"]}]}}

Decided here: mentions come without places, so each place where a mention stands as a word of its own has its label; one
that stands nowhere is refused. `text` and `schema` are the same as `input` and `output`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manyheads.data.formats.format import MARKED_OR_LABELLED, Format, Wanted
from manyheads.data.formats.head import Head
from manyheads.data.formats.labelled import Labelled, rows_of
from manyheads.data.formats.records import Record, a_list, an_object, objects
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.standoff import RELATIONS, Marked, Mention, label_of, row_of, text_in
from manyheads.errors import DataError

OTHERS = {"relations": RELATIONS, "json_structures": "structures", "entity_descriptions": "descriptions of labels"}


def looks_like(head: Head) -> bool:
    """Entities or classifications in an output."""
    shape = head.json
    return any(
        shape.has(text) and (shape.has(f"{said}.entities") or shape.has(f"{said}.classifications[].true_label"))
        for text, said in (("input", "output"), ("text", "schema"))
    )


def read(path: Path, wanted: Wanted) -> Iterator[RawRow]:
    """Rows. Raises DataError for a mention that its text does not have."""
    if wanted.wants("label", "labels"):
        yield from rows_of(lambda: (_labelled(record) for record in objects(path)), single=wanted.wants("label"))
    else:
        for record in objects(path):
            yield row_of(_marked(record))


def _parts(record: Record) -> tuple[str, dict[str, Any]]:
    text, said = ("input", "output") if "input" in record.value else ("text", "schema")
    found = an_object(record.value.get(said), record.where, said)
    return text_in(record.value.get(text), record.where, text), found


def _left_out(said: dict[str, Any], where: str) -> tuple[LeftOut, ...]:
    return tuple(LeftOut(what, where) for key, what in OTHERS.items() if said.get(key))


def _marked(record: Record) -> Marked:
    (text, said), where = _parts(record), record.where
    mentions = []
    for label, found in an_object(said.get("entities", {}), where, "entities").items():
        for mention in a_list(found, where, f"entities.{label:.80}"):
            quoted = text_in(mention, where, "mention")
            places = list(re.finditer(rf"(?<!\w){re.escape(quoted)}(?!\w)", text)) if quoted.strip() else []
            if not places:
                raise DataError(f"{where} has the mention {quoted[:200]!r} ({label:.80}), which its text does not have")
            mentions += [Mention((place.span(),), label_of(label, where), where) for place in places]
    return Marked(text, tuple(dict.fromkeys(mentions)), where, left_out=_left_out(said, where))


def _labelled(record: Record) -> Labelled:
    (text, said), where = _parts(record), record.where
    found = a_list(said.get("classifications", []), where, "classifications")
    if len(found) > 1:
        raise DataError(f"{where} has {len(found)} classifications; a task reads one: write one file for each")
    held: list[str] = []
    for one in found:
        true = an_object(one, where, "classifications").get("true_label")
        held += [label_of(label, where) for label in (true if isinstance(true, list) else [true])]
    return Labelled(text, tuple(dict.fromkeys(held)), where, left_out=_left_out(said, where))


FORMAT = Format("gliner2", "GLiNER2", MARKED_OR_LABELLED, looks_like, read)
