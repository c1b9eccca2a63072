"""Types and shapes of the tensors in a safetensors file, from its header alone, before anything is allocated.

safetensors itself checks that the tensors fill the rest of the file, each byte once, so no shape promises more than that.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from manyheads.errors import first_line
from manyheads.text.untrusted_files import checked_size

MOST_FILE_BYTES = 1 << 40
MOST_HEADER_BYTES = 16 << 20
"""100,000 tensors with names of 100 characters; BERT large has 400."""


class TensorInfo(NamedTuple):
    """Type and shape of a tensor in a file."""

    dtype: str
    """As safetensors names it: `F32`, `BF16`."""
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors of a safetensors file by name. Raises OSError, and ValueError with what is wrong with the file."""
    from safetensors import SafetensorError, safe_open

    size = checked_size(path, MOST_FILE_BYTES)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, MOST_HEADER_BYTES):
            raise ValueError(f"is not a safetensors file: it gives its header {length:,} bytes, of {size:,} in all")
        text = file.read(length)
    try:
        with safe_open(path, framework="numpy"):
            header = json.loads(text, object_pairs_hook=_without_duplicates)
    except (SafetensorError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"is not a safetensors file, or is damaged ({first_line(error)})") from None
    header.pop("__metadata__", None)
    return {name: TensorInfo(entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found
