"""A lock on the output folder: one run at a time writes into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from manyheads.bundle import is_finished
from manyheads.errors import UsageError

LOCK = ".lock"
ENDING_S = 60.0
"""How long a stopped process may take to save."""


@contextmanager
def locked(folder: Path, output: Path) -> Iterator[None]:
    """Hold the lock in a folder, which is created; the system releases it when the process ends, however it ends.

    Raises UsageError when another process holds it, or has finished the model in `output` meanwhile.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"another run is writing into {output}; wait until it ends, or choose another output folder"
        ) from None
    except OSError as error:
        raise UsageError(f"{output} cannot be written to ({error.strerror or error}); "
                         "choose another output folder") from None  # fmt: skip
    try:
        if is_finished(output):
            raise UsageError(f"{output} already holds a finished model; choose another output folder, or delete it first")
        yield
    finally:
        lock.release()
        with suppress(OSError):  # not empty, or gone
            if [entry.name for entry in os.scandir(folder)] == [LOCK]:
                (folder / LOCK).unlink()
                folder.rmdir()


def wait_for(output: Path) -> None:
    """Wait for a process that is stopping to save its run in a folder."""
    from manyheads.training.checkpoint import FOLDER

    with suppress(Timeout, OSError):  # the next run there reports what is wrong
        if (output / FOLDER / LOCK).exists():
            with FileLock(output / FOLDER / LOCK, timeout=ENDING_S):
                pass
