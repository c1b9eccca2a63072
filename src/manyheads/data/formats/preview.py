"""The beginning of a file, from which its format is recognised.

Of JSON only the shape matters: the paths of keys, and the first few values of each. The shape can be read from a beginning
that breaks off anywhere, so a file of one long line is no exception.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from manyheads.data.formats.lines import bare_name, byte_stream, check_kind

HEAD_BYTES = 1 << 18
"""A document of 250,000 characters before the first label is rare, and needs `format:`."""
MOST_PATHS = 2000
MOST_LEVELS = 12
MOST_VALUES = 8
LONGEST_VALUE = 60

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)


@dataclass(frozen=True)
class Preview:
    """The beginning of a file, or the names in a folder."""

    path: Path
    text: str = ""
    """At most HEAD_BYTES; bytes that are not UTF-8 are replaced. Empty for a folder."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """Our key: that of the file, where they differ."""

    @staticmethod
    def of(path: Path, renames: Mapping[str, str] | None = None) -> Preview:
        """The preview of a file or a folder. Raises DataError for a file that is missing or cannot be read."""
        if path.is_dir():
            return Preview(path)
        with byte_stream(path) as stream:
            found = stream.read(HEAD_BYTES)
        check_kind(path, found)
        return Preview(path, found.decode("utf-8", "replace").removeprefix("\ufeff"), renames or {})

    @property
    def name(self) -> str:
        """In lower case, without `.gz`."""
        return bare_name(self.path)

    @cached_property
    def json(self) -> Shape:
        """The shape of the JSON values, with our keys; empty for other files."""
        return shape_of(self.text).renamed(self.renames) if self.text.lstrip()[:1] in ("{", "[") else Shape()


@dataclass(frozen=True)
class Shape:
    """Paths and values of JSON rows, all rows together."""

    array: bool = False
    """Whether the rows are the items of one array, not values one after the other."""
    paths: dict[str, list[Any]] = field(default_factory=dict)
    """`data.text`, `label[][]`: the first few values there, without objects and lists."""

    def has(self, *paths: str) -> bool:
        """Whether every one of these paths exists."""
        return all(path in self.paths for path in paths)

    def under(self, path: str) -> bool:
        """Whether there are paths below this one."""
        return any(found.startswith((f"{path}.", f"{path}[]")) for found in self.paths)

    def values(self, path: str) -> list[Any]:
        """The first few values at a path."""
        return self.paths.get(path, [])

    def holds(self, path: str, *kinds: type) -> bool:
        """Whether there are values at a path, all of these types."""
        values = self.values(path)
        return bool(values) and all(type(value) in kinds for value in values)

    def renamed(self, renames: Mapping[str, str]) -> Shape:
        """The shape with our keys (ours: theirs); keys of our names that are not meant are left out."""
        ours = {theirs: name for name, theirs in renames.items()}
        found = {}
        for path, values in self.paths.items():
            key = re.split(r"[.\[]", path, maxsplit=1)[0]
            if key in ours or key not in renames:
                found[ours.get(key, key) + path[len(key) :]] = values
        return Shape(self.array, found)


def shape_of(text: str) -> Shape:
    """The shape of JSON text, which may be truncated.

    >>> shape_of('{"text": "Great.", "label": ["good"], "te').values("label[]")
    ['good']
    """
    paths: dict[str, list[Any]] = {}
    array = text.lstrip()[:1] == "["
    for found, value in _walk(text):
        path = found.removeprefix("[]").removeprefix(".") if array else found
        if path in paths or len(paths) < MOST_PATHS:
            values = paths.setdefault(path, [])
            if value is not _NOTHING and len(values) < MOST_VALUES:
                values.append(value)
    return Shape(array, paths)


_NOTHING = object()


def _walk(text: str) -> Iterator[tuple[str, Any]]:
    """Path and value of every key and leaf."""
    above: list[tuple[str, bool]] = []  # the open values: path, and whether it is an object
    path, key_next = "", False
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == '"':
            return  # a truncated string
        if token in "[{":
            yield path, _NOTHING
            above.append((path, token == "{"))
            if len(above) > MOST_LEVELS:
                return
            key_next = token == "{"
            path = path if key_next else f"{path}[]"
        elif token in "]}":
            if not above:
                return
            path, _ = above.pop()
            key_next = False
        elif token == ",":
            parent, key_next = above[-1] if above else ("", False)
            path = parent if key_next else f"{parent}[]" if above else ""
        elif token == ":":
            key_next = False
        elif key_next and token[0] == '"':
            parent = above[-1][0]
            path = f"{parent}.{token[1:-1][:LONGEST_VALUE]}" if parent else token[1:-1][:LONGEST_VALUE]
        else:
            yield path, _value(token)


def _value(token: str) -> Any:
    if token[0] == '"':
        return token[1:-1][:LONGEST_VALUE]
    try:
        return json.loads(token[:40])
    except ValueError:
        return _NOTHING
