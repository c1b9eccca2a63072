"""Datasets saved by `datasets`: folders of `save_to_disk`, with one split or several, and single Arrow files.

They are read like datasets of the hub, with the names of their classes. Arrow files are validated completely before their
rows are used, because wrong lengths or offsets would read memory out of bounds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manyheads.data.column_guess import Mapped
from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.messages import did_you_mean, first_line
from manyheads.data.hub import opened_dataset
from manyheads.data.readers import Opened, hash_file
from manyheads.errors import DataError
from manyheads.tasks.base import Task

DESCRIPTIONS = ("dataset_dict.json", "state.json")
"""Files of a saved folder with several splits, and with one."""
TITLE = "saved data set"


@dataclass(frozen=True, slots=True)
class SavedDataset:
    """A saved dataset by its path."""

    path: Path
    split: str | None = None
    """Of several; None: the split that it is used as."""
    columns: Mapped = field(default_factory=dict)
    """Our column: theirs."""

    def __str__(self) -> str:
        return str(self.path)


def is_saved_dataset(path: Path) -> bool:
    """Whether `datasets` saved this folder, or this is an Arrow file."""
    return path.suffix.lower() == ".arrow" or any((path / name).is_file() for name in DESCRIPTIONS)


def open_saved_dataset(saved: SavedDataset, task: type[Task[Any]], split: str) -> Opened:
    """The dataset, validated. Raises DataError if it is damaged, or lacks a split or a column."""
    import datasets

    path, digest = saved.path, hashlib.sha256()
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.is_file():
            hash_file(file, digest)
    try:
        if path.suffix.lower() == ".arrow":
            data: Any = datasets.Dataset.from_file(str(path))
        else:
            data = datasets.load_from_disk(str(path))
        place = str(path)
        if isinstance(data, datasets.DatasetDict):
            data, place = _split(data, saved.split or split, path)
        data.data.table.validate(full=True)
    except DataError:
        raise
    except Exception as error:  # JSON, Arrow and `datasets` raise anything over a damaged folder
        raise DataError(
            f"{path} is not a readable dataset: {type(error).__name__}: {first_line(error)}; save it again"
        ) from None
    read = opened_dataset(data, RowSchema.for_task(task, columns=saved.columns), place)
    renamed = ",".join(f"{ours}={theirs}" for ours, theirs in sorted(saved.columns.items()))
    return Opened(f"{digest.hexdigest()}|{place}|{renamed}", read.rows, (TITLE,))


def _split(found: Any, split: str, path: Path) -> tuple[Any, str]:
    if split not in found:
        hint = did_you_mean(split, found)
        raise DataError(f"{path} has no split '{split[:80]}'; {hint}name one of {', '.join(found)} under 'split'")
    return found[split], f"{path} ({split})"
