"""XML from untrusted files, event by event, each with its line.

A document type that points to a file is ignored; one that contains definitions is refused, so there are no entities to
expand, and nothing outside of the file is ever opened. Levels, elements, characters and the length of a tag are limited.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.parsers import expat

from manyheads.errors import DataError

BLOCK_BYTES = 1 << 16
MOST_LEVELS = 20
MOST_CHARACTERS = 64 << 20
"""Of a document, without markup."""
MOST_ELEMENTS = 2_000_000
"""Of a document."""
MOST_TAG_BYTES = 64 << 20
"""Of a tag with its attributes, which hold whole texts in UIMA XMI; expat keeps it in memory."""


class XmlEvents:
    """Calls `start(name, attributes)`, `end(name)` and `characters(text)` for the events of a file that is fed to it."""

    def __init__(
        self,
        path: Path,
        start: Callable[[str, dict[str, str]], None],
        end: Callable[[str], None],
        characters: Callable[[str], None] | None = None,
        *,
        namespaces: bool = False,
    ) -> None:
        """`namespaces`: names are `namespace name`."""
        self._path = path
        self._start, self._end, self._characters = start, end, characters
        self.levels = 0
        self._size = self._elements = self._fed = self._last = 0
        self._parser = parser = expat.ParserCreate(namespace_separator=" " if namespaces else None)
        parser.buffer_text = True
        parser.StartElementHandler = self._started
        parser.EndElementHandler = self._ended
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._doctype
        parser.EntityDeclHandler = self._entity
        parser.SkippedEntityHandler = self._skipped

    def feed(self, block: bytes, last: bool = False) -> None:
        """Parse more of the file. Raises DataError, also what the functions raise."""
        self._fed += len(block)
        try:
            self._parser.Parse(block, last)
        except expat.ExpatError as error:
            raise DataError(f"{self._path}:{error.lineno} is not valid XML: {expat.ErrorString(error.code)} at column "
                            f"{error.offset + 1}") from None  # fmt: skip
        except (ValueError, LookupError) as error:  # an unknown encoding
            raise self.error(f"is not readable XML: {error}") from None
        if self._fed - self._last > MOST_TAG_BYTES:
            raise self.error(f"has a tag of more than {MOST_TAG_BYTES >> 20} MB; cut the text into several files")

    def start_document(self) -> None:
        """Count elements and characters from here."""
        self._size = self._elements = 0

    def place(self) -> str:
        """`path:line` of the current event."""
        return f"{self._path}:{self._parser.CurrentLineNumber}"

    def error(self, what: str) -> DataError:
        """An error at the current event."""
        return DataError(f"{self.place()} {what}")

    def _started(self, name: str, attributes: dict[str, str]) -> None:
        self._last = self._fed
        self._elements += 1
        self.levels += 1
        if self.levels > MOST_LEVELS:
            raise self.error(f"has elements nested in more than {MOST_LEVELS} levels, too many for annotated texts")
        if self._elements > MOST_ELEMENTS:
            raise self.error(f"is a document of more than {MOST_ELEMENTS:,} elements; cut it into parts")
        self._start(name, attributes)

    def _ended(self, name: str) -> None:
        self._last = self._fed
        self.levels -= 1
        self._end(name)

    def _text(self, text: str) -> None:
        self._last = self._fed
        self._size += len(text)
        if self._size > MOST_CHARACTERS:
            raise self.error(
                f"is a document of more than {MOST_CHARACTERS >> 20} million characters; cut it into parts"
            )
        if self._characters is not None:
            self._characters(text)

    def _doctype(self, name: str, system: str | None, public: str | None, inside: Any) -> None:
        if inside:
            raise self.error(
                "has a document type with definitions of its own, which are not supported; remove <!DOCTYPE ...>"
            )

    def _entity(self, name: str, *_: Any) -> None:
        raise self.error(f"defines the entity {name[:80]!r}; write it out, and remove <!DOCTYPE ...>")

    def _skipped(self, name: str, _: Any) -> None:
        raise self.error(f"has the entity &{name[:80]};, which is not defined in the file; write the character instead")
