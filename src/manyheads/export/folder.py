"""The folder of an export, written completely or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from manyheads.durable import apply_umask, check_creatable, make_folder, sync
from manyheads.errors import UsageError


def check_output(folder: Path) -> None:
    """Raise UsageError unless the folder is new or empty, and can be written."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists already; give another -o, or remove it")
    check_creatable(folder)


def write_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Create a folder with what `fill` writes into it. Raises what `fill` raises, and then leaves nothing behind."""

    def filled(unfinished: Path) -> None:
        fill(unfinished)
        paths = sorted(unfinished.rglob("*"))
        apply_umask(unfinished, [path for path in paths if path.is_file()])
        for path in paths:
            sync(path)

    folder.parent.mkdir(parents=True, exist_ok=True)
    make_folder(folder, filled)
