"""All formats that annotated texts are written in, and the choice of one by name or by the ending of a file."""

from __future__ import annotations

from pathlib import Path

from manyheads.data.formats.messages import did_you_mean
from manyheads.errors import UsageError
from manyheads.outputs.formats import (
    bioc_json,
    bioc_xml,
    brat,
    conll,
    docbin,
    doccano,
    label_studio,
    prodigy,
    pubtator,
    squad,
    standoff,
)
from manyheads.outputs.formats.format import WriteFormat

FORMATS: tuple[WriteFormat, ...] = (
    standoff.FORMAT,
    conll.FORMAT,
    brat.FORMAT,
    pubtator.FORMAT,
    bioc_xml.FORMAT,
    bioc_json.FORMAT,
    label_studio.FORMAT,
    doccano.FORMAT,
    prodigy.FORMAT,
    docbin.FORMAT,
    squad.FORMAT,
)
BY_NAME = {form.name: form for form in FORMATS}
ROWS = {"jsonl": ".jsonl", "json": ".json", "csv": ".csv", "tsv": ".tsv", "parquet": ".parquet"}
"""Formats of rows by name, each with its ending."""
ROW_ENDINGS = {**{ending: name for name, ending in ROWS.items()}, ".ndjson": "jsonl"}


def names() -> list[str]:
    """The values of `--to`."""
    return [*ROWS, *BY_NAME]


def check_name(name: str) -> None:
    """Raise UsageError for an unknown format."""
    if name not in names():
        raise UsageError(f"--to: there is no output format {name[:80]!r}; {did_you_mean(name, names())}the formats are "
                         f"{', '.join(names())}")  # fmt: skip


def format_for(path: Path | None, to: str | None) -> WriteFormat | None:
    """The format named, or else that of the file name; None for rows. Raises UsageError for an unknown name."""
    if to is not None:
        check_name(to)
        return BY_NAME.get(to)
    name = "" if path is None else bare_name(path)
    return next((form for form in FORMATS if name.endswith(form.endings)), None)


def row_format_for(path: Path, to: str | None) -> str | None:
    """The name of the row format named, or else that of the file name; None if it is none."""
    return to if to in ROWS else ROW_ENDINGS.get(Path(bare_name(path)).suffix) if to is None else None


def endings(*, rows: bool = True) -> list[str]:
    """The endings that choose a format; those of formats of rows first."""
    return [*(ROW_ENDINGS if rows else ()), *(ending for form in FORMATS for ending in form.endings)]


def bare_name(path: Path) -> str:
    """The name in lower case without `.gz`."""
    return path.name.lower().removesuffix(".gz")
