"""The items of a JSON array, one at a time, each with its line.

The file is read in blocks and an item is decoded as soon as it is complete, so a file of a million items needs the memory
of one. An item may be as long as a line of JSON lines.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from manyheads.data.formats.jsonl import DECODER
from manyheads.data.formats.lines import LONGEST_LINE_BYTES, byte_stream
from manyheads.errors import DataError

BLOCK_BYTES = 1 << 16
_SPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Item:
    """One item of an array."""

    value: Any
    text: str
    """As the file has it."""
    number: int
    """From 1."""
    line: int | None
    """Of its first character; None if the file is one line."""
    name: str
    """Of the file."""

    @property
    def where(self) -> str:
        """`path:line`, or `path: item N`."""
        return f"{self.name}: item {self.number}" if self.line is None else f"{self.name}:{self.line}"


def items(path: Path) -> Iterator[Item]:
    """The items of a file that holds one array. Raises DataError for any other or truncated file."""
    with byte_stream(path) as stream:
        yield from items_of(stream, str(path))


def items_of(stream: IO[bytes], name: str, longest: int = LONGEST_LINE_BYTES) -> Iterator[Item]:
    """The items of a byte stream; `name` is used in messages."""
    text = _Text(stream, name)
    if text.take() != "[":
        raise DataError(f"{text.place()} should start with [, as a JSON array does")
    number = 0
    closed = text.peek() == "]"
    while not closed:
        number += 1
        text.peek()
        line = text.line if text.has_lines else None
        where = f"{name}: item {number}" if line is None else f"{name}:{line}"
        value, source = text.decoded(where, longest)
        yield Item(value, source, number, line, name)
        mark = text.take()
        if mark not in (",", "]"):
            seen = f"seen {mark!r}" if mark else "the file ends"
            raise DataError(f"{text.place()} needs a comma or ] after item {number}, {seen}; it may be cut off")
        closed = mark == "]"
    if not number:
        text.take()
    if text.peek():
        raise DataError(f"{text.place()} has more data after the end of the array; keep one JSON array per file")


class _Text:
    """The unread text of a stream."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self._name = name
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self.line = 1
        """Of the next character."""
        self._ended = False
        self._load()
        self.has_lines = "\n" in self._text.strip()

    def place(self) -> str:
        """`name:line` of the next character."""
        return f"{self._name}:{self.line}"

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            rest = self._at
            while rest < len(self._text) and self._text[rest] in _SPACE:
                rest += 1
            self._advance(rest)
            if rest < len(self._text):
                return self._text[rest]
            if self._ended:
                return ""
            self._load()

    def take(self) -> str:
        """Consume and return the character that `peek` returns."""
        mark = self.peek()
        self._advance(self._at + len(mark))
        return mark

    def decoded(self, where: str, longest: int) -> tuple[Any, str]:
        """The value that starts here, and its text. Raises DataError for invalid JSON, or a value that is too long."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                whole = not isinstance(error, json.JSONDecodeError) or self._ended
                if not whole and len(self._text) - self._at <= longest:
                    self._load(len(self._text) - self._at)
                    continue
                raise DataError(self._complaint(error, where, longest)) from None
            if end == len(self._text) and not self._ended:  # a number may continue
                self._load()
                continue
            text = self._text[self._at : end]
            if len(text) > longest:
                raise DataError(f"{where} is longer than {longest >> 20} MB; cut its text into parts")
            self._advance(end)
            return value, text

    def _complaint(self, error: Exception, where: str, longest: int) -> str:
        if not isinstance(error, json.JSONDecodeError):
            return f"{where} is not valid JSON: {error}"
        if error.pos - self._at > longest:
            return f"{where} is longer than {longest >> 20} MB, or a quote or bracket in it is never closed"
        line = self.line + self._text.count("\n", self._at, error.pos)
        place = f"{self._name}:{line}" if self.has_lines else where
        return f"{place} is not valid JSON: {error.msg} at column {error.colno}"

    def _advance(self, to: int) -> None:
        self.line += self._text.count("\n", self._at, to)
        self._at = to

    def _load(self, least: int = 0) -> None:
        block = self._stream.read(max(BLOCK_BYTES, least))
        try:
            text = self._decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            line = self.line + self._text.count("\n", self._at) + error.object.count(b"\n", 0, error.start)
            raise DataError(
                f"{self._name}:{line} is not UTF-8: byte 0x{error.object[error.start]:02x}; save the file as UTF-8"
            ) from None
        self._text, self._at = self._text[self._at :] + text, 0
        self._ended = not block
