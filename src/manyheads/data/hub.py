"""Datasets of the hub (`hf:NAME`), as rows like those of files.

Class numbers become class names, in single columns and in lists (tags of words), so that labels are the same whether a
dataset comes from the hub or from a file. A class of -1, the hub's sign for "no gold label", makes a skipped row, counted
with its reason. `datasets` 4 and later runs no code of a dataset.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from manyheads.data.column_guess import Mapped, sample_of
from manyheads.data.formats.columns import column_names
from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.messages import first_line
from manyheads.data.formats.rows import RawRow, with_class_names
from manyheads.data.readers import Opened
from manyheads.errors import DataError
from manyheads.tasks.base import Task
from manyheads.text.values import class_names


@dataclass(frozen=True, slots=True)
class Hub:
    """A dataset by its name on the hub, or the path of a local folder that `datasets` can load."""

    name: str
    config: str | None = None
    split: str | None = None
    """None: the split it is used as."""
    columns: Mapped = field(default_factory=dict)
    """Our column: theirs, such as `{"text": "sentence"}`."""
    revision: str | None = None

    def __str__(self) -> str:
        return f"hf:{self.name}" + (f"/{self.config}" if self.config else "")


def open_hub(hub: Hub, task: type[Task[Any]], split: str) -> Opened:
    """The dataset, loaded. Raises DataError if it cannot be loaded, or lacks a column."""
    import datasets

    split = hub.split or split
    try:
        data = datasets.load_dataset(hub.name, hub.config, split=split, revision=hub.revision)
    except Exception as error:
        raise DataError(
            f"{hub} (split {split}) cannot be loaded: {type(error).__name__}: {first_line(error)}; check the name, config "
            "and split, and the connection, or download it and give a path"
        ) from None
    return opened_dataset(data, RowSchema.for_task(task, columns=hub.columns), f"{hub} ({split})")


def opened_dataset(data: Any, schema: RowSchema, place: str) -> Opened:
    """A `datasets.Dataset`, with its columns renamed. Raises DataError for no rows, or a missing column."""
    if not len(data):
        raise DataError(f"{place} has no rows; name another split")
    names = column_names(schema, list(data.features), place, lambda: sample_of(data))
    features = data.features.to_dict()
    classes = {ours: found for ours, theirs in names.items() if (found := class_names(features[theirs]))}

    def rows() -> Iterator[RawRow]:
        for number, row in enumerate(data.select_columns(sorted(set(names.values()))), 1):
            where = f"{place}: row {number}"
            values = {ours: row[theirs] for ours, theirs in names.items()}
            values, skip = with_class_names(values, classes, where)
            yield RawRow(schema.normalised(values), where, skip=skip)

    renamed = ",".join(f"{ours}={theirs}" for ours, theirs in sorted(names.items()))
    return Opened(f"{place}|{renamed}|{schema.gathered or ''}|{data._fingerprint}", rows)
