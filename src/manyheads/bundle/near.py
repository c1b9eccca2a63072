"""Which model folder may have been meant by a name that leads to none."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

MOST_LOOKED_AT = 2000
"""Entries of folders: enough for anybody's runs, and soon over in a folder of a million files."""
SHOWN = 3


def near_models(folder: Path, manifest: str) -> str:
    """A clause for the end of a message that names model folders near a path which is none; empty if there are none.

    Looked at are the folder itself and those above it, down to the first that exists, and two levels below that one.
    """
    start = next((path for path in (folder, *folder.parents) if path.is_dir()), None)
    if start is None:
        return ""
    above = [path for path in (folder.parent, folder.parent.parent) if (path / manifest).is_file()]
    found = [str(path) for path in [*above, *_below(start, manifest)]]
    if above:
        return f"; did you mean {found[0]}?"
    close = get_close_matches(str(folder), found, n=SHOWN, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    more = ", ..." if len(found) > SHOWN else ""
    return f"; there are models in {', '.join(found[:SHOWN])}{more}" if found else ""


def _below(start: Path, manifest: str) -> Iterator[Path]:
    entries = islice((entry for pattern in ("*", "*/*") for entry in start.glob(pattern)), MOST_LOOKED_AT)
    return (entry for entry in sorted(entries) if (entry / manifest).is_file())
