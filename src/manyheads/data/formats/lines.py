"""Files as bytes and as numbered lines.

Files are read as bytes, split at line feeds only, and decoded line by line: a byte that is not UTF-8 has a line number, and
U+2028 or U+0085 inside a text does not end a line. A byte order mark is dropped. `.gz` is unpacked. A file that has carriage
returns and no line feed in its first HEAD_BYTES (old Macs) is split at carriage returns.

Files may be untrusted: pipes and devices are not opened, lines have a maximum length, and a gzip file that unpacks to more
than RATIO times its size is taken for a bomb (texts unpack to 3 to 10 times; gzip's own limit is 1,032).
"""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from io import BufferedReader, BytesIO, RawIOBase
from pathlib import Path
from typing import Any

from manyheads.errors import DataError

LONGEST_LINE_BYTES = 4 << 20
"""Of a line, and of a csv cell: War and Peace has 3.2 MB. Its tokens take up to 300 bytes per byte."""
HEAD_BYTES = 1 << 16
RATIO = 100
SMALL_BYTES = 1 << 20
"""Any file may unpack to this, whatever its ratio."""


_UNPACK = "unpack it, and give the files in it"
OTHER_KINDS = {
    b"PK\x03\x04": ("a zip archive", _UNPACK), b"BZh": ("a bzip2 file", _UNPACK), b"\xfd7zXZ": ("an xz file", _UNPACK),
    b"7z\xbc\xaf": ("a 7-Zip archive", _UNPACK), b"Rar!": ("a RAR archive", _UNPACK),
    b"\x1f\x8b": ("gzipped", "let its name end in .gz"), b"\xd0\xcf\x11\xe0": ("a spreadsheet", "save it as CSV (UTF-8)"),
    b"SQLite format 3": ("a database", "export its table as csv"), b"%PDF-": ("a PDF", "give its text"),
}  # fmt: skip
"""Files that hold no rows, by their first bytes, with what to do."""
SPREADSHEETS = (".xlsx", ".xlsm", ".ods", ".numbers")


def check_kind(path: Path, head: bytes) -> None:
    """Raise DataError for an archive, a spreadsheet and the like. `head`: the first bytes, unpacked."""
    found = next((kind for magic, kind in OTHER_KINDS.items() if head.startswith(magic)), None)
    if found is not None:
        what, todo = OTHER_KINDS[b"\xd0\xcf\x11\xe0"] if bare_name(path).endswith(SPREADSHEETS) else found
        raise DataError(f"{path} is {what}; {todo}")


def bare_name(path: Path) -> str:
    """The name in lower case without `.gz`, from which the format is recognised."""
    return path.name.lower().removesuffix(".gz")


def is_packed(path: Path) -> bool:
    """Whether the file is gzipped, according to its name."""
    return path.name.lower().endswith(".gz")


def opened(path: Path) -> BufferedReader:
    """The file, open but not unpacked. Raises DataError, with the most similar name if the file does not exist."""
    try:
        kind = os.stat(path).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise DataError(f"{path} is a pipe or a device, which cannot be read twice; write the data to a file")
        return path.open("rb")
    except ValueError:
        raise DataError(f"{str(path)!r} is not a valid file name; correct it") from None
    except FileNotFoundError:
        folder = path.parent
        if not folder.is_dir():
            raise DataError(f"{path} does not exist, and neither does its folder {folder}") from None
        near = get_close_matches(path.name, sorted(entry.name for entry in folder.iterdir()), 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"no file in {folder} has a similar name"
        raise DataError(f"{path} does not exist; {hint}") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder; name the file, or a list of files") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


class Unpacked(RawIOBase):
    """An unpacked gzip file as a stream. Raises DataError for a bomb, at once or while reading, and whatever gzip raises."""

    def __init__(self, path: Path, stored: BufferedReader) -> None:
        """Unpack the beginning at once, to detect most bombs before any row is processed."""
        super().__init__()
        self._path = path
        self._stored = stored
        self._stream = gzip.GzipFile(fileobj=stored)
        self._read = 0
        self._head = BytesIO(self._checked(self._stream.read(SMALL_BYTES + 1)))

    def readable(self) -> bool:
        """True; `io.BufferedReader` asks."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with one read, for `io.BufferedReader`; the number of bytes, 0 at the end."""
        found = self._head.read(len(buffer)) or self._checked(self._stream.read1(len(buffer)))
        buffer[: len(found)] = found
        return len(found)

    def _checked(self, found: bytes) -> bytes:
        self._read += len(found)
        if self._read > max(SMALL_BYTES, RATIO * self._stored.tell()):
            raise DataError(
                f"{self._path} unpacks to more than {RATIO} times its size, which real data never does; "
                "if the file is valid, unpack it and give that file"
            )
        return found


def unpacked(path: Path, stored: BufferedReader) -> BufferedReader:
    """The bytes of an open gzip file. Raises DataError for a bomb, now or while reading, and whatever gzip raises."""
    return BufferedReader(Unpacked(path, stored), 1 << 16)


@contextmanager
def byte_stream(path: Path) -> Iterator[BufferedReader]:
    """A file's bytes, unpacked. Raises DataError for errors while reading."""
    with opened(path) as stored:
        try:
            yield unpacked(path, stored) if is_packed(path) else stored
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path} is a damaged or truncated gzip file ({error}); copy it again") from None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from None


def blocks(path: Path, longest: int = LONGEST_LINE_BYTES) -> Iterator[bytes]:
    """Lines as bytes, unpacked. Raises DataError for a line that is too long, and a damaged gzip file or a bomb."""
    with byte_stream(path) as stream:
        number = 0
        readline = _line_reader(stream)
        while block := readline(longest + 1):
            number += 1
            if len(block) > longest:
                raise DataError(f"{path}:{number} is longer than {longest >> 20} MB; cut its text into parts")
            yield block


def _line_reader(stream: BufferedReader) -> Callable[[int], bytes]:
    """`stream.readline`, or a replacement for files whose lines end in carriage returns alone."""
    head = stream.peek(HEAD_BYTES)
    if b"\r" not in head[:-1] or b"\n" in head:
        return stream.readline
    buffer = bytearray()

    def readline(longest: int) -> bytes:
        while (place := buffer.find(b"\r")) < 0 and len(buffer) < longest and (more := stream.read(HEAD_BYTES)):
            buffer.extend(more)
        end = min(longest, place + 1 if place >= 0 else len(buffer))
        found = bytes(buffer[:end])
        del buffer[:end]
        return found

    return readline


def whole(path: Path, most_bytes: int) -> str:
    """The text of a file. Raises DataError as `lines` does, and for a file that is too large."""
    with byte_stream(path) as stream:
        found = stream.read(most_bytes + 1)
    if len(found) > most_bytes:
        raise DataError(
            f"{path} has more than {most_bytes >> 20} MB, and must be held in memory whole; cut it into several files"
        )
    if not found:
        raise DataError(f"{path} is empty; give a file with data")
    try:
        return found.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number, start = found.count(b"\n", 0, error.start) + 1, found.rfind(b"\n", 0, error.start) + 1
        raise _not_utf8(path, number, found[start : error.start + 1], error.start - start) from None


def lines(path: Path, longest: int = LONGEST_LINE_BYTES, errors: str = "strict") -> Iterator[tuple[int, str]]:
    """Numbered lines with their endings. Raises DataError for a byte that is not UTF-8, and an empty file.

    `errors` is that of `bytes.decode`, and applies from the second line on.
    """
    number = 0
    for number, block in enumerate(blocks(path, longest), 1):
        try:
            line = block.decode("utf-8-sig") if number == 1 else block.decode("utf-8", errors)
        except UnicodeDecodeError as error:
            raise _not_utf8(path, number, block, error.start) from None
        yield number, line
    if not number:
        raise DataError(f"{path} is empty; give a file with data")


def _not_utf8(path: Path, number: int, line: bytes, place: int) -> DataError:
    """The error for a byte of a line."""
    if number == 1:
        check_kind(path, line)
    wide = number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff")
    column = len(line[:place].decode("utf-8", "replace")) + 1
    guess, encoding = (" (it looks like UTF-16)", "UTF-16") if wide else ("", "WINDOWS-1252")
    return DataError(
        f"{path}:{number} is not UTF-8: byte 0x{line[place]:02x} at column {column}{guess}; save the file as UTF-8, or "
        f"convert it from its encoding: iconv -f {encoding} -t UTF-8 OLD > NEW"
    )
