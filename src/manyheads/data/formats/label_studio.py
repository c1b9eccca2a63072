"""Label Studio: the JSON export with annotations and results, and JSON-MIN, one flat object per task.

    [{"id": 1, "data": {"text": "Ada Byron wrote."}, "annotations": [{"result": [{"type": "labels",
      "value": {"start": 0, "end": 9, "text": "Ada Byron", "labels": ["PER"]}}]}]}]
    [{"id": 1, "text": "Ada Byron wrote.", "label": [{"start": 0, "end": 9, "text": "Ada Byron", "labels": ["PER"]}]}]
    [{"id": 1, "text": "Great value.", "sentiment": "positive"}]

Design:
- If a task has several annotations, the one marked as ground truth is used, else the first that was not cancelled; the
  others are counted. Tasks without an annotation are skipped and counted.
- The text is `text`, or the only string of the task's data.
- Choices, numbers, ratings and texts that belong to a region are attributes of its span, named after their control. Of a
  relation to the left the ends are exchanged; one in both directions has the attribute `direction`.
- Browsers count UTF-16 units: offsets that fit the quoted mention only as such are converted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from manyheads.data.formats.annotations import Interval, Relation, Span, Value, attribute_of_text, id_of, several
from manyheads.data.formats.format import SPANS_OR_LABELS, Format, RowSchema
from manyheads.data.formats.labelled import LabelledText, rows_of
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.records import (
    Record,
    as_label,
    as_list,
    as_object,
    as_offset,
    as_text,
    object_list,
    objects,
)
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.standoff import (
    ATTRIBUTES,
    LABELS_OF_TEXTS,
    RELATIONS,
    SPANS_OF_TEXTS,
    AnnotatedText,
)
from manyheads.errors import DataError

OWN_KEYS = frozenset(
    ("id", "annotation_id", "annotator", "created_at", "updated_at", "lead_time", "agreement", "meta", "file_upload")
)
"""Keys of JSON-MIN that hold neither a text nor labels."""
ANNOTATIONS = ("annotations", "completions")
"""The key of a task's annotations, and that of versions before 1.0. Predictions are not gold."""
NO_ANNOTATION = "no annotation"
OTHER_RESULTS = "results of other kinds"
LEFT_OUT = {"relation": RELATIONS, "attribute": ATTRIBUTES, "labels": SPANS_OF_TEXTS, "choices": LABELS_OF_TEXTS}
"""What is left out, by type of result."""
VALUES = {"choices": "choices", "textarea": "text", "number": "number", "rating": "rating"}
"""Keys of the values of attributes, by type of result."""


@dataclass(frozen=True, slots=True)
class Result:
    """A result of an annotation."""

    kind: str
    """`labels`, `choices`, `relation`, `attribute` or another type."""
    value: dict[str, Any]
    given: Mapping[str, Any]
    """The whole result, with its ids."""

    @property
    def kind_of_value(self) -> str:
        """The type of an attribute."""
        return str(self.given.get("type") or next((kind for kind, key in VALUES.items() if key in self.value), "other"))

    def attribute(self) -> Value | None:
        """The value of an attribute; None if it is of another form."""
        found = self.value.get(VALUES.get(self.kind_of_value, ""))
        if isinstance(found, list) and found and all(isinstance(one, str) for one in found):
            value = several(found)
            return attribute_of_text(value) if isinstance(value, str) else value
        return found if isinstance(found, int | float) else None


@dataclass(frozen=True, slots=True)
class Task:
    """A text and the results of its annotation."""

    text: str
    results: Sequence[Result]
    where: str
    skip: str | None = None
    left_out: tuple[LeftOut, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    """With `id` and `document`, as we write them."""


def looks_like(preview: Preview) -> bool:
    """Tasks with `annotations`, or flat ones with the keys that only JSON-MIN has."""
    shape = preview.json
    whole = any(shape.has(key) for key in (*ANNOTATIONS, "predictions")) and shape.under("data")
    return whole or shape.has("annotation_id", "annotator") or (shape.array and shape.has("label[].labels"))


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Rows; one with a malformed result, or a mention that differs from its text, has an error.

    Raises DataError for a broken array.
    """
    return rows_of(schema, lambda: objects(path), lambda one: _annotated(_task(one)), lambda one: _labelled(_task(one)))


def _task(record: Record) -> Task:
    row, where = record.value, record.where
    if "annotations" not in row and "data" not in row:
        return _flat_task(row, where)
    data = as_object(row.get("data"), where, "data")
    text = _text(data, where)
    done = [one for key in ANNOTATIONS for one in object_list(row, key, where) if not one.get("was_cancelled")]
    if not done:
        return Task(text, (), where, NO_ANNOTATION)
    chosen = next((one for one in done if one.get("ground_truth")), done[0])
    others = tuple(LeftOut("further annotations of a task", where) for _ in done[1:])
    results = []
    for result in as_list(chosen.get("result"), where, "result"):
        found = as_object(result, where, "result")
        value = as_object(found.get("value", {}), where, "value")
        kind = str(found.get("type") or _type(value))
        results.append(Result("attribute" if "start" in value and "labels" not in value else kind, value, found))
    return Task(text, results, where, left_out=others, data=data)


def _flat_task(row: Mapping[str, Any], where: str) -> Task:
    """A task of JSON-MIN: the results are under the names of their controls."""
    text = _text({key: value for key, value in row.items() if key not in OWN_KEYS}, where, flat=True)
    results: list[Result] = []
    for key, value in row.items():
        if key in OWN_KEYS or value == text:
            continue
        if isinstance(value, str):
            results.append(Result("choices", {"choices": [value]}, {}))
            continue
        listed = value if isinstance(value, list) else [value]
        results += [Result(_type(one), one, {}) for one in listed if isinstance(one, dict)]
    return Task(text, results, where)


def _type(value: Mapping[str, Any]) -> str:
    return next((key for key in ("labels", "choices") if key in value), "other")


def _text(data: Mapping[str, Any], where: str, flat: bool = False) -> str:
    if "text" in data:
        return as_text(data["text"], where)
    texts = [key for key, value in data.items() if isinstance(value, str)]
    if len(texts) == 1 or (flat and texts):
        return as_text(data[texts[0]], where)
    raise DataError(
        f"{where} has no 'text' in its data, and {len(texts)} others ({', '.join(texts)[:200]}); rename one"
    )


def _annotated(task: Task) -> AnnotatedText:
    where, spans, relations, left_out = task.where, list[Span](), list[Relation](), list(task.left_out)
    for result in task.results:
        if result.kind == "labels":
            spans += _spans(task, result)
        elif result.kind == "relation":
            relations += _relations(result.given, where)
        elif result.kind != "attribute":
            left_out.append(LeftOut(LEFT_OUT.get(result.kind, OTHER_RESULTS), where))
    for result in task.results:
        if result.kind == "attribute":
            region = (id_of(result.given.get("id")), result.value.get("start"), result.value.get("end"))
            places = [place for place, span in enumerate(spans) if region[0] == span.id and span.id]
            places = places or [place for place, span in enumerate(spans) if span.pieces == (region[1:],)]
            name, value = str(result.given.get("from_name") or result.kind_of_value), result.attribute()
            if value is None or not places or name in spans[places[0]].attributes:
                left_out.append(LeftOut(ATTRIBUTES, where))
                continue
            for place in places:
                spans[place] = replace(spans[place], attributes={**spans[place].attributes, name: value})
    document = id_of(task.data.get("document"))
    return AnnotatedText(task.text, spans, where, document, tuple(left_out), task.data.get("id"), task.skip, relations)


def _spans(task: Task, result: Result) -> list[Span]:
    """A span for each label of a region."""
    value, where = result.value, task.where
    piece = as_offset(value.get("start"), where), as_offset(value.get("end"), where)
    quoted = value.get("text") if isinstance(value.get("text"), str) else None
    pieces, name = (_in_characters(task.text, piece, quoted),), id_of(result.given.get("id"))
    return [
        Span(pieces, as_label(label, where), id=name, where=where, text=quoted)
        for label in as_list(value.get("labels"), where, "labels")
    ]


def _relations(given: Mapping[str, Any], where: str) -> list[Relation]:
    """A relation for each label of a relation."""
    head, tail, direction = id_of(given.get("from_id")), id_of(given.get("to_id")), given.get("direction")
    ends = (tail, head) if direction == "left" else (head, tail)
    both = {"direction": "bi"} if direction == "bi" else {}
    labels = as_list(given.get("labels") or [""], where, "labels")
    return [Relation(*ends, as_text(label, where, "labels"), attributes=both, where=where) for label in labels]


def _in_characters(text: str, piece: Interval, quoted: str | None) -> Interval:
    """The offsets in characters, converted from UTF-16 units if only those give the quoted mention."""
    start, end = piece
    if quoted is None or text[max(start, 0) : max(end, 0)] == quoted:
        return piece
    units = text.encode("utf-16-le", "surrogatepass")
    found = units[2 * start : 2 * end].decode("utf-16-le", "replace") if 0 <= start <= end else ""
    if found != quoted:
        return piece
    first = len(units[: 2 * start].decode("utf-16-le", "replace"))
    return first, first + len(found)


def _labelled(task: Task) -> LabelledText:
    labels, left_out = [], list(task.left_out)
    for result in task.results:
        if result.kind == "choices":
            found = as_list(result.value.get("choices"), task.where, "choices")
            labels += [as_label(one, task.where) for one in found]
        else:
            left_out.append(LeftOut(LEFT_OUT.get(result.kind, OTHER_RESULTS), task.where))
    return LabelledText(task.text, tuple(dict.fromkeys(labels)), task.where, task.skip, tuple(left_out))


FORMAT = Format("label-studio", "Label Studio", SPANS_OR_LABELS, looks_like, read)
