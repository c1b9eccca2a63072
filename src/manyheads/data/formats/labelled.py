"""Texts with lists of labels, as annotation tools export them, to rows with `label` or `labels`.

Tools write a list even where every text has one label. If no text of a file has more than one, the file is single-label,
and texts without a label are skipped and counted; otherwise it is multi-label. So the file is read twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.standoff import AnnotatedText, entity_row

NO_LABEL = "no label"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text with its labels."""

    text: str
    labels: tuple[str, ...]
    where: str
    skip: str | None = None
    """Why the text is not used, if it is not."""
    left_out: tuple[LeftOut, ...] = ()


def rows_of(
    schema: RowSchema,
    records: Callable[[], Iterable[T]],
    annotated: Callable[[T], AnnotatedText],
    labelled: Callable[[T], LabelledText],
) -> Iterator[RawRow]:
    """Rows of a format that holds both spans and labels: with labels if the task reads them, otherwise with entities."""
    if schema.has_any("label", "labels"):
        yield from label_rows(lambda: map(labelled, records()), single=schema.has_any("label"))
    else:
        yield from map(entity_row, map(annotated, records()))


def label_rows(texts: Callable[[], Iterable[LabelledText]], *, single: bool) -> Iterator[RawRow]:
    """Rows with labels. `single`: the task reads single labels too."""
    several = not single or any(len(text.labels) > 1 for text in texts() if text.skip is None)
    for text in texts():
        skip = text.skip if several or text.labels or text.skip is not None else NO_LABEL
        if skip is not None:
            yield RawRow({"text": text.text}, text.where, skip=skip)
        else:
            labels = {"labels": list(text.labels)} if several else {"label": text.labels[0]}
            yield RawRow({"text": text.text, **labels}, text.where, left_out=text.left_out)
