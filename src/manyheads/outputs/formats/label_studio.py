"""Label Studio: gold annotations as `annotations`, answers of a model as `predictions`, which annotators see filled in.

The names of the controls are those of its templates: `label` and `choice`, to the object `text` with the value `$text`. Ids,
documents and other columns are in the task's `data`. Offsets are code points, which its editor counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import fmean
from typing import Any

from manyheads.outputs.documents import Document
from manyheads.outputs.formats.format import WriteFormat, Writing, array, present
from manyheads.outputs.losses import COLUMNS, GROUPS, IDS, OVERLAPS, SCORES


def encode(documents: Iterable[Document], writing: Writing) -> Iterator[bytes]:
    """An array of tasks."""
    return array(_task(document, writing) for document in documents)


def _task(document: Document, writing: Writing) -> dict[str, Any]:
    own = present(text=document.text, id=document.id, document=document.group or None)
    data = {**document.columns, **own}
    results = list(_results(document))
    if not document.predicted:
        return {"data": data, "annotations": [{"result": results}]}
    scores = [result["score"] for result in results if "score" in result]
    prediction = present(model_version=writing.source, score=fmean(scores) if scores else None, result=results)
    return {"data": data, "annotations": [], "predictions": [prediction]}


def _results(document: Document) -> Iterator[dict[str, Any]]:
    for number, span in enumerate(document.spans or (), 1):
        quoted = document.text[span.start : span.end]
        value = {"start": span.start, "end": span.end, "text": quoted, "labels": [span.label]}
        yield _result(f"span-{number}", "label", "labels", value, span.score)
    labels = document.labels
    if labels is not None:
        scores = [labels.scores[name] for name in labels.names if name in labels.scores]
        yield _result("choice", "choice", "choices", {"choices": list(labels.names)}, min(scores, default=None))


def _result(name: str, control: str, kind: str, value: dict[str, Any], score: float | None) -> dict[str, Any]:
    return present(id=name, from_name=control, to_name="text", type=kind, value=value, score=score)


FORMAT = WriteFormat(
    "label-studio", "Label Studio", ("spans", "classes"), frozenset({SCORES, IDS, COLUMNS, GROUPS, OVERLAPS}), encode,
    together=True,
)  # fmt: skip
