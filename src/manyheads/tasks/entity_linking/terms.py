"""The dictionary's file: a table with the columns `id`, `name`, and optionally `type` and `synonyms` (separated by `|`).

    id    name               type      synonyms
    D001  Aspirin            Chemical  acetylsalicylic acid|ASA
    D002  fever              Disease   pyrexia

A concept may also have several rows, one for each name. Its first name is the preferred one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from manyheads.errors import DataError
from manyheads.text.delimited import CellError, CellRow, Header, read_cells

COLUMNS = ("id", "name")
OPTIONAL = ("type", "synonyms")
LONGEST_CELL = 1 << 20
"""Characters in a cell; names are far shorter."""
_PUNCTUATION = re.compile(r"[\W_]+")


@dataclass(slots=True)
class Concept:
    """An entry of the dictionary."""

    id: str
    names: list[str]
    """The preferred name first, each once."""
    type: str
    """Empty for none."""


def read_terms(place: str, lines: Iterable[str], *, tabs: bool) -> list[Concept]:
    """The concepts of a file, in the order of their first rows. `place` names the file in errors. Raises DataError.

    >>> [one.names for one in read_terms("terms.csv", ["id,name,synonyms", "D1,fever,pyrexia|febris"], tabs=False)]
    [['fever', 'pyrexia', 'febris']]
    """
    try:
        rows = read_cells(lines, tabs=tabs, longest=LONGEST_CELL)
        first = next(rows, None)
        if first is None:
            raise DataError(f"{place} is empty; its first line is a header with {' and '.join(COLUMNS)}")
        header = _header(place, first)
        found: dict[str, Concept] = {}
        for row in rows:
            _add(found, place, header, row)
    except CellError as error:
        raise DataError(f"{place}:{error.line} {error}") from None
    if not found:
        raise DataError(f"{place}:{first.line} is followed by no row; a dictionary needs at least one name")
    return list(found.values())


def _header(place: str, first: CellRow) -> Header:
    header = Header(first)
    missing = [name for name in COLUMNS if name not in header.known]
    if missing:
        seen = ", ".join(header.known)[:200] or "none"
        raise DataError(f"{place}:{first.line} has no column '{missing[0]}', seen {seen}; the columns of a dictionary are "
                        f"{', '.join(COLUMNS)}, and optionally {', '.join(OPTIONAL)}, separated by tabs in .tsv and by "
                        "commas in .csv")  # fmt: skip
    return header


def _add(found: dict[str, Concept], place: str, header: Header, row: CellRow) -> None:
    """Add a row to the concepts."""
    where, values = f"{place}:{row.line}", header.row(row)
    if values is None:
        raise DataError(f"{where} has {len(row.cells)} columns, the header has {len(header.names)}; fill the row in")
    identifier, name, kind = values["id"], values["name"], values.get("type", "")
    empty = next((column for column in COLUMNS if not values[column]), None)
    if empty is not None:
        raise DataError(f"{where} has an empty '{empty}'; fill it in, or remove the row")
    concept = found.get(identifier)
    if concept is None:
        concept = found[identifier] = Concept(identifier, [], kind)
    elif name in concept.names:
        raise DataError(f"{where} gives {identifier!r:.80} the name {name!r:.80} again; remove the row")
    elif kind != concept.type:
        raise DataError(f"{where} has the type {kind!r:.80} for {identifier!r:.80}, and a row before it "
                        f"{concept.type!r:.80}; a concept has one type")  # fmt: skip
    synonyms = (part.strip() for part in values.get("synonyms", "").split("|"))
    concept.names += [one for one in dict.fromkeys((name, *synonyms)) if one and one not in concept.names]


def normalised(name: str) -> str:
    """A name without case, punctuation and repeated spaces.

    >>> normalised(" Type-2  Diabetes (mellitus)")
    'type 2 diabetes mellitus'
    """
    return _PUNCTUATION.sub(" ", unicodedata.normalize("NFKC", name).casefold()).strip()


def keys_of(names: Sequence[str]) -> list[str]:
    """Normalised names; where nothing is left of one, the name itself."""
    return [normalised(name) or name for name in names]
