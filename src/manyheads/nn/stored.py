"""What a safetensors file says it holds, from its header alone: before anything is made as large as a stranger wants.

    8 bytes: length of the header, little-endian · header: JSON, `{name: {"dtype", "shape", "data_offsets"}}` · tensors

Decided here: strict. The tensors must fill the rest of the file, each byte once, as safetensors itself asks; then no
shape can promise more than the file has.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from manyheads.text.plain_files import size_of

MOST_FILE_BYTES = 1 << 40
MOST_HEADER_BYTES = 16 << 20
"""100,000 tensors with names of 100 characters; BERT large has 400."""
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
}  # fmt: skip
"""Of one number, by the name of its type; only those that torch has."""
METADATA = "__metadata__"


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a file."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many."""
        return prod(self.shape)


def stored_tensors(path: Path) -> dict[str, Stored]:
    """The tensors of a safetensors file by name. Raises ValueError saying what is the matter with it, and OSError."""
    size = size_of(path, MOST_FILE_BYTES)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, MOST_HEADER_BYTES):
            raise ValueError(
                f"is no safetensors file: it says that its header has {length:,} bytes, of {size:,} in all"
            )
        text = file.read(length)
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no safetensors file: its header is not JSON ({str(error)[:100]})") from None
    if not isinstance(header, dict):
        raise ValueError("is no safetensors file: its header is no JSON object")
    about = header.pop(METADATA, {})
    if not isinstance(about, dict) or not all(isinstance(value, str) for value in about.values()):
        raise ValueError(f"is no safetensors file: its {METADATA} holds no texts")
    ranges = sorted((*_range(name, entry), name) for name, entry in header.items())
    end = 0
    for start, stop, name in ranges:
        if start != end:
            raise ValueError(f"has a hole or an overlap before the tensor {name[:80]!r}; it is damaged")
        end = stop
    if end != size - 8 - length:
        raise ValueError(f"has {size - 8 - length:,} bytes of tensors, its header says {end:,}; it is damaged")
    return {name: Stored(entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}


def _range(name: str, entry: Any) -> tuple[int, int]:
    """Where the bytes of a tensor start and end, which its type and shape must need."""
    try:
        shape, (start, stop), bits = entry["shape"], entry["data_offsets"], BITS[entry["dtype"]]
        plain = all(type(number) is int and number >= 0 for number in (*shape, start, stop))
        fits = plain and isinstance(shape, list) and len(shape) <= 16 and prod(shape) * bits == (stop - start) * 8
    except (KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(f"has a tensor {name[:80]!r} whose type, shape and place do not fit; it is damaged")
    return start, stop


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found
