"""Files as bytes and as numbered lines.

Decided here: files are read as bytes and decoded line by line, split at line feeds only: a byte that is not UTF-8 has a
line number, and U+2028 or U+0085 inside a text does not end a line. A byte order mark is dropped. `.gz` is unpacked.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from difflib import get_close_matches
from io import BufferedReader
from pathlib import Path

from manyheads.errors import DataError


def bare_name(path: Path) -> str:
    """The name in lower case without `.gz`: what tells the format."""
    return path.name.lower().removesuffix(".gz")


def is_packed(path: Path) -> bool:
    """Whether the name says that the file is gzipped."""
    return path.name.lower().endswith(".gz")


def opened(path: Path) -> BufferedReader:
    """The file as it lies on disk. Raises DataError, with the nearest name when there is none of this one."""
    try:
        return path.open("rb")
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


def blocks(path: Path) -> Iterator[bytes]:
    """Lines as bytes, unpacked. Raises DataError for a gzip file that is damaged or cut off."""
    with opened(path) as stored:
        try:
            if not is_packed(path):
                yield from stored
                return
            with gzip.open(stored) as stream:
                yield from stream
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path} is a damaged or cut-off gzip file ({error}); copy it again") from None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from None


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines with their endings. Raises DataError for a byte that is not UTF-8, and an empty file."""
    number = 0
    for number, block in enumerate(blocks(path), 1):
        try:
            line = block.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            guess = " (it looks like UTF-16)" if number == 1 and block[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
            byte, column = error.object[error.start], len(error.object[: error.start].decode("utf-8", "replace")) + 1
            raise DataError(
                f"{path}:{number} is not UTF-8: byte 0x{byte:02x} at column {column}{guess}; save the file as UTF-8"
            ) from None
        yield number, line
    if not number:
        raise DataError(f"{path} is empty; give a file with data")
