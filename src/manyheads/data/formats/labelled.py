"""Texts with a list of labels, as annotation tools export them, to rows with `label` or `labels`.

Decided here: tools write a list even where every text has one label. If no text of a file has more, the file is taken
for one of single labels, and texts without one are passed over and counted; else each text may have any number. So the
file is read twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from manyheads.data.formats.rows import LeftOut, RawRow

NO_LABEL = "no label"


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text with its labels; None for a row that is passed over, with the reason."""

    text: str
    labels: tuple[str, ...]
    where: str
    skip: str | None = None
    left_out: tuple[LeftOut, ...] = ()


def rows_of(texts: Callable[[], Iterable[Labelled]], *, single: bool) -> Iterator[RawRow]:
    """The rows, with `label` (where `single` labels are wanted) or with `labels`."""
    several = not single or any(len(text.labels) > 1 for text in texts() if text.skip is None)
    for text in texts():
        if text.skip is None and not several and not text.labels:
            yield RawRow({"text": text.text}, text.where, skip=NO_LABEL)
        elif text.skip is not None:
            yield RawRow({"text": text.text}, text.where, skip=text.skip)
        else:
            labels = {"labels": list(text.labels)} if several else {"label": text.labels[0]}
            yield RawRow({"text": text.text, **labels}, text.where, left_out=text.left_out)
