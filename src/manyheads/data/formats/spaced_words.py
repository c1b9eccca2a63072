"""Words and their tags in two cells of a row, with spaces between them: `EU rejects calls` and `B-ORG O O`.

Decided here:
- The first row of a table tells whether its cells are lists or spaced words, and a row of the other kind is refused: a list
  that lost its bracket is not read as words.
- A row with more or fewer words than tags is refused, since no reader can tell which word lacks its tag.
- Spaces, tabs and line ends separate; a no-break space can be part of a word, as in CoNLL columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from manyheads.data.formats.literals import guessed
from manyheads.data.formats.messages import counted
from manyheads.errors import DataError

NOTE = "words and tags are separated by spaces in their cells"
_WORD = re.compile(r"[^ \t\r\n]+")
_LIST = re.compile(r"""\s*[\[({]\s*['"]|.*['"]\s*[\])}]\s*$""", re.DOTALL)
"""Text that begins or ends like a list of strings."""


def is_spaced(cells: Mapping[str, str]) -> bool:
    """Whether the cells of `tokens` and `tags` hold words, not lists."""
    pair = [cells.get(name, "") for name in ("tokens", "tags")]
    return all(cell.strip() and isinstance(guessed(cell.strip()), str) and not _LIST.match(cell) for cell in pair)


def words_of(cell: str) -> list[str]:
    """The words in a cell.

    >>> words_of("10\u00a0mg  daily")
    ['10\\xa0mg', 'daily']
    """
    return _WORD.findall(cell)


def words_and_tags(cells: Mapping[str, str], where: str) -> dict[str, Any]:
    """`tokens` and `tags` of a row. Raises DataError for lists, no words, and another number of words than tags."""
    if not is_spaced(cells):
        raise DataError(f"{where} has an empty cell or a list for 'tokens' or 'tags', and the first row has words with "
                        "spaces between them; write all rows in one way")  # fmt: skip
    words, tags = words_of(cells["tokens"]), words_of(cells["tags"])
    if len(words) != len(tags):
        raise DataError(f"{where} has {counted(len(words), 'word')} and {counted(len(tags), 'tag')}, separated by spaces; "
                        "give each word one tag (O where there is no entity)")  # fmt: skip
    return {"tokens": words, "tags": tags}
