"""The folder of an export: there whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from manyheads.durable import give_usual_rights, make_folder, sync
from manyheads.errors import UsageError


def check_output(folder: Path) -> None:
    """Raise UsageError unless a folder can be made there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already; give another -o, or remove it")


def write_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """A folder that `fill` writes where it is told, and checks before it comes back. Raises what `fill` raises."""

    def filled(unfinished: Path) -> None:
        fill(unfinished)
        give_usual_rights(unfinished, [path for path in sorted(unfinished.rglob("*")) if path.is_file()])
        for path in sorted(unfinished.rglob("*")):
            sync(path)

    folder.parent.mkdir(parents=True, exist_ok=True)
    make_folder(folder, filled)
