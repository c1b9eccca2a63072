"""Windows over long sources, and the window that answers for each token.

Design:
- Nothing is truncated. A source that is too long becomes windows of equal length; neighbours overlap by `stride` tokens, and
  the last window ends with the text, so its overlap may be larger.
- Of a pair, the second part is read in windows; the first too if it takes more than half of the room, both in parallel.
- Each token belongs to the window with the most context around it, so token-level answers read every token once.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from manyheads.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from manyheads.text.pack import Encoding

Window = tuple[int, int, int, int]
"""First token and number of tokens in `first`, and in `second`."""


def windows(first: int, second: int, room: int, stride: int) -> list[Window]:
    """Windows over `first` and `second` tokens (0 for a single text) with `room` for both, at least one of each.

    Raises UsageError for a negative overlap.

    >>> windows(25, 0, room=10, stride=4)
    [(0, 10, 0, 0), (6, 10, 0, 0), (12, 10, 0, 0), (15, 10, 0, 0)]
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
    """For the windows of a source, from the first, the positions of the tokens that each owns.

    Each token of the part has one owner: the window with the most tokens of the part on its shorter side, the earlier of
    equals. A slice is empty where all tokens belong to other windows (the question of a pair).
    """
    extents = [_extent(encoding, part) for encoding in encodings]
    starts = [encoding.first_token[part] for encoding in encodings]
    result = [slice(begin, begin) for begin, _ in extents]
    # A window that starts where the one before it does owns nothing.
    owners = [k for k, start in enumerate(starts) if not k or start != starts[k - 1]]
    own = 0  # where in a window its own tokens start
    for owner, following in pairwise(owners):
        begin, stop = extents[owner]
        # Windows have one length R, so the token nearer to a window's middle has more context there: of the R + shift
        # tokens of both, the earlier window owns the first (R + shift + 1) // 2.
        shift = starts[following] - starts[owner]
        border = (stop - begin + shift + 1) // 2
        result[owner] = slice(begin + own, begin + border)
        own = border - shift
    if owners:
        begin, stop = extents[owners[-1]]
        result[owners[-1]] = slice(begin + own, stop)
    return result


def _extent(encoding: Encoding, part: int) -> tuple[int, int]:
    """First position of a part in a window, and the one after its last."""
    place = np.flatnonzero(encoding.part_L == part)
    return (int(place[0]), int(place[-1]) + 1) if len(place) else (0, 0)
