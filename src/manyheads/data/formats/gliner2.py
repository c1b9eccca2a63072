"""GLiNER2: mentions by label, classifications with their true label.

    {"input": "Ada Byron wrote.", "output": {"entities": {"person": ["Ada Byron"]}}}
    {"input": "Great.", "output": {"classifications": [{"task": "s", "labels": ["good", "bad"], "true_label": ["good"]}]}}

Mentions come without offsets, so every whole-word occurrence of a mention gets its label; a mention that does not occur is
refused. `text` and `schema` mean the same as `input` and `output`. A relation, `{"in": {"head": "Ada", "tail": "London"}}`,
is one of the two occurrences that are closest to each other; relations whose ends are no entities are counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyheads.data.formats.annotations import Relation, Span
from manyheads.data.formats.format import SPANS_OR_LABELS, Format, RowSchema
from manyheads.data.formats.labelled import LabelledText, rows_of
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.records import Record, as_label, as_list, as_object, as_text, object_list, objects
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.standoff import (
    LABELS_OF_TEXTS,
    RELATIONS,
    SPANS_OF_TEXTS,
    AnnotatedText,
    left_out_of,
)
from manyheads.errors import DataError

OTHERS = {"json_structures": "structures", "entity_descriptions": "descriptions of labels"}
"""What is left out, by key."""


def looks_like(preview: Preview) -> bool:
    """Entities or classifications in an output."""
    shape = preview.json
    return any(
        shape.has(text) and (shape.has(f"{output}.entities") or shape.has(f"{output}.classifications[].true_label"))
        for text, output in (("input", "output"), ("text", "schema"))
    )


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Rows; one with a mention that does not occur in its text has an error. Raises DataError for a broken array."""
    return rows_of(schema, lambda: objects(path), _annotated, _labelled)


def _parts(record: Record) -> tuple[str, Record, tuple[LeftOut, ...]]:
    """Text, output, and what is left out of it for any task."""
    value, where = record.value, record.where
    text, output = ("input", "output") if "input" in value else ("text", "schema")
    found = Record(as_object(value.get(output), where, output), where)
    left_out = tuple(part for key, what in OTHERS.items() for part in left_out_of(found, key, what))
    return as_text(value.get(text), where, text), found, left_out


def _annotated(record: Record) -> AnnotatedText:
    (text, output, left_out), where = _parts(record), record.where
    spans: dict[Span, None] = {}
    for label, found in as_object(output.value.get("entities", {}), where, "entities").items():
        for mention in as_list(found, where, f"entities.{label:.80}"):
            quoted = as_text(mention, where, "mention")
            places = list(re.finditer(rf"(?<!\w){re.escape(quoted)}(?!\w)", text)) if quoted.strip() else []
            if not places:
                raise DataError(f"{where} has the mention {quoted[:200]!r} ({label:.80}), which its text does not have")
            spans |= {Span((place.span(),), as_label(label, where), where=where): None for place in places}
    named, relations, lost = _related(text, list(spans), object_list(output.value, "relations", where), where)
    left_out += (*left_out_of(output, "classifications", LABELS_OF_TEXTS), *lost)
    return AnnotatedText(text, named, where, left_out=left_out, relations=relations)


def _related(
    text: str, spans: list[Span], entries: list[dict[str, Any]], where: str
) -> tuple[list[Span], list[Relation], list[LeftOut]]:
    """The spans, with ids if there are relations; the relations; and those whose ends are not two spans."""
    if not entries:
        return spans, [], []
    named = [replace(span, id=str(number)) for number, span in enumerate(spans, 1)]
    relations, lost = [], list[LeftOut]()
    for label, ends in (pair for entry in entries for pair in entry.items()):
        given = ends if isinstance(ends, dict) and ends.keys() == {"head", "tail"} else {}
        heads, tails = ([one for one in named if one.quoted(text) == given.get(end)] for end in ("head", "tail"))
        pairs = [(abs(one.start - two.start), one.id, two.id) for one in heads for two in tails if one is not two]
        if pairs:
            _, head, tail = min(pairs, key=lambda pair: pair[0])
            relations.append(Relation(head, tail, label, where=where))
        else:
            lost.append(LeftOut(RELATIONS, where))
    return named, relations, lost


def _labelled(record: Record) -> LabelledText:
    (text, output, left_out), where = _parts(record), record.where
    found = as_list(output.value.get("classifications", []), where, "classifications")
    spans = as_object(output.value.get("entities", {}), where, "entities").values()
    left_out += tuple(LeftOut(SPANS_OF_TEXTS, where) for some in spans for _ in as_list(some, where, "entities"))
    left_out += left_out_of(output, "relations", RELATIONS)
    if len(found) > 1:
        raise DataError(f"{where} has {len(found)} classifications, but a task reads one; write one file for each")
    labels: list[str] = []
    for one in found:
        true = as_object(one, where, "classifications").get("true_label")
        labels += [as_label(label, where) for label in (true if isinstance(true, list) else [true])]
    return LabelledText(text, tuple(dict.fromkeys(labels)), where, left_out=left_out)


FORMAT = Format("gliner2", "GLiNER2", SPANS_OR_LABELS, looks_like, read)
