"""Long sources in windows: where windows lie, and which window each token belongs to when they are put together again.

Decided here:
- Nothing is cut. A source that is too long becomes windows of equal length; neighbours overlap by `stride` tokens, and the
  last ends flush with the text, so its overlap may be larger.
- Of a pair, the second part is read in windows; the first too where it takes more than half of the room, both in step.
- Each token belongs to one window, the one that shows most of its surroundings: what is decoded token by token reads
  every token once, with as much context as there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from manyheads.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from manyheads.text.pack import Encoding

Window = tuple[int, int, int, int]
"""First token and number of tokens of `first`, and of `second`."""


def windows(first: int, second: int, room: int, stride: int) -> list[Window]:
    """Windows over `first` and `second` tokens (0 for a single text) with `room` for both, at least one of each.

    Raises UsageError for a negative overlap.
    """
    if first + second <= room:
        return [(0, first, 0, second)]
    if stride < 0:
        raise UsageError(f"windows cannot overlap by {stride} tokens; give 0 or more")
    half = room // 2
    if first <= half:
        rooms = first, room - first
    elif second <= room - half:
        rooms = room - second, second
    else:
        rooms = half, room - half
    parts = [(total, size, size - min(stride, size // 2)) for total, size in zip((first, second), rooms, strict=True)]
    needed = [1 - (size - total) // step if step else 1 for total, size, step in parts]
    count = max(needed)
    begins = [
        # A part that needs fewer windows spreads evenly over them: its overlaps only grow.
        [min(k * step, total - size) if own == count else k * (total - size) // (count - 1) for k in range(count)]
        for (total, size, step), own in zip(parts, needed, strict=True)
    ]
    return [(one, rooms[0], two, rooms[1]) for one, two in zip(*begins, strict=True)]


def owned(encodings: Sequence[Encoding], part: int) -> list[slice]:
    """For consecutive windows of one source, from the first, the token positions of each that are its own.

    Each token of the part belongs to exactly one window: the one where it has most tokens of the part on its shorter
    side, the earlier of equals. A slice is empty where all tokens belong to others (the question of a pair).
    """
    extents = [_extent(encoding, part) for encoding in encodings]
    result = [slice(begin, begin) for begin, _ in extents]
    own, start = 0, 0  # the window that owned last, and where in it its own tokens start
    for k, (begin, stop) in enumerate(extents):
        if k:
            shift = _shift(encodings[own], extents[own], encodings[k], (begin, stop))
            if not shift:
                continue
            # Windows are of one length R, so what lies nearer to a window's middle has more context there: of R + shift
            # tokens the earlier window has the first (R + shift + 1) // 2.
            border = (extents[own][1] - extents[own][0] + shift + 1) // 2
            result[own] = slice(extents[own][0] + start, extents[own][0] + border)
            own, start = k, border - shift
        result[k] = slice(begin + start, stop)
    return result


def _extent(encoding: Encoding, part: int) -> tuple[int, int]:
    """First position of a part in a window, and the one behind its last."""
    place = np.flatnonzero(encoding.part_L == part)
    return (int(place[0]), int(place[-1]) + 1) if len(place) else (0, 0)


def _shift(one: Encoding, extent: tuple[int, int], two: Encoding, other: tuple[int, int]) -> int:
    """By how many tokens a window starts behind an earlier one: the smallest shift at which both tell the same.

    An encoding does not say where in its source it stands. Equal tokens of equal offsets, pieces of one character, could
    be mistaken for one another where windows meet inside of it; some of these pieces then have no owner.
    """
    columns = [(e.ids_L[slice(*x)], e.start_L[slice(*x)], e.end_L[slice(*x)]) for e, x in ((one, extent), (two, other))]
    length = extent[1] - extent[0]
    if not length or other[1] == other[0]:
        return length
    same = np.logical_and.reduce([a == b[0] for a, b in zip(*columns, strict=True)])
    for shift in np.flatnonzero(same).tolist():
        if all(np.array_equal(a[shift:], b[: length - shift]) for a, b in zip(*columns, strict=True)):
            return int(shift)
    return length
