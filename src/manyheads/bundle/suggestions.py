"""Suggestions for a path that is not a model folder: "did you mean runs/clinic?"."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

MAX_ENTRIES = 2000
"""Folder entries to look at: plenty for anyone's runs, and quick in a folder of a million files."""
SHOWN = 3


def model_suggestions(folder: Path, manifest: str) -> str:
    """A clause for the end of an error message that names model folders near a path; empty if there are none.

    Looks at the folder and its parents, up to the first that exists, and two levels below that one.
    """
    start = next((path for path in (folder, *folder.parents) if path.is_dir()), None)
    if start is None:
        return ""
    above = [path for path in (folder.parent, folder.parent.parent) if (path / manifest).is_file()]
    if above:
        return f"; did you mean {above[0]}?"
    found = [str(path) for path in _models_below(start, manifest)]
    if close := get_close_matches(str(folder), found, n=SHOWN, cutoff=0.6):
        return f"; did you mean {' or '.join(close)}?"
    more = ", ..." if len(found) > SHOWN else ""
    return f"; there are models in {', '.join(found[:SHOWN])}{more}" if found else ""


def _models_below(start: Path, manifest: str) -> Iterator[Path]:
    entries = islice((entry for pattern in ("*", "*/*") for entry in start.glob(pattern)), MAX_ENTRIES)
    return (entry for entry in sorted(entries) if (entry / manifest).is_file())
