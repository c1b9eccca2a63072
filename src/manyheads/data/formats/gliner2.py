"""GLiNER2: mentions by label, classifications with their true label.

    {"input": "Ada Byron wrote.", "output": {"entities": {"person": ["Ada Byron"]}}}
    {"input": "Great.", "output": {"classifications": [{"task": "s", "labels": ["good", "bad"], "true_label": ["good"]}]}}

Mentions come without offsets, so every whole-word occurrence of a mention gets its label; a mention that does not occur is
refused. `text` and `schema` mean the same as `input` and `output`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from manyheads.data.formats.format import SPANS_OR_LABELS, Format, RowSchema
from manyheads.data.formats.labelled import LabelledText, rows_of
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.records import Record, as_label, as_list, as_object, as_text, objects
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.standoff import (
    LABELS_OF_TEXTS,
    RELATIONS,
    SPANS_OF_TEXTS,
    AnnotatedText,
    Mention,
    left_out_of,
)
from manyheads.errors import DataError

OTHERS = {"relations": RELATIONS, "json_structures": "structures", "entity_descriptions": "descriptions of labels"}
"""What is left out, by key."""


def looks_like(preview: Preview) -> bool:
    """Entities or classifications in an output."""
    shape = preview.json
    return any(
        shape.has(text) and (shape.has(f"{output}.entities") or shape.has(f"{output}.classifications[].true_label"))
        for text, output in (("input", "output"), ("text", "schema"))
    )


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Rows. Raises DataError for a mention that does not occur in its text."""
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
    mentions = []
    for label, found in as_object(output.value.get("entities", {}), where, "entities").items():
        for mention in as_list(found, where, f"entities.{label:.80}"):
            quoted = as_text(mention, where, "mention")
            places = list(re.finditer(rf"(?<!\w){re.escape(quoted)}(?!\w)", text)) if quoted.strip() else []
            if not places:
                raise DataError(f"{where} has the mention {quoted[:200]!r} ({label:.80}), which its text does not have")
            mentions += [Mention((place.span(),), as_label(label, where), where) for place in places]
    left_out += left_out_of(output, "classifications", LABELS_OF_TEXTS)
    return AnnotatedText(text, tuple(dict.fromkeys(mentions)), where, left_out=left_out)


def _labelled(record: Record) -> LabelledText:
    (text, output, left_out), where = _parts(record), record.where
    found = as_list(output.value.get("classifications", []), where, "classifications")
    spans = as_object(output.value.get("entities", {}), where, "entities").values()
    left_out += tuple(LeftOut(SPANS_OF_TEXTS, where) for some in spans for _ in as_list(some, where, "entities"))
    if len(found) > 1:
        raise DataError(f"{where} has {len(found)} classifications, but a task reads one; write one file for each")
    labels: list[str] = []
    for one in found:
        true = as_object(one, where, "classifications").get("true_label")
        labels += [as_label(label, where) for label in (true if isinstance(true, list) else [true])]
    return LabelledText(text, tuple(dict.fromkeys(labels)), where, left_out=left_out)


FORMAT = Format("gliner2", "GLiNER2", SPANS_OR_LABELS, looks_like, read)
