"""Rows of an iterator in a file of the cache: an iterator is read once only, and its rows may not fit into memory.

The file is removed with the rows; one that a killed process left is removed with the tables of the cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from manyheads.data.cache import SPOOLED, cache_folder
from manyheads.data.python_tables import plain
from manyheads.errors import DataError


class SpooledRows:
    """Rows that can be read again and again, with the memory of one.

    >>> rows = SpooledRows({"text": str(i)} for i in range(3))
    >>> len(rows), [row["text"] for row in rows]
    (3, ['0', '1', '2'])
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Read all rows. Raises DataError if there is no room for them."""
        self._length = 0
        self.path = _new_file()
        weakref.finalize(self, _remove, self.path, os.getpid())
        digest = hashlib.sha256()
        try:
            with self.path.open("w", encoding="utf-8") as file:
                for row in rows:
                    file.write(json.dumps(row, default=_encoded) + "\n")
                    digest.update(row_bytes(row))
                    self._length += 1
        except OSError as error:
            _remove(self.path, os.getpid())
            raise DataError(f"no room to keep the rows: {error}; set MANYHEADS_CACHE to a folder") from None
        except BaseException:
            _remove(self.path, os.getpid())
            raise
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with self.path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)

    def __deepcopy__(self, _: Any) -> SpooledRows:
        return self  # rows do not change, and the file belongs to one object


def row_bytes(row: Mapping[str, Any]) -> bytes:
    """A row for a hash of rows, whatever its values."""
    return json.dumps(row, sort_keys=True, default=repr).encode("utf-8", "surrogatepass") + b"\n"


def _encoded(value: Any) -> Any:
    """A value that JSON has no form for: arrays as lists; others as objects, which no column accepts."""
    found = plain(value)
    return {"type": type(value).__name__, "value": repr(value)[:200]} if found is value else found


def _new_file() -> Path:
    """An empty file in the cache, or in the folder of temporary files if the cache cannot be written."""
    name = SPOOLED.format(uuid4().hex)
    for folder in (cache_folder(), Path(tempfile.gettempdir())):
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).touch(mode=0o600, exist_ok=False)
            return folder / name
    raise DataError("no folder to keep the rows in can be written; set MANYHEADS_CACHE to one")


def _remove(path: Path, process: int) -> None:
    if os.getpid() == process:  # a forked process ends before the rows do
        with suppress(OSError):
            path.unlink()
