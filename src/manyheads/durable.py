"""Files that are there whole or not at all, whatever kills the process or the machine: written beside, synced, renamed.

Decided here: a name appears last. Data is synced before the name that leads to it, and the folder that holds the name after
it; without the first a power cut can leave an empty file under the right name, without the second no file at all.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from manyheads.errors import UsageError

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


@contextmanager
def writing(path: Path) -> Iterator[Callable[[str], None]]:
    """What writes a text file piece by piece, as `writing_bytes` does."""
    with writing_bytes(path) as file:

        def write(text: str) -> None:
            file.write(text.encode("utf-8"))

        yield write


@contextmanager
def writing_bytes(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to: in place of the one that is there, with its rights, once all is written.

    The file that a link leads to is replaced, not the link; a pipe or a device is written to directly. Raises UsageError at
    once for what cannot be written, and OSError with the name of the file; after any error the old one is there.
    """
    direct, real = _is_direct(path), path.resolve()
    unfinished = path if direct else real.with_name(real.name + UNFINISHED)
    try:
        file = _Named(unfinished, "a" if direct else "w", path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); give a file name in a folder that is there, "
                         "and yours to write in") from None  # fmt: skip
    try:
        if not direct and real.exists():
            shutil.copymode(real, unfinished)
        yield file
        with _named(path):
            file.close()
            if not direct:
                sync(unfinished)
                put_in_place(unfinished, real)
    finally:
        with suppress(OSError):  # a full disk says so again when the rest is written
            file.close()
        if not direct:
            unfinished.unlink(missing_ok=True)


class _Named(io.BufferedWriter):
    """A file whose errors say which one it is."""

    def __init__(self, path: Path, mode: str, shown: Path) -> None:
        super().__init__(io.FileIO(path, mode))
        self._shown = shown

    def write(self, data: Any, /) -> int:
        """Bytes."""
        with _named(self._shown):
            return super().write(data)


def _is_direct(path: Path) -> bool:
    """Whether nothing can take its place: a folder, a pipe, a device, or whatever standard output is (`/dev/stdout`)."""
    try:
        seen = path.stat()
    except OSError:
        return False
    if not stat.S_ISREG(seen.st_mode):
        return True
    with suppress(OSError, ValueError, AttributeError):  # no standard output, or one without a file
        return os.path.samestat(seen, os.fstat(sys.stdout.fileno()))
    return False


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of a file that is open do not say which one."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


def give_usual_rights(folder: Path, files: Iterable[Path]) -> None:
    """Let others read the files of a folder as far as the umask lets them; safetensors makes its files private (0600).

    The rights are those of a file made for it: asking for the umask would change it for all threads for a moment.
    """
    probe = folder / f".rights{UNFINISHED}"
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_WRONLY, 0o666))
        for path in files:
            shutil.copymode(probe, path)
    finally:
        probe.unlink(missing_ok=True)


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
