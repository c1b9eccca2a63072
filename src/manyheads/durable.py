"""Atomic and durable file writes: to a temporary name, synced, then renamed; safe against crashes and power cuts.

Decided here: the file is synced before the rename, and its folder after it. Without the first, a power cut can leave an empty
file under the final name; without the second, no file at all.
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
from tempfile import TemporaryDirectory
from typing import IO, Any

from manyheads.errors import UsageError

UNFINISHED = ".unfinished"
"""Suffix of files that are being written. The holder of the folder's lock may remove them."""


def sync(path: Path) -> None:
    """Flush a file or folder to disk. Raises OSError."""
    flags = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) if path.is_dir() else os.O_RDONLY
    if path.is_dir() and os.name == "nt":  # Windows cannot open folders, and orders their entries itself
        return
    opened = os.open(path, flags)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file; NaN and infinity are refused. Raises OSError."""
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def put_in_place(source: Path, target: Path) -> None:
    """Rename a file or folder, replacing an existing file, and flush the rename to disk."""
    os.replace(source, target)
    sync(target.parent)


def replace_file(path: Path, text: str) -> None:
    """Replace a text file atomically. Raises OSError, and then leaves the old file.

    >>> replace_file(Path("notes.txt"), "whole")
    >>> Path("notes.txt").read_text()
    'whole'
    """
    replace_bytes(path, text.encode("utf-8"))


def replace_bytes(path: Path, data: bytes) -> None:
    """Replace a file atomically. Raises OSError, and then leaves the old file."""
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        unfinished.write_bytes(data)
        sync(unfinished)
        put_in_place(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def writing_bytes(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which replaces an existing one atomically at the end and keeps its permissions.

    The target of a link is replaced, not the link; pipes and devices are written to directly. Raises UsageError immediately
    for a path that cannot be written, and OSError with the name of the file; after any error the old file remains.
    """
    direct, real = _is_direct(path), path.resolve()
    unfinished = path if direct else real.with_name(real.name + UNFINISHED)
    try:
        file = _Named(unfinished, "a" if direct else "w", path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); give a file in an existing folder that you "
                         "can write to") from None  # fmt: skip
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
        with suppress(OSError):  # a full disk raises again when the rest is flushed
            file.close()
        if not direct:
            unfinished.unlink(missing_ok=True)


class _Named(io.BufferedWriter):
    """A file whose errors include its name."""

    def __init__(self, path: Path, mode: str, shown: Path) -> None:
        super().__init__(io.FileIO(path, mode))
        self._shown = shown

    def write(self, data: Any, /) -> int:
        """Write bytes."""
        with _named(self._shown):
            return super().write(data)


def _is_direct(path: Path) -> bool:
    """Whether a path cannot be replaced: a folder, a pipe, a device, or standard output (`/dev/stdout`)."""
    try:
        seen = path.stat()
    except OSError:
        return False
    if not stat.S_ISREG(seen.st_mode):
        return True
    with suppress(OSError, ValueError, AttributeError):  # standard output is closed or not a file
        return os.path.samestat(seen, os.fstat(sys.stdout.fileno()))
    return False


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Add the file name to errors, which errors of open files lack."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


def apply_umask(folder: Path, files: Iterable[Path]) -> None:
    """Give files the permissions that the umask allows; safetensors creates its files private (0600).

    The permissions are copied from a probe file, since reading the umask changes it for all threads for a moment.
    """
    probe = folder / f".rights{UNFINISHED}"
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_WRONLY, 0o666))
        for path in files:
            shutil.copymode(probe, path)
    finally:
        probe.unlink(missing_ok=True)


def make_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Create a folder atomically; `fill` writes its files. Raises OSError and errors of `fill`, and then leaves nothing."""
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


def check_creatable(path: Path) -> None:
    """Raise UsageError unless a folder can be created under this name, along with those above it. Leaves nothing behind."""
    above = next(each for each in path.absolute().parents if each.exists())
    try:
        with TemporaryDirectory(dir=above):
            pass
    except OSError as error:
        raise UsageError(f"{path} cannot be created ({error.strerror}); give a folder where you can write") from None


def remove_folder(path: Path) -> None:
    """Remove a folder atomically; files that cannot be removed remain under a temporary name."""
    doomed = path.with_name(path.name + UNFINISHED)
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)
