"""Plain texts to answer, one per line: `.txt` files, and standard input that does not look like anything else.

The first line that is not blank decides. Input that begins like JSON is read as JSON lines; input that could be a table or a
binary file is refused, because its lines would be answered as texts. The `id` of a text is its line number, and blank lines
are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import IO, Any

from manyheads.errors import DataError, RowError

MOST_BLANK = 1000
"""Leading blank lines that are searched for one that is not."""
BOM = b"\xef\xbb\xbf"
BINARY = {
    b"PAR1": "Parquet", b"\x1f\x8b": "gzip", b"PK\x03\x04": "a zip archive", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16",
}  # fmt: skip
_JSON = re.compile(rb'\{|\[\s*([\[{"\]]|$)')
_ROWS = re.compile(rb"\[\s*(\{|$)")
NAMES = {"text", "tokens", "question"}
_COLUMN = re.compile(r"\w[\w.-]*|")
_SEPARATOR = re.compile(r"[,;\t]")


class SniffedStream:
    """A stream of bytes whose first lines are inspected without being lost."""

    def __init__(self, stream: IO[bytes], name: str = "standard input") -> None:
        """Nothing is read yet."""
        self._stream = stream
        self._name = name
        self._held: list[bytes] = []
        self._plain: bool | None = None

    @property
    def plain(self) -> bool:
        """Whether it holds plain texts, not JSON. Raises DataError if it holds neither."""
        if self._plain is None:
            self._plain = self._looks_plain()
        return self._plain

    def readline(self, limit: int = -1, /) -> bytes:
        """The next line, or its first `limit` bytes."""
        line = self._held.pop(0) if self._held else b""
        if 0 <= limit < len(line):
            self._held.insert(0, line[limit:])
            return line[:limit]
        return line if line.endswith(b"\n") else line + self._stream.readline(limit - len(line) if limit >= 0 else -1)

    def __enter__(self) -> SniffedStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def _looks_plain(self) -> bool:
        while len(self._held) < MOST_BLANK and (line := self._stream.readline(1 << 20)):
            self._held.append(line)
            if line.strip():
                return self._is_text(line.removeprefix(BOM) if len(self._held) == 1 else line)
        return False  # empty: no rows of either kind

    def _is_text(self, line: bytes) -> bool:
        form = next((form for magic, form in BINARY.items() if line.startswith(magic)), None)
        if form is not None or b"\0" in line:
            raise DataError(f"{self._name} holds {form or 'bytes that are not text'}, not lines of text; give the file by "
                            "its name, or convert it to UTF-8")  # fmt: skip
        if _ROWS.match(line.lstrip()):
            raise DataError(f"{self._name} begins with a JSON array; save it in a file that ends in .json and give that, or "
                            "write one object per line")  # fmt: skip
        if _JSON.match(line.lstrip()):
            return False
        text = line.decode("utf-8", "replace").strip()
        cells = [cell.strip().strip('"') for cell in _SEPARATOR.split(text)]
        if NAMES & set(cells) and all(map(_COLUMN.fullmatch, cells)):
            raise DataError(f"{self._name} begins with the header of a table ({text[:60]}); save it in a file that ends in "
                            ".csv or .tsv, and give that")  # fmt: skip
        return True


def text_rows(lines: Iterable[bytes | None], longest: int) -> Iterator[dict[str, Any] | RowError]:
    """A row for each line that is not blank; None stands for a line longer than `longest` bytes."""
    for number, line in enumerate(lines, start=1):
        if line is None:
            yield RowError(f"line {number} is longer than {longest >> 20} MB; cut its text into parts", number)
        elif line.strip():
            yield _row(line.removeprefix(BOM) if number == 1 else line, number)


def _row(line: bytes, number: int) -> dict[str, Any] | RowError:
    if line.startswith(b'{"'):
        return RowError(f"line {number} is a JSON object among plain texts; use one form for all lines", number)
    try:
        return {"id": number, "text": line.decode("utf-8").rstrip("\r\n")}
    except UnicodeDecodeError as error:
        return RowError(f"line {number} is not UTF-8 (byte {error.start + 1})", number)
