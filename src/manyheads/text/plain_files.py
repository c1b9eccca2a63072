"""Files that strangers made, read within bounds: regular files of a size that can be, and JSON of a form that can be.

Decided here: a pipe or a device is refused before it is opened, because the one hangs and the other has no end. A link may
lead to another file of the same folder, or from a snapshot of the hub's cache into the blobs beside it, and nowhere else.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

MOST_JSON_BYTES = 16 << 20
"""Of a JSON file that is no tokenizer. Python makes up to 25 bytes of each: 400 MB. 300,000 labels fit."""


def size_of(path: Path, most_bytes: int) -> int:
    """Bytes of a regular file. Raises ValueError saying why it is not read, and OSError when it is not there."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("is no regular file; put the file itself there")
    if found.st_size > most_bytes:
        raise ValueError(
            f"has {found.st_size:,} bytes, and at most {most_bytes:,} are read; it is not what its name says"
        )
    return found.st_size


def read_object(path: Path, most_bytes: int = MOST_JSON_BYTES) -> dict[str, Any]:
    """The JSON object in a file. Raises ValueError saying why there is none (a name given twice is one reason), OSError."""
    found = _read(path, most_bytes)
    if not isinstance(found, dict):
        raise ValueError("holds no JSON object; it is damaged")
    return found


def read_list(path: Path, most_bytes: int = MOST_JSON_BYTES) -> list[dict[str, Any]]:
    """The list of JSON objects in a file. Raises ValueError saying why there is none, OSError."""
    found = _read(path, most_bytes)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ValueError("holds no list of JSON objects; it is damaged")
    return found


def _read(path: Path, most_bytes: int) -> Any:
    size_of(path, most_bytes)
    try:
        return json.loads(path.read_bytes().decode("utf-8"), object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("is nested too deeply; it is damaged") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 at byte {error.start + 1}; it is damaged") from None
    except ValueError as error:
        raise ValueError(f"is not JSON ({str(error)[:200]}); it is damaged") from None


def leads_out(folder: Path, path: Path) -> bool:
    """Whether a file below a folder is reached by a link that leaves it (the hub's own blobs are not outside)."""
    home = folder.resolve()
    real = Path(os.path.realpath(path))
    blobs = next((above.parent / "blobs" for above in home.parents if above.name == "snapshots"), home)
    return not (real.is_relative_to(home) or real.is_relative_to(blobs))


def is_text(value: Any, longest: int) -> bool:
    """Whether a value is a string of Unicode characters, one at least, and not too long."""
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are all different: of two readers one would take the first value, the other the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice[:80]!r} is given twice")
    return found
