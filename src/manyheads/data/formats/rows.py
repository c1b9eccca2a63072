"""Rows as a format reads them, with the place each comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manyheads.errors import DataError, RowError
from manyheads.text.values import NO_CLASS, named

if TYPE_CHECKING:
    from manyheads.data.formats.standoff import AnnotatedText


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Part of a row that its task has no place for."""

    what: str
    """In the plural, for a table: `relations`, `discontinuous spans`."""
    where: str


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row of a file."""

    values: dict[str, Any]
    where: str
    """`path:line`, of the row's first line; `path: row N` (parquet); `path: question 'ID'` (SQuAD)."""
    lines: int = 1
    """Above 1 if word or sentence k is k lines below the first (CoNLL columns; rows of single sentences)."""
    skip: str | None = None
    """Why a valid row cannot be used (a label of -1 on the hub); skipped rows are counted by reason."""
    notes: tuple[str, ...] = ()
    """Assumptions made in reading the row. Reported once per split, with the number of rows and the first place."""
    left_out: tuple[LeftOut, ...] = ()
    """Parts of a used row that are not used; counted."""
    annotated: AnnotatedText | None = None
    """All annotations of the text, also overlapping and discontinuous spans, for conversion; None if the values have all."""
    error: str | None = None
    """What is wrong with a row that has no values; those after it can still be read."""


def row_or_error(where: str, read: Callable[[], RawRow]) -> RawRow:
    """The row that `read` makes, or one with the DataError that it raises."""
    try:
        return read()
    except DataError as error:
        return RawRow({}, where, error=str(error))


def sound(rows: Iterable[RawRow]) -> Iterator[RawRow]:
    """The rows. Raises DataError for one with an error."""
    for row in rows:
        if row.error is not None:
            raise DataError(row.error)
        yield row


def with_answers(values: dict[str, Any]) -> dict[str, Any]:
    """The row with answers as a list of {"text", "start"}, from SQuAD's `answer_start` or the hub's two parallel lists."""
    answers = values.get("answers")
    if isinstance(answers, Mapping) and {"text", "answer_start"} <= set(answers):
        texts, starts = answers["text"], answers["answer_start"]
        if not isinstance(texts, list) or not isinstance(starts, list):
            return values  # the task reports what is wrong with them
        answers = [{"text": text, "start": start} for text, start in zip(texts, starts, strict=False)]
    elif isinstance(answers, list):
        answers = [
            {"text": answer["text"], "start": answer["answer_start"]}
            if isinstance(answer, Mapping) and {"text", "answer_start"} <= set(answer)
            else answer
            for answer in answers
        ]
    else:
        return values
    return {**values, "answers": answers}


def with_class_names(
    values: dict[str, Any], classes: Mapping[str, Sequence[str]], where: str
) -> tuple[dict[str, Any], str | None]:
    """The row with class numbers replaced by names, and a reason to skip it: -1 means "no gold label" on the hub.

    Raises DataError for a number without a name.
    """
    skip = None
    found = dict(values)
    for column, names in classes.items():
        if found.get(column) == NO_CLASS:
            skip = f"no label ({column} is -1)"
        elif found.get(column) is not None:
            try:
                found[column] = named(found[column], names)
            except RowError as error:
                raise DataError(f"{where} {error}") from None
    return found, skip
