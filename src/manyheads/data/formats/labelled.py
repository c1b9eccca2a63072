"""Texts with lists of labels, as annotation tools export them, to rows with `label` or `labels`.

Tools write a list even where every text has one label. If no text of a file has more than one, the file is single-label,
and texts without a label are skipped and counted; otherwise it is multi-label. So the file is read twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.records import Record
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.standoff import AnnotatedText, entity_rows
from manyheads.errors import DataError

NO_LABEL = "no label"


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text with its labels."""

    text: str
    labels: tuple[str, ...]
    where: str
    skip: str | None = None
    """Why the text is not used, if it is not."""
    left_out: tuple[LeftOut, ...] = ()
    error: str | None = None
    """What is wrong with a text that cannot be read; those after it still can."""


def rows_of(
    schema: RowSchema,
    records: Callable[[], Iterable[Record]],
    annotated: Callable[[Record], AnnotatedText],
    labelled: Callable[[Record], LabelledText],
) -> Iterator[RawRow]:
    """Rows of a format that holds both spans and labels: with labels if the task reads them, otherwise with entities.

    A record that cannot be read is a row with an error.
    """
    if schema.has_any("label", "labels"):
        yield from label_rows(lambda: (_text(record, labelled) for record in records()), single=schema.has_any("label"))
        return
    for record in records():
        try:
            found = record.read(annotated)
        except DataError as error:
            yield RawRow({}, record.where, error=str(error))
        else:
            yield from entity_rows(found)


def _text(record: Record, labelled: Callable[[Record], LabelledText]) -> LabelledText:
    """The text of a record, or one with its error."""
    try:
        return record.read(labelled)
    except DataError as error:
        return LabelledText("", (), record.where, error=str(error))


def label_rows(texts: Callable[[], Iterable[LabelledText]], *, single: bool) -> Iterator[RawRow]:
    """Rows with labels. `single`: the task reads single labels too."""
    several = not single or _has_several(texts())
    for text in texts():
        if text.error is not None:
            yield RawRow({}, text.where, error=text.error)
            continue
        skip = text.skip if several or text.labels or text.skip is not None else NO_LABEL
        if skip is not None:
            yield RawRow({"text": text.text}, text.where, skip=skip)
        else:
            labels = {"labels": list(text.labels)} if several else {"label": text.labels[0]}
            yield RawRow({"text": text.text, **labels}, text.where, left_out=text.left_out)


def _has_several(texts: Iterable[LabelledText]) -> bool:
    """Whether a text has more than one label, of those before a defect that ends the reading."""
    with suppress(DataError):
        return any(len(text.labels) > 1 for text in texts if text.skip is None)
    return False
