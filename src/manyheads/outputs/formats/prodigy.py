"""Prodigy: one task per line. Gold rows have the answer `accept`; predictions have none, so that they can be annotated.

    {"text": "Ada Byron wrote.", "spans": [{"start": 0, "end": 9, "label": "PER"}], "answer": "accept"}
    {"text": "Great value.", "options": [{"id": "good", "text": "good"}], "accept": ["good"], "answer": "accept"}

Relations come with `tokens`, which their numbers count, and with the spans they hold between, as in `rel.manual`. Spans have
`id`, `attributes` and `links` as in our own rows: Prodigy passes on keys that it does not know.

One label of a text is written as `label` in gold data, and as a chosen option (`ner.manual` and `choice` show both kinds) in
predictions. Ids, documents and other columns are in `meta`, which Prodigy shows below the text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any

from manyheads.data.formats.annotations import entity, relation_entry
from manyheads.outputs.documents import Document
from manyheads.outputs.formats.conll import cut_at_spans
from manyheads.outputs.formats.format import WriteFormat, Writing, lines, present
from manyheads.outputs.formats.marks import relations_of_spans, with_ids
from manyheads.outputs.losses import (
    ATTRIBUTES,
    COLUMNS,
    GROUPS,
    IDENTIFIERS,
    IDS,
    NAMES,
    OVERLAPS,
    RELATIONS,
    SCORES,
)

_HOLDS = frozenset({SCORES, IDS, COLUMNS, GROUPS, OVERLAPS, NAMES, ATTRIBUTES, IDENTIFIERS, RELATIONS})


def encode(documents: Iterable[Document], writing: Writing) -> Iterator[bytes]:
    """A line per document."""
    return lines(_row(document, writing) for document in documents)


def _row(document: Document, writing: Writing) -> dict[str, Any]:
    labels = document.labels
    row: dict[str, Any] = {"text": document.text}
    if document.spans is not None:
        held = relations_of_spans(document, writing)
        row |= _related(held, writing) if held.relations else {"spans": list(map(entity, document.spans))}
    elif labels is not None and (labels.several or document.predicted):
        row["options"] = [
            present(id=name, text=name, score=labels.scores.get(name))
            for name in dict.fromkeys([*writing.labels(), *labels.names])
        ]
        row["accept"] = list(labels.names)
    elif labels is not None:
        row["label"] = labels.names[0]
    meta = present(**{**document.columns, "id": document.id, "document": document.group or None})
    return row | ({"meta": meta} if meta else {}) | ({} if document.predicted else {"answer": "accept"})


def _related(document: Document, writing: Writing) -> dict[str, Any]:
    """Spans with their tokens, tokens, and relations."""
    whole = with_ids(document, set(), str, writing.losses)
    cut, text = cut_at_spans(whole), whole.text
    tokens = [{"text": text[start:end], "start": start, "end": end, "id": number, "ws": text[end : end + 1] == " "}
              for number, (start, end) in enumerate(cut)]  # fmt: skip
    spans: dict[str, dict[str, Any]] = {}
    for span in whole.spans or ():
        first = bisect_left(cut, span.end, key=itemgetter(0)) - 1
        places = {"token_start": bisect_left(cut, (span.start, span.end)), "token_end": first}
        spans[span.id] = entity(span) | (places if places["token_start"] <= first else {})
    relations = []
    for relation in whole.relations:
        head, child = spans[relation.head], spans[relation.tail]
        own = {key: value for key, value in relation_entry(relation).items() if key in ("label", "attributes", "roles")}
        relations.append({"head": head.get("token_end"), "child": child.get("token_end"), "head_span": head,
                          "child_span": child, **own})  # fmt: skip
    return {"tokens": tokens, "spans": list(spans.values()), "relations": relations}


FORMAT = WriteFormat("prodigy", "Prodigy", ("spans", "classes"), _HOLDS, encode)
