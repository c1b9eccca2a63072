"""Data sets of the hub (`hf:NAME`), as rows like those of files.

Decided here: class numbers become their names, in single columns and in lists (tags of words), so that labels are the
same whether a data set comes from the hub or from a file. A class of -1, the hub's sign for "no gold label", makes a
skipped row, counted with its reason. `datasets` 4 and later runs no code of a data set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from manyheads.data.formats.format import Wanted
from manyheads.data.formats.rows import RawRow, with_class_names
from manyheads.data.readers import Opened
from manyheads.errors import DataError
from manyheads.tasks.base import Task


@dataclass(frozen=True, slots=True)
class Hub:
    """A data set by its name on the hub, or the path of a local folder that `datasets` can load."""

    name: str
    config: str | None = None
    split: str | None = None
    """None: the split it is used as."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our column: theirs, such as `{"text": "sentence"}`."""
    revision: str | None = None

    def __str__(self) -> str:
        return f"hf:{self.name}" + (f"/{self.config}" if self.config else "")


def open_hub(hub: Hub, task: type[Task[Any]], split: str) -> Opened:
    """The data set, loaded. Raises DataError when it cannot be had, or lacks a column."""
    import datasets

    split = hub.split or split
    try:
        data = datasets.load_dataset(hub.name, hub.config, split=split, revision=hub.revision)
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        raise DataError(
            f"{hub} (split {split}) cannot be loaded: {type(error).__name__}: {said}; check the name, config and "
            "split, and the connection, or download it and give a path"
        ) from None
    return opened_dataset(data, hub.columns, Wanted.by(task), f"{hub} ({split})")


def opened_dataset(data: Any, columns: Mapping[str, str], wanted: Wanted, place: str) -> Opened:
    """A `datasets.Dataset`, with `columns` (ours: theirs) renamed. Raises DataError for no rows, or a missing column."""
    if not len(data):
        raise DataError(f"{place} has no rows; name another split")
    names = _columns(columns, wanted, list(data.features), place)
    classes = {ours: found for ours, theirs in names.items() if (found := _classes(data.features[theirs]))}

    def rows() -> Iterator[RawRow]:
        for number, row in enumerate(data.select_columns(sorted(set(names.values()))), 1):
            where = f"{place}: row {number}"
            values = {ours: row[theirs] for ours, theirs in names.items()}
            values, skip = with_class_names(values, classes, where)
            yield RawRow(wanted.normalised(values), where, skip=skip)

    renamed = ",".join(f"{ours}={theirs}" for ours, theirs in sorted(names.items()))
    return Opened(f"{place}|{renamed}|{data._fingerprint}", rows)


def _columns(columns: Mapping[str, str], wanted: Wanted, found: list[str], place: str) -> dict[str, str]:
    """Our name of each column: theirs. Columns of the data set that are not renamed keep their names."""
    for ours, theirs in columns.items():
        if theirs not in found:
            near = get_close_matches(theirs, found, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise DataError(f"{place} has no column '{theirs}' (for {ours}); {hint}its columns are {', '.join(found)}")
    taken = set(columns.values()) | set(columns)
    names = {name: name for name in found if name not in taken} | dict(columns)
    lacking = wanted.lacking(list(names))
    if lacking:
        raise DataError(
            f"{place} has the columns {', '.join(found)}; expected {lacking}: "
            f"say which is which under 'columns', such as {wanted.columns[0][-1]}: {found[-1]}"
        )
    return names


def _classes(feature: Any) -> list[str]:
    """Names of the classes of a column, or of the items of its lists; none for a column that holds no classes."""
    import datasets

    if isinstance(feature, datasets.ClassLabel):
        return list(feature.names)
    if isinstance(feature, list) and len(feature) == 1:
        return _classes(feature[0])
    inner = getattr(feature, "feature", None)
    return [] if inner is None else _classes(inner)
