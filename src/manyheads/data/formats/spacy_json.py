"""spaCy's training pairs: spans as `[start, end, label]` under `entities`, `cats` with a number for each label.

    {"text": "Ada Byron wrote.", "entities": [[0, 9, "PER"]]}
    ["Ada Byron wrote.", {"entities": [[0, 9, "PER"]]}]
    ["Great value.", {"cats": {"positive": 1.0, "negative": 0.0}}]
    {"classes": ["PER"], "annotations": [["Ada Byron wrote.", {"entities": [[0, 9, "PER"]]}], null]}     NER Annotator

A label of `cats` applies if its number is 0.5 or more, and so does an identifier in `links` (`{"0,9": {"Q7259": 1.0}}`). A
fourth item of a span is an identifier too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyheads.data.formats.annotations import Span, links_of_text
from manyheads.data.formats.format import SPANS_OR_LABELS, Format, RowSchema
from manyheads.data.formats.labelled import LabelledText, rows_of
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.records import Record, as_label, as_list, as_object, as_text, values
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.squad import whole_json
from manyheads.data.formats.standoff import (
    LABELS_OF_TEXTS,
    RELATIONS,
    SPANS_OF_TEXTS,
    AnnotatedText,
    left_out_of,
    span_in_list,
)
from manyheads.errors import DataError

APPLIES = 0.5
"""The number of a label of `cats` from which it applies."""
GROUPS = "spans in groups"
OTHERS = {"relations": RELATIONS, "heads": "heads of words"}
"""What is left out, by key."""


def looks_like(preview: Preview) -> bool:
    """Spans in lists of three, or a pair of a text and an object of annotations."""
    shape = preview.json
    rows = shape.has("text") and shape.holds("entities[][]", int, str)
    return rows or _is_wrapped(preview) or (shape.array and (_pairs(preview, "") or _pairs(preview, "[]")))


def _is_wrapped(preview: Preview) -> bool:
    return not preview.json.array and preview.json.has("classes", "annotations[][].entities")


def _pairs(preview: Preview, path: str) -> bool:
    shape, dot = preview.json, f"{path}." if path else ""
    return shape.holds(path, str) and (
        shape.holds(f"{dot}entities[][]", int, str) or shape.under(f"{dot}cats")
        or (shape.has(f"{dot}entities") and not shape.under(f"{dot}entities"))
    )  # fmt: skip


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Rows; one with a malformed span has an error. Raises DataError for a broken array."""
    records = _wrapped if _is_wrapped(Preview.of(path)) else values
    return rows_of(schema, lambda: records(path), _annotated, _labelled)


def _wrapped(path: Path) -> Iterator[Record]:
    """The pairs under `annotations`, without texts that were skipped."""
    found = as_list(whole_json(path)["annotations"], str(path), "annotations")
    for number, value in enumerate(found, 1):
        if value is not None:
            yield Record(value, f"{path}: item {number}")


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
    given = Record(annotations, where)
    groups = as_object(annotations.get("spans") or {}, where, "spans")
    if "entities" not in annotations and len(groups) != 1:
        raise DataError(f"{where} has no 'entities'; a text without any has an empty list")
    if "entities" in annotations:
        entities = as_list(annotations["entities"], where, "entities")
        left_out = tuple(LeftOut(GROUPS, where) for key in groups for _ in as_list(groups[key], where, key[:80]))
    else:
        ((key, group),) = groups.items()
        entities, left_out = as_list(group, where, key[:80]), ()
    links = as_object(annotations.get("links") or {}, where, "links")
    spans = [_span(entity, links, where) for entity in entities]
    left_out += tuple(part for key, what in OTHERS.items() for part in left_out_of(given, key, what))
    return AnnotatedText(text, spans, where, left_out=left_out + left_out_of(given, "cats", LABELS_OF_TEXTS))


def _span(entity: Any, links: dict[str, Any], where: str) -> Span:
    span = span_in_list(entity, where, "entity", (3, 4))
    found = list(links_of_text(str(entity[3] or ""))) if len(entity) == 4 else []
    for place, chances in links.items():
        if place.strip("()[]").replace(" ", "") == f"{span.start},{span.end}":
            named = as_object(chances, where, "links").items()
            found += [link for link, chance in named if isinstance(chance, int | float) and chance >= APPLIES]
    return replace(span, links=tuple(dict.fromkeys(found)))


def _labelled(record: Record) -> LabelledText:
    (text, annotations), where = _parts(record), record.where
    if "cats" not in annotations:
        raise DataError(f"{where} has no 'cats', which text classification is read from")
    cats = annotations["cats"]
    labels = []
    if isinstance(cats, list):  # doccano's intents and slots
        cats = {as_label(label, where): 1 for label in cats}
    for label, value in as_object(cats, where, "cats").items():
        if not isinstance(value, int | float):  # true and false are numbers here
            raise DataError(f"{where} gives the label {label!r:.80} the number {value!r:.80}; give 1 or 0")
        if value >= APPLIES:
            labels.append(label)
    left_out = left_out_of(Record(annotations, where), "entities", SPANS_OF_TEXTS)
    return LabelledText(text, tuple(labels), where, left_out=left_out)


FORMAT = Format("spacy", "spaCy training pairs", SPANS_OR_LABELS, looks_like, read)
