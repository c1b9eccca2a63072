"""Rows of one document joined again, for formats whose unit is a document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count, groupby

from manyheads.data.formats.annotations import Relation, Span
from manyheads.outputs.documents import Document
from manyheads.outputs.formats.marks import with_ids
from manyheads.outputs.losses import Losses


def groups(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Rows that follow each other and are of the same document, together; a row without a document is one by itself.

    >>> [len(group) for group in groups([Document("a", ""), Document("b", "", group="x"), Document("c", "", group="x")])]
    [1, 2]
    """
    alone = count()
    for _, group in groupby(documents, key=lambda document: document.group or next(alone)):
        yield list(group)


def joined(group: Sequence[Document], separator: str, losses: Losses) -> Document:
    """The rows of a document as one, with the separator between their texts. What is lost by that is counted.

    >>> from manyheads.data.formats.annotations import Span
    >>> joined([Document("a", ""), Document("b", "", spans=(Span(((0, 1),), "X"),))], " ", Losses("brat")).spans[0].pieces
    ((2, 3),)
    """
    first = group[0]
    if len(group) == 1:
        return first
    losses.add("rows joined to the text of their document", first.where, len(group))
    lost = [row for row in group if row.id is not None and str(row.id) != first.group]
    losses.add("ids not written", first.where, len(lost))
    texts, spans, relations, base, taken = [], list[Span](), list[Relation](), 0, set[str]()
    for given in group:
        named = any(span.id for span in given.spans or ())
        row = with_ids(given, taken, str, losses) if named else given
        texts.append(row.text)
        spans += [_moved(span, base) for span in row.spans or ()]
        relations += row.relations
        base += len(row.text) + len(separator)
    return replace(first, text=separator.join(texts), spans=tuple(spans), relations=tuple(relations), words=None)


def _moved(span: Span, by: int) -> Span:
    return replace(span, pieces=tuple((start + by, end + by) for start, end in span.pieces))
