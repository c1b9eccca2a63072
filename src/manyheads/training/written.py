"""Files of the run that cannot be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from manyheads.errors import RESUME, TrainingError


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Convert an OSError to a TrainingError."""
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"{path} could not be written ({error.strerror or error})", hint=f"fix that, then {RESUME}"
        ) from None
