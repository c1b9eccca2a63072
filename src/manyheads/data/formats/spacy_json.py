"""spaCy's training pairs: spans as `[start, end, label]` under `entities`, `cats` with a number for each label.

    {"text": "Ada Byron wrote.", "entities": [[0, 9, "PER"]]}
    ["Ada Byron wrote.", {"entities": [[0, 9, "PER"]]}]
    ["Great value.", {"cats": {"positive": 1.0, "negative": 0.0}}]

A label of `cats` applies if its number is 0.5 or more.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manyheads.data.formats.format import SPANS_OR_LABELS, Format, RowSchema
from manyheads.data.formats.labelled import LabelledText, rows_of
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.records import Record, as_list, as_object, as_text, values
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.standoff import AnnotatedText, mention_in_list
from manyheads.errors import DataError

APPLIES = 0.5
"""The number of a label of `cats` from which it applies."""


def looks_like(preview: Preview) -> bool:
    """Spans in lists of three, or a pair of a text and an object of annotations."""
    shape = preview.json
    rows = shape.has("text") and shape.holds("entities[][]", int, str)
    return rows or (shape.array and (_pairs(preview, "") or _pairs(preview, "[]")))


def _pairs(preview: Preview, path: str) -> bool:
    shape, dot = preview.json, f"{path}." if path else ""
    return shape.holds(path, str) and (
        shape.holds(f"{dot}entities[][]", int, str) or shape.under(f"{dot}cats")
        or (shape.has(f"{dot}entities") and not shape.under(f"{dot}entities"))
    )  # fmt: skip


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Rows. Raises DataError for a malformed span."""
    return rows_of(schema, lambda: values(path), _annotated, _labelled)


def _parts(record: Record) -> tuple[str, dict[str, Any]]:
    """The text and its annotations."""
    value, where = record.value, record.where
    if isinstance(value, list):
        if len(value) != 2:
            raise DataError(f"{where} is a list of {len(value)}; a training pair is [text, {{...}}]")
        return as_text(value[0], where), as_object(value[1], where, "annotations")
    found = as_object(value, where, "row")
    return as_text(found.get("text"), where), found


def _annotated(record: Record) -> AnnotatedText:
    (text, annotations), where = _parts(record), record.where
    if "entities" not in annotations:
        raise DataError(f"{where} has no 'entities'; a text without any has an empty list")
    entities = as_list(annotations["entities"], where, "entities")
    mentions = [mention_in_list(entity, where, "entity", (3, 4)) for entity in entities]  # 4: an id of a knowledge base
    others = ("links", "spans", "relations", "heads")
    left_out = tuple(LeftOut(f"'{key}'", where) for key in others if annotations.get(key))
    return AnnotatedText(text, mentions, where, left_out=left_out)


def _labelled(record: Record) -> LabelledText:
    (text, annotations), where = _parts(record), record.where
    if "cats" not in annotations:
        raise DataError(f"{where} has no 'cats', which text classification is read from")
    labels = []
    for label, value in as_object(annotations["cats"], where, "cats").items():
        if not isinstance(value, int | float):  # true and false are numbers here
            raise DataError(f"{where} gives the label {label!r:.80} the number {value!r:.80}; give 1 or 0")
        if value >= APPLIES:
            labels.append(label)
    return LabelledText(text, tuple(labels), where)


FORMAT = Format("spacy", "spaCy training pairs", SPANS_OR_LABELS, looks_like, read)
