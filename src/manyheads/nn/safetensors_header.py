"""Types and shapes of the tensors in a safetensors file, from its header alone, before anything is allocated.

safetensors itself checks that the tensors fill the rest of the file, each byte once, so no shape promises more than that.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

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


NUMPY = {
    "U8": np.uint8, "I8": np.int8, "I32": np.int32, "I64": np.int64, "U64": np.uint64, "F16": np.float16, "F32": np.float32,
}  # fmt: skip
"""Types of arrays that are read in place."""


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a safetensors file as arrays on disk, read only. Raises as `read_header` does."""
    header = read_header(path)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        places = {name: entry["data_offsets"][0] for name, entry in json.loads(file.read(length)).items() if name in header}
    unknown = next((f"{name} has the type {one.dtype}" for name, one in header.items() if one.dtype not in NUMPY), None)
    if unknown is not None:
        raise ValueError(f"is not a file of arrays: {unknown}")
    empty = {name: one for name, one in header.items() if not one.numbers}
    found: dict[str, npt.NDArray[Any]] = {name: np.zeros(one.shape, NUMPY[one.dtype]) for name, one in empty.items()}
    if len(found) == len(header):  # an empty file cannot be mapped
        return found
    whole = np.memmap(path, np.uint8, "r", offset=8 + length)
    return found | {
        name: np.ndarray(one.shape, NUMPY[one.dtype], whole, places[name]) for name, one in header.items() if one.numbers
    }


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
