"""csv and tsv files with a header. Cells may hold line ends; the place of a row is the line it starts on."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from manyheads.data.formats.lines import LONGEST_LINE_BYTES, bare_name, lines
from manyheads.data.formats.rows import RawRow, counted, wanted_columns
from manyheads.errors import DataError

LONGEST_CELL = LONGEST_LINE_BYTES
"""Characters in a cell; the csv module refuses more than 131,072 unless told, and documents are longer."""


def read(path: Path, kind: str) -> Iterator[RawRow]:
    """Rows. Raises DataError for a header that lacks columns, a row of another width, and quotes that do not match."""
    tab = bare_name(path).endswith(".tsv")
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader((line for _, line in lines(path)), delimiter="\t" if tab else ",", strict=True)
    header: list[str] = []
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "field larger" in str(error):
                raise DataError(f"{path}:{start} has a cell that is longer than {LONGEST_CELL >> 20} MB, or a quote that is "
                                "never closed; cut the text into parts, or close the quote") from None  # fmt: skip
            separator = "tab" if tab else "comma"
            raise DataError(
                f"{path}:{start} has a cell whose quotes do not match ({error}); a cell that starts with a quote ends "
                f"with one before the next {separator}, and quotes inside it are doubled"
            ) from None
        if not cells:
            continue
        if not header:
            header = [cell.strip() for cell in cells]
            _check_header(header, f"{path}:{start}", kind)
            continue
        if len(cells) != len(header):
            raise DataError(
                f"{path}:{start} has {counted(len(cells))}, the header has {len(header)} ({', '.join(header)[:500]}); "
                f"fill the row in, or quote a cell that holds a {'tab' if tab else 'comma'}"
            )
        values: dict[str, Any] = dict(zip(header, cells, strict=True))
        if not values.get("text_pair", True):
            values["text_pair"] = None  # the only column that may be left out row by row; an empty cell has no type
        yield RawRow(values, f"{path}:{start}")


def _check_header(header: Sequence[str], where: str, kind: str) -> None:
    wanted = wanted_columns(header, kind)
    if wanted:
        seen = " | ".join(cell if len(cell) <= 40 else cell[:40] + "…" for cell in header[:50])
        raise DataError(
            f"{where} should be a header with the columns {wanted}, seen {seen}; add that line, or rename columns"
        )
    twice = sorted(name for name, count in Counter(header).items() if count > 1)
    if twice:
        raise DataError(f"{where} names the column '{twice[0][:80]}' twice; rename one of them")
