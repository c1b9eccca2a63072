"""What every format gives: rows with the place they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manyheads.errors import DataError, RowError
from manyheads.text.values import NO_CLASS, named


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something a file says of a row that the row's task cannot hold."""

    what: str
    """In the plural, for a table: `relations`, `discontinuous spans`."""
    where: str


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as the file has it."""

    values: dict[str, Any]
    where: str
    """`path:line`, of the row's first line; `path: row N` (parquet); `path: question 'ID'` (SQuAD)."""
    lines: int = 1
    """Above 1 for CoNLL columns only: word k stands k lines below the first."""
    skip: str | None = None
    """Why the row cannot be used although nothing is wrong with it (a label of -1 on the hub); always counted."""
    notes: tuple[str, ...] = ()
    """What was decided in reading this row that its author may not have meant. Each is told once a split, as a warning with
    the count of its rows and the place of the first."""
    left_out: tuple[LeftOut, ...] = ()
    """What of a used row is not used; always counted."""


def with_answers(values: dict[str, Any]) -> dict[str, Any]:
    """Answers as a list of {"text", "start"}, from SQuAD's `answer_start` and from the hub's two parallel lists."""
    answers = values.get("answers")
    if isinstance(answers, Mapping) and {"text", "answer_start"} <= set(answers):
        texts, starts = answers["text"], answers["answer_start"]
        if not isinstance(texts, list) or not isinstance(starts, list):
            return values  # the task says what is wrong with them
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
    """Class numbers of these columns by name, and why the row cannot be used: -1 is the hub's sign for "no gold label".

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


def kind_of_json(value: Any) -> str:
    """What a JSON value is, in words for a message."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def counted(columns: int) -> str:
    """`1 column`, `2 columns`."""
    return "1 column" if columns == 1 else f"{columns} columns"
