"""A text on each line, after its label: the questions of TREC, `DESC:manner How did serfdom develop?`

Decided here:
- A file is recognised by labels in two parts in nearly all of its first lines, of which one comes more than once. Plain
  first words may be part of the text, so a file of those is read only if `format: label-lines` says so.
- Of a label in two parts the first is read; `columns: {label: fine}` reads both.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from manyheads.data.formats.columns import unknown_column
from manyheads.data.formats.format import Format, RowSchema
from manyheads.data.formats.lines import lines
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.rows import RawRow

LOOKED_AT = 200
FEWEST = 3
"""Lines from which a file is recognised."""
MOST = 0.9
"""Share of the lines with a label, from which it is: the others are mistakes, which are told with their lines."""
MANY = 10
"""Lines from which a file of plain first words is."""
SHORTEST = 2
"""Words after the first, in lines that may begin with labels; those of CoNLL columns have fewer."""
NAMES = ("text", "coarse", "fine")
TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
NOTE = "the label is the part before the colon; both parts with columns: {label: fine}"
_TWO_PARTS = re.compile(r"[A-Z][A-Z_]{1,19}:[A-Za-z_]\S{0,39} +\S")


def looks_like(preview: Preview) -> bool:
    """Labels such as `DESC:manner` at the beginning of nearly all lines."""
    found = _beginning(preview)
    labels = Counter(line.partition(":")[0] for line in found if _TWO_PARTS.match(line))
    return labels.total() >= max(FEWEST, MOST * len(found)) and len(labels) > 1 and max(labels.values()) > 1


def may_begin_with_labels(preview: Preview) -> bool:
    """Whether the lines begin with few words, each several times, so that they may be labels."""
    found = _beginning(preview)
    words = Counter(line.split(" ")[0] for line in found)
    few = len(found) >= MANY and 1 < len(words) <= len(found) / 5 and min(words.values()) > 1
    return few and all(line.count(" ") >= SHORTEST for line in found)


def _beginning(preview: Preview) -> list[str]:
    if preview.name.endswith(TABLES) or preview.path.is_dir():
        return []
    *whole, last = preview.text.split("\n")[: LOOKED_AT + 1]
    return [line.strip() for line in whole or [last] if line.strip()]


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Texts with their labels; a line without both has an error. Raises DataError for columns of other names."""
    for ours, theirs in schema.named:
        if (ours, theirs) not in (("text", "text"), ("label", "coarse"), ("label", "fine")):
            raise unknown_column(str(path), ours, theirs, NAMES)
    fine = schema.renames.get("label") == "fine"
    two_parts: bool | None = None
    for number, line in lines(path):
        where = f"{path}:{number}"
        found, _, text = line.strip().partition(" ")
        coarse, colon, rest = found.partition(":")
        if not found:
            continue
        if two_parts is None:
            two_parts = bool(colon)
        if not text.strip() or not coarse or two_parts != bool(colon and rest):
            form = "LABEL:PART TEXT" if two_parts else "LABEL TEXT, without a colon in the label, as the first line is"
            yield RawRow({}, where, error=f"{where} should be {form}, seen {line.strip()[:80]!r}; correct the line")
            continue
        row = {"text": text.strip(), "label": found if fine or not two_parts else coarse}
        yield RawRow(row, where, notes=(NOTE,) if two_parts and not fine else ())


FORMAT = Format("label-lines", "a label before each text", (("text", "label"),), looks_like, read, renames=True)
