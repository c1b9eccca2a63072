"""Lines of csv and tsv, as `text/delimited.py` reads them.

Cells of csv are quoted if they hold a quote, a comma or a line end; Python's csv module leaves carriage returns bare before
3.13, and readers refuse them. tsv has no quoting: tabs and line ends become spaces.
"""

from __future__ import annotations

from collections.abc import Sequence

_SPACES = str.maketrans("\t\r\n", "   ")
_SPECIAL = frozenset('",\r\n')


def cell_line(cells: Sequence[str], *, tabs: bool) -> tuple[bytes, int]:
    """A line of cells, and how many of them had to be changed.

    >>> cell_line(["a,b", "c", ""], tabs=False), cell_line(["a\\tb", "c"], tabs=True)
    ((b'"a,b",c,\\n', 0), (b'a b\\tc\\n', 1))
    """
    if tabs:
        plain = [cell.translate(_SPACES) for cell in cells]
        changed = sum(new != old for new, old in zip(plain, cells, strict=True))
        return ("\t".join(plain) + "\n").encode("utf-8"), changed
    blank = len(cells) == 1 and not cells[0]  # an empty line is not a row
    return (('""' if blank else ",".join(map(_quoted, cells))) + "\n").encode("utf-8"), 0


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if not _SPECIAL.isdisjoint(cell) else cell
