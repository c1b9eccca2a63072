"""Offsets in UTF-16 units, as Java and JavaScript count them, to characters."""

from __future__ import annotations

from bisect import bisect_left


class Utf16Offsets:
    """Converts offsets into one text.

    >>> Utf16Offsets("a😀b").characters(1, 3)
    (1, 2)
    """

    def __init__(self, text: str) -> None:
        wide = [place for place, character in enumerate(text) if character > "\uffff"] if not text.isascii() else []
        self._wide = [place + before for before, place in enumerate(wide)]
        """Units at which characters of two units begin."""
        self.units = len(text) + len(wide)
        """Length of the text."""

    def characters(self, start: int, end: int) -> tuple[int, int] | None:
        """The offsets in characters; None if one lies outside the text, or within a character."""
        found = []
        for unit in (start, end):
            before = bisect_left(self._wide, unit)
            if not 0 <= unit <= self.units or (before and self._wide[before - 1] == unit - 1):
                return None
            found.append(unit - before)
        return found[0], found[1]
