"""The columns of data with names of their own: renamed as the data source says, and proposed where some are missing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from manyheads.data.column_guess import Sample, guess_columns, sample_of
from manyheads.data.formats.chats import chat_in
from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.messages import did_you_mean
from manyheads.data.formats.rows import RawRow
from manyheads.errors import ColumnsError, DataError

MOST_NAMED = 1000
"""Characters of column names in a message."""
TARGETS = "targets"
HUB_TAGS = "ner_tags"
"""The hub's name for tags of entities."""


def column_names(
    schema: RowSchema, found: Sequence[str], place: str, sample: Callable[[], Sample] = dict
) -> dict[str, str]:
    """Our name of each column of a table: that in the table. Columns that are not renamed keep their names.

    `sample` is asked for the first values if columns are missing. Raises DataError for missing ones, with a proposal.
    """
    schema = _with_hub_tags(schema, found)
    for ours, theirs in schema.named:
        if theirs not in found:
            raise unknown_column(place, ours, theirs, found)
    taken = set(schema.renames.values()) | set(schema.renames)
    names = {name: name for name in found if name not in taken} | dict(schema.renames)
    if schema.missing(list(names)) and TARGETS not in names:
        raise missing_columns(schema, found, place, sample())
    return names


def _with_hub_tags(schema: RowSchema, found: Iterable[str]) -> RowSchema:
    """The schema, with the hub's column of entity tags for ours if the data has only that."""
    known = set(found)
    entities = schema.has_any("entities") and schema.has_any("tags")
    if not entities or "tags" in schema.renames or HUB_TAGS not in known or "tags" in known:
        return schema
    return replace(schema, renames={**schema.renames, "tags": HUB_TAGS})


def missing_columns(schema: RowSchema, found: Iterable[str], place: str, sample: Sample) -> DataError:
    """The error for a table that lacks the expected columns."""
    known = list(found)
    seen = ", ".join(known)[:MOST_NAMED] or "none"
    what = f"{place} has the columns {seen}; expected {schema.missing(())}"
    chat = chat_in(known)  # whose columns without values are no labels
    seen_values = {name: values for name in known if (values := sample.get(name, ())) or chat is None}
    if (guess := guess_columns(schema.columns, seen_values, schema.optional)) is not None:
        return ColumnsError(f"{what}: write columns: {guess}")
    if chat is not None:
        form = ", ".join(f'"{name}": ...' for name in schema.columns[0])
        return DataError(f"{place} has {chat}: write a row for each text, {{{form}}}, with the message or answer in question "
                         "as the text")  # fmt: skip
    example = known[-1] if known else "NAME"
    return ColumnsError(f"{what}: map them under 'columns', such as {schema.columns[0][-1]}: {example[:80]}")


Found = tuple[dict[str, Any] | DataError, str]
"""A JSON object, or the error of one that cannot be read, with its place."""
Objects = Callable[[], Iterator[Found]]
"""Reads the JSON objects of a file from its start."""


def object_rows(schema: RowSchema, place: str, objects: Objects) -> Iterator[RawRow]:
    """Rows of JSON objects, with their keys renamed. A row that lacks a renamed key that is expected has an error.

    Raises DataError if the first rows lack expected keys, and if no row has a renamed one.
    """
    expected = {ours for columns in schema.columns for ours in columns}
    unseen = dict(schema.named)
    any_row = False
    for values, where in objects():
        if isinstance(values, DataError):
            yield RawRow({}, where, error=str(values))
            continue
        shared = TARGETS in values
        if not any_row:
            schema = _with_hub_tags(schema, values)
        lacking = next((one for one in schema.named if one[0] in expected and one[1] not in values), None)
        if not any_row and not shared and (lacking or schema.missing(list(renamed(values, schema.renames)))):
            _check_keys(schema, expected, f"{where}:", objects)
        any_row = True
        for ours, theirs in schema.named:
            if theirs in values:
                unseen.pop(ours, None)
        if lacking is None or shared:
            yield RawRow(schema.normalised(renamed(values, schema.renames)), where)
        else:
            yield RawRow({}, where, error=str(unknown_column(f"{where}:", *lacking, values)))
    if any_row and unseen:
        ours, theirs = next(iter(unseen.items()))
        raise ColumnsError(f"{place}: no row has '{theirs[:80]}' (for {ours}); correct it under 'columns'")


def _check_keys(schema: RowSchema, expected: Collection[str], where: str, objects: Objects) -> None:
    """Raise DataError unless the first rows together have the expected keys. `where`: the first."""
    sample = sample_of(row for row, _ in objects() if not isinstance(row, DataError))
    if TARGETS in sample:
        return
    missing = schema.missing(list(renamed(sample, schema.renames)))
    for ours, theirs in schema.named:
        if theirs not in sample and (missing or ours in expected):
            raise unknown_column(where, ours, theirs, sample)
    if missing:
        raise missing_columns(schema, sample, where, sample)


def renamed(values: dict[str, Any], renames: Mapping[str, str]) -> dict[str, Any]:
    """A row with our keys (ours: theirs); other keys of our names are dropped. The row itself if nothing is renamed.

    >>> renamed({"sentence": "Great.", "text": 3, "id": 7}, {"text": "sentence"})
    {'id': 7, 'text': 'Great.'}
    """
    if not renames:
        return values
    taken = set(renames.values()) | set(renames)
    kept = {key: value for key, value in values.items() if key not in taken}
    return kept | {ours: values[theirs] for ours, theirs in renames.items() if theirs in values}


def unknown_column(place: str, ours: str, theirs: str, found: Iterable[str]) -> DataError:
    """The error for a column that the data source names and the data does not have."""
    known = list(found)
    seen = ", ".join(known)[:MOST_NAMED] or "none"
    hint = did_you_mean(theirs, known)
    return DataError(f"{place} has no column '{theirs[:80]}' (for {ours}); {hint}its columns are {seen}")
