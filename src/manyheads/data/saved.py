"""Data sets that `datasets` has saved: folders of `save_to_disk`, with one split or several, and single Arrow files.

Decided here: they are read as data sets of the hub are, with the names of their classes. Arrow files are checked through
before their rows are used: lengths and offsets that lie would be read from memory that is not theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from manyheads.data.formats.format import Wanted
from manyheads.data.formats.lines import opened
from manyheads.data.hub import opened_dataset
from manyheads.data.readers import Opened
from manyheads.errors import DataError
from manyheads.tasks.base import Task

DESCRIPTIONS = ("dataset_dict.json", "state.json")
"""What a saved folder has, with several splits and with one."""
TITLE = "saved data set"


@dataclass(frozen=True, slots=True)
class Saved:
    """A saved data set by its path."""

    path: Path
    split: str | None = None
    """None: the split it is used as, where there are several."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our column: theirs."""

    def __str__(self) -> str:
        return str(self.path)


def is_saved(path: Path) -> bool:
    """Whether `datasets` saved this folder, or this is an Arrow file."""
    return path.suffix.lower() == ".arrow" or any((path / name).is_file() for name in DESCRIPTIONS)


def open_saved(saved: Saved, task: type[Task[Any]], split: str) -> Opened:
    """The data set, checked. Raises DataError when it is damaged, or lacks a split or a column."""
    import datasets

    path, digest = saved.path, hashlib.sha256()
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.is_file():
            with opened(file) as stream:
                digest.update(f"{file}\0".encode("utf-8", "surrogateescape"))
                digest.update(hashlib.file_digest(stream, "sha256").digest())
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
    except Exception as error:  # whatever JSON, Arrow and `datasets` make of a damaged folder
        said = (str(error).splitlines() or [""])[0][:200]
        raise DataError(
            f"{path} is no data set that can be read: {type(error).__name__}: {said}; save it again"
        ) from None
    read = opened_dataset(data, saved.columns, Wanted.by(task), place)
    renamed = ",".join(f"{ours}={theirs}" for ours, theirs in sorted(saved.columns.items()))
    return Opened(f"{digest.hexdigest()}|{place}|{renamed}", read.rows, (TITLE,))


def _split(found: Any, split: str, path: Path) -> tuple[Any, str]:
    if split not in found:
        near = get_close_matches(split, found, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise DataError(f"{path} has no split '{split[:80]}'; {hint}name one of {', '.join(found)} under 'split'")
    return found[split], f"{path} ({split})"
