"""One run writes into a folder at a time."""

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
"""What a process that has been told to stop may take to save."""


@contextmanager
def locked(folder: Path, output: Path) -> Iterator[None]:
    """Hold the lock in a folder, which is made; the system lets it go when the process ends, however it ends.

    Raises UsageError when another process holds it, or has finished the model in `output` meanwhile.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"another run is writing into {output}; wait until it ends, or give another --output"
        ) from None
    except OSError as error:
        raise UsageError(f"{output} cannot be written to ({error.strerror or error}); "
                         "give another --output") from None  # fmt: skip
    try:
        if is_finished(output):
            raise UsageError(f"{output} already holds a finished model; give another --output, or delete it first")
        yield
    finally:
        lock.release()
        with suppress(OSError):  # other things are in it, or it is gone
            if [entry.name for entry in os.scandir(folder)] == [LOCK]:
                (folder / LOCK).unlink()
                folder.rmdir()


def wait_for(output: Path) -> None:
    """Wait while a process that is about to end, its crew having been killed, saves its run in a folder."""
    from manyheads.training.checkpoint import FOLDER

    with suppress(Timeout, OSError):  # whoever trains there next says what is wrong
        if (output / FOLDER / LOCK).exists():
            with FileLock(output / FOLDER / LOCK, timeout=ENDING_S):
                pass
