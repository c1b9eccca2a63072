"""Files that are there whole or not at all, whatever kills the process or the machine: written beside, synced, renamed.

Decided here: a name appears last. Data is synced before the name that leads to it, and the folder that holds the name after
it; without the first a power cut can leave an empty file under the right name, without the second no file at all.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

UNFINISHED = ".unfinished"
"""Ending of what is being written. Whoever holds the folder's lock may remove it."""


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk. Raises OSError."""
    flags = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) if path.is_dir() else os.O_RDONLY
    if path.is_dir() and os.name == "nt":  # Windows cannot open folders, and keeps their entries in order itself
        return
    opened = os.open(path, flags)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_json(path: Path, value: Any) -> None:
    """A JSON file, without the numbers that JSON does not have. Raises OSError."""
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def put_in_place(source: Path, target: Path) -> None:
    """Give what is written under one name another, replacing a file that has it, and wait until that is on the disk."""
    os.replace(source, target)
    sync(target.parent)


def replace_file(path: Path, text: str) -> None:
    """A text file in place of the one that is there, at once. Raises OSError, and leaves the old one."""
    replace_bytes(path, text.encode("utf-8"))


def replace_bytes(path: Path, data: bytes) -> None:
    """A file in place of the one that is there, at once. Raises OSError, and leaves the old one."""
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        unfinished.write_bytes(data)
        sync(unfinished)
        put_in_place(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def make_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """A folder whose files `fill` writes where it is told. Raises OSError and what `fill` raises, and leaves no trace."""
    unfinished = path.with_name(path.name + UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        fill(unfinished)
        for file in sorted(unfinished.iterdir()):
            sync(file)
        sync(unfinished)
        put_in_place(unfinished, path)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def remove_folder(path: Path) -> None:
    """A folder goes at once, as far as its name is concerned; what cannot be removed stays under an unfinished name."""
    doomed = path.with_name(path.name + UNFINISHED)
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)
