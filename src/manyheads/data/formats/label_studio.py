"""Label Studio: the JSON export with annotations and results, and JSON-MIN, one flat object a task.

    [{"id": 1, "data": {"text": "Ada Byron wrote."}, "annotations": [{"result": [{"type": "labels",
      "value": {"start": 0, "end": 9, "text": "Ada Byron", "labels": ["PER"]}}]}]}]
    [{"id": 1, "text": "Ada Byron wrote.", "label": [{"start": 0, "end": 9, "text": "Ada Byron", "labels": ["PER"]}]}]
    [{"id": 1, "text": "Great value.", "sentiment": "positive"}]

Decided here:
- Of several annotations of a task the one marked as ground truth counts, else the first that was not cancelled; the others
  are counted. Tasks without an annotation are passed over and counted.
- The text is `text`, or the only string of the task's data.
- A browser counts UTF-16 units: where a quoted mention fits such offsets alone, they are converted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyheads.data.formats.format import MARKED_OR_LABELLED, Format, Wanted
from manyheads.data.formats.head import Head
from manyheads.data.formats.labelled import Labelled, rows_of
from manyheads.data.formats.records import Record, a_list, an_object, objects
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.standoff import RELATIONS, Interval, Marked, Mention, label_of, offset, row_of, text_in
from manyheads.errors import DataError

OWN_KEYS = frozenset(
    ("id", "annotation_id", "annotator", "created_at", "updated_at", "lead_time", "agreement", "meta", "file_upload")
)
"""Keys of JSON-MIN that hold neither a text nor labels."""
NO_ANNOTATION = "no annotation"


@dataclass(frozen=True, slots=True)
class Task:
    """A text and the results of its annotation."""

    text: str
    results: Sequence[tuple[str, dict[str, Any]]]
    """`labels`, `choices`, `relation` or another type, with its value."""
    where: str
    skip: str | None = None
    left_out: tuple[LeftOut, ...] = ()


def looks_like(head: Head) -> bool:
    """Tasks with `annotations`, or flat ones with the keys that only JSON-MIN has."""
    shape = head.json
    whole = shape.has("annotations") and shape.under("data")
    return whole or shape.has("annotation_id", "annotator") or (shape.array and shape.has("label[].labels"))


def read(path: Path, wanted: Wanted) -> Iterator[RawRow]:
    """Rows. Raises DataError for a result of another form, and a mention that is not that of its text."""
    if wanted.wants("label", "labels"):
        yield from rows_of(lambda: (_labelled(_task(record)) for record in objects(path)), single=wanted.wants("label"))
        return
    for record in objects(path):
        task = _task(record)
        yield RawRow({"text": task.text}, task.where, skip=task.skip) if task.skip else row_of(_marked(task))


def _task(record: Record) -> Task:
    row, where = record.value, record.where
    if "annotations" not in row and "data" not in row:
        return _flat_task(row, where)
    text = _text(an_object(row.get("data"), where, "data"), where)
    done = [an_object(one, where, "annotations") for one in a_list(row.get("annotations") or [], where, "annotations")]
    done = [one for one in done if not one.get("was_cancelled")]
    if not done:
        return Task(text, (), where, NO_ANNOTATION)
    chosen = next((one for one in done if one.get("ground_truth")), done[0])
    others = tuple(LeftOut("further annotations of a task", where) for _ in done[1:])
    results = []
    for result in a_list(chosen.get("result"), where, "result"):
        found = an_object(result, where, "result")
        value = an_object(found.get("value", {}), where, "value")
        results.append((str(found.get("type") or _type(value)), value))
    return Task(text, results, where, left_out=others)


def _flat_task(row: Mapping[str, Any], where: str) -> Task:
    """A task of JSON-MIN: the results lie under the names of their controls."""
    text = _text({key: value for key, value in row.items() if key not in OWN_KEYS}, where, flat=True)
    results: list[tuple[str, dict[str, Any]]] = []
    for key, value in row.items():
        if key in OWN_KEYS or value == text:
            continue
        if isinstance(value, list):
            results += [(_type(one), one) for one in value if isinstance(one, dict)]
        elif isinstance(value, dict):
            results.append((_type(value), value))
        elif isinstance(value, str):
            results.append(("choices", {"choices": [value]}))
    return Task(text, results, where)


def _type(value: Mapping[str, Any]) -> str:
    return next((key for key in ("labels", "choices") if key in value), "other")


def _text(data: Mapping[str, Any], where: str, flat: bool = False) -> str:
    if "text" in data:
        return text_in(data["text"], where)
    texts = [key for key, value in data.items() if isinstance(value, str)]
    if len(texts) == 1 or (flat and texts):
        return text_in(data[texts[0]], where)
    raise DataError(
        f"{where} has no 'text' in its data, and {len(texts)} others ({', '.join(texts)[:200]}); rename one"
    )


def _marked(task: Task) -> Marked:
    left_out, mentions = list(task.left_out), []
    for kind, value in task.results:
        if kind != "labels":
            left_out.append(LeftOut(RELATIONS if kind == "relation" else "results of other kinds", task.where))
            continue
        pieces = offset(value.get("start"), task.where), offset(value.get("end"), task.where)
        labels = a_list(value.get("labels"), task.where, "labels")
        said = value.get("text")
        said = said if isinstance(said, str) else None
        for label in labels:
            name = label_of(label, task.where)
            mentions.append(Mention((_characters(task.text, pieces, said),), name, task.where, said))
    return Marked(task.text, mentions, task.where, left_out=tuple(left_out))


def _characters(text: str, piece: Interval, said: str | None) -> Interval:
    """The offsets in characters, from UTF-16 units where only those give the quoted mention."""
    start, end = piece
    if said is None or text[max(start, 0) : max(end, 0)] == said:
        return piece
    units = text.encode("utf-16-le", "surrogatepass")
    found = units[2 * start : 2 * end].decode("utf-16-le", "replace") if 0 <= start <= end else ""
    if found != said:
        return piece
    first = len(units[: 2 * start].decode("utf-16-le", "replace"))
    return first, first + len(found)


def _labelled(task: Task) -> Labelled:
    labels, left_out = [], list(task.left_out)
    for kind, value in task.results:
        if kind == "choices":
            labels += [label_of(one, task.where) for one in a_list(value.get("choices"), task.where, "choices")]
        else:
            left_out.append(LeftOut("results of other kinds", task.where))
    return Labelled(task.text, tuple(dict.fromkeys(labels)), task.where, task.skip, tuple(left_out))


FORMAT = Format("label-studio", "Label Studio", MARKED_OR_LABELLED, looks_like, read)
