"""Untrusted files, read within bounds: regular files of a limited size, and JSON of a limited form.

Pipes and devices are refused before they are opened, because reading them may hang or never end. A link may lead to another
file of the same folder, or from a snapshot of the hub's cache into the blobs beside it, and nowhere else.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

MOST_JSON_BYTES = 16 << 20
"""Of a JSON file other than a tokenizer. Python takes up to 25 bytes per byte: 400 MB. 300,000 labels fit."""


def checked_size(path: Path, most_bytes: int) -> int:
    """The size of a regular file. Raises ValueError with the reason not to read it, and OSError if it is missing."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("is not a regular file; put the file itself there")
    if found.st_size > most_bytes:
        raise ValueError(
            f"has {found.st_size:,} bytes, more than the limit of {most_bytes:,}; it is not what its name says"
        )
    return found.st_size


def read_object(path: Path, most_bytes: int = MOST_JSON_BYTES) -> dict[str, Any]:
    """The JSON object in a file. Raises ValueError with the reason if there is none (such as a duplicate name), OSError."""
    found = _read(path, most_bytes)
    if not isinstance(found, dict):
        raise ValueError("is not a JSON object; it is damaged")
    return found


def read_list(path: Path, most_bytes: int = MOST_JSON_BYTES) -> list[dict[str, Any]]:
    """The list of JSON objects in a file. Raises ValueError with the reason if there is none, OSError."""
    found = _read(path, most_bytes)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ValueError("is not a list of JSON objects; it is damaged")
    return found


def _read(path: Path, most_bytes: int) -> Any:
    checked_size(path, most_bytes)
    try:
        return json.loads(path.read_bytes().decode("utf-8"), object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("is nested too deeply; it is damaged") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 at byte {error.start + 1}; it is damaged") from None
    except ValueError as error:
        raise ValueError(f"is not JSON ({str(error)[:200]}); it is damaged") from None


def leaves_folder(folder: Path, path: Path) -> bool:
    """Whether a file in a folder is a link that leaves it (the hub's own blobs count as inside)."""
    home = folder.resolve()
    real = Path(os.path.realpath(path))
    blobs = next((above.parent / "blobs" for above in home.parents if above.name == "snapshots"), home)
    return not (real.is_relative_to(home) or real.is_relative_to(blobs))


def is_text(value: Any, longest: int) -> bool:
    """Whether a value is a valid Unicode string, not empty and not too long."""
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without duplicate names, of which one reader would take the first value and another the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice[:80]!r} is given twice")
    return found
