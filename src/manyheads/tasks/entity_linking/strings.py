"""Many strings as two arrays, which can lie on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from manyheads.tasks.base import Array


@dataclass(frozen=True, slots=True, eq=False)
class Strings:
    """N strings.

    >>> Strings.of(["a", "", "ü"])[2]
    'ü'
    """

    utf8_X: Array
    """All strings, end to end."""
    bound_N1: Array
    """Where each begins, and the end of the last."""

    @staticmethod
    def of(texts: Sequence[str]) -> Strings:
        """From Python strings."""
        parts = [text.encode("utf-8", "surrogatepass") for text in texts]
        return Strings(np.frombuffer(b"".join(parts), np.uint8), bounds_of(np.array([len(part) for part in parts], np.int64)))

    def __len__(self) -> int:
        return len(self.bound_N1) - 1

    def __getitem__(self, place: int) -> str:
        return self.utf8_X[self.bound_N1[place] : self.bound_N1[place + 1]].tobytes().decode("utf-8", "surrogatepass")

    def all(self) -> list[str]:
        """As Python strings."""
        data, bounds = self.utf8_X.tobytes(), self.bound_N1.tolist()
        return [data[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise(bounds)]

    def arrays(self, name: str) -> dict[str, Array]:
        """For a file, under this name."""
        return {f"{name}.utf8": self.utf8_X, f"{name}.bounds": self.bound_N1}

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array], name: str) -> Strings:
        """The inverse of `arrays`. Raises ValueError."""
        utf8_X = checked(arrays, f"{name}.utf8", np.uint8)
        bound_N1 = checked_bounds(arrays, f"{name}.bounds", len(utf8_X))
        return Strings(utf8_X, bound_N1)


def bounds_of(counts_N: Array) -> Array:
    """Where each of N groups begins, and the end of the last."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts_N, dtype=np.int64)])


def checked(arrays: Mapping[str, Array], name: str, dtype: type, *, axes: int = 1, below: int | None = None) -> Array:
    """An array of a file. Raises ValueError unless it has this type, and numbers from 0 to `below`."""
    array = arrays.get(name)
    if array is None or array.dtype != dtype or array.ndim != axes:
        raise ValueError(f"has no {name} with {axes} axes of {np.dtype(dtype).name}")
    if below is not None and array.size and not (array.min() >= 0 and array.max() < below):
        raise ValueError(f"has a number in {name} that is not from 0 to {below - 1:,}")
    return array


def checked_bounds(arrays: Mapping[str, Array], name: str, total: int, groups: int | None = None) -> Array:
    """Bounds of groups of `total` things. Raises ValueError unless they rise from 0 to `total`."""
    bounds = checked(arrays, name, np.int64)
    right = len(bounds) and bounds[0] == 0 and bounds[-1] == total and (np.diff(bounds) >= 0).all()
    if not right or (groups is not None and len(bounds) != groups + 1):
        raise ValueError(f"has {name} that are not the bounds of groups of {total:,}")
    return bounds
