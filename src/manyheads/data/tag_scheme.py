"""Tags that break the scheme of their file: most spans are tagged by it, and a few are not.

Tags of any scheme are read as the CoNLL scorer reads them (`text/spans.py`), so a wrong tag changes a span without an error:
`O` for `B-PER` makes the following `I-PER` begin the span. If at most SLIPS of the spans begin, or end, in another way than
the others, they are reported; if more do, the file follows another scheme.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manyheads.data.report import Skipped

SLIPS = 0.1
BEGINS = (
    "a tag I- or E- follows no tag of its label, so it begins a span, but other spans begin with B-; correct the tags"
)
ENDS = "a span ends without E- or S-, but other spans end with them; correct the tags"


class TagSchemeCheck:
    """Counts how the spans of tagged rows begin and end."""

    def __init__(self) -> None:
        self._begun = self._ended = 0
        self._without_begin: Skipped | None = None
        self._without_end: Skipped | None = None

    def add(self, values: Mapping[str, Any], where: str, lines: int) -> None:
        """Count the tags of a row that the task accepted; rows without tags are ignored."""
        tags = values.get("tags")
        if "tokens" not in values or not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            return
        if not all(tag[1:2] in ("", "-") for tag in tags):
            return  # plain tags, such as parts of speech
        before = ("O", "")
        for place, tag in enumerate([*tags, "O"]):
            letter, label = tag[:1], tag[2:]
            inside = before[0] in "BI" and before[1] == label
            at = min(place, len(tags) - 1)
            self._begun += letter in "BSU"
            self._ended += letter in "ESLU"
            if letter in "IEL" and not inside:
                self._without_begin = _more(self._without_begin, where, at, lines)
            if before[0] in "BI" and not (letter in "IEL" and inside):
                self._without_end = _more(self._without_end, where, max(at - 1, 0), lines)
            before = (letter, label)

    def notes(self) -> dict[str, Skipped]:
        """Warnings with the number of spans and the first of them."""
        found = {BEGINS: (self._without_begin, self._begun), ENDS: (self._without_end, self._ended)}
        return {text: slips for text, (slips, others) in found.items() if slips and slips.count <= SLIPS * others}


def _more(slips: Skipped | None, where: str, place: int, lines: int) -> Skipped:
    if slips is not None:
        return Skipped(slips.count + 1, slips.where)
    path, _, first = where.rpartition(":")
    return Skipped(1, f"{path}:{int(first) + place}" if lines > 1 and first.isdecimal() else where)
