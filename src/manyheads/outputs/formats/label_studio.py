"""Label Studio: gold annotations as `annotations`, answers of a model as `predictions`, which annotators see filled in.

The names of the controls are those of its templates: `label` and `choice`, to the object `text` with the value `$text`. Ids,
documents and other columns are in the task's `data`. An attribute is a result of its region, a number or choices, under a
control of its own name. Offsets are code points, which its editor counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import fsum
from typing import Any

from manyheads.data.formats.annotations import ROLES, Relation, Value, attribute_of_text, text_of_attribute
from manyheads.outputs.documents import Document
from manyheads.outputs.formats.format import WriteFormat, Writing, array, present
from manyheads.outputs.formats.marks import relations_of_spans, with_ids
from manyheads.outputs.losses import ATTRIBUTES, COLUMNS, GROUPS, IDS, NAMES, OVERLAPS, RELATIONS, SCORES


def encode(documents: Iterable[Document], writing: Writing) -> Iterator[bytes]:
    """An array of tasks."""
    return array(_task(document, writing) for document in documents)


def _task(document: Document, writing: Writing) -> dict[str, Any]:
    own = present(text=document.text, id=document.id, document=document.group or None)
    data = {**document.columns, **own}
    results = list(_results(document, writing))
    if not document.predicted:
        return {"data": data, "annotations": [{"result": results}]}
    scores = [result["score"] for result in results if "score" in result]
    prediction = present(model_version=writing.source, score=fsum(scores) / len(scores) if scores else None, result=results)
    return {"data": data, "annotations": [], "predictions": [prediction]}


def _results(given: Document, writing: Writing) -> Iterator[dict[str, Any]]:
    document = relations_of_spans(with_ids(given, set(), "span-{}".format, writing.losses), writing)
    for span in document.spans or ():
        region = {"start": span.start, "end": span.end, "text": document.text[span.start : span.end]}
        yield _result(span.id, "label", "labels", {**region, "labels": [span.label]}, span.score)
        for name, value in span.attributes.items():
            numeric = isinstance(value, int | float) and not isinstance(value, bool)
            kind, held = ("number", value) if numeric else ("choices", _choices(value, given, writing))
            yield _result(span.id, name, kind, {**region, kind: held}, None)
    writing.losses.add("roles of relations not written", given.where, sum(one.roles != ROLES for one in document.relations))
    for relation in document.relations:
        yield _relation(relation, given, writing)
    labels = document.labels
    if labels is not None:
        scores = [labels.scores[name] for name in labels.names if name in labels.scores]
        yield _result("choice", "choice", "choices", {"choices": list(labels.names)}, min(scores, default=None))


def _choices(value: Value, document: Document, writing: Writing) -> list[str]:
    if isinstance(value, tuple):
        return list(value)
    text = text_of_attribute(value)
    writing.losses.add("attributes written as text", document.where, attribute_of_text(text) != value)
    return [text]


def _relation(relation: Relation, document: Document, writing: Writing) -> dict[str, Any]:
    both = relation.attributes.get("direction") == "bi"
    writing.losses.add("attributes of relations not written", document.where, len(relation.attributes) - both)
    labels = {"labels": [relation.label]} if relation.label else {}
    return {"type": "relation", "from_id": relation.head, "to_id": relation.tail, "direction": "bi" if both else "right",
            **labels}  # fmt: skip


def _result(name: str, control: str, kind: str, value: dict[str, Any], score: float | None) -> dict[str, Any]:
    return present(id=name, from_name=control, to_name="text", type=kind, value=value, score=score)


FORMAT = WriteFormat(
    "label-studio", "Label Studio", ("spans", "classes"),
    frozenset({SCORES, IDS, COLUMNS, GROUPS, OVERLAPS, NAMES, ATTRIBUTES, RELATIONS}), encode,
    together=True,
)  # fmt: skip
