"""The end of every report: which data was read, which settings, versions and hashes it was made with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from manyheads.html.markup import code, said
from manyheads.html.numbers import count
from manyheads.html.page import Part, Section, aside, folded
from manyheads.html.tables import numbers, table, words
from manyheads.report.results import Json, number

COUNTS = ("read", "used", "windowed", "skipped", "left_out")
SHOWN = 160
"""Characters of a value."""


def data_section(data: Json) -> Section:
    """Rows of each task and split: `{task: {split: {read, used, windowed, skipped, left_out}}}`."""
    rows = [
        [said(task), split, *(count(number(counts.get(key))) for key in COUNTS)]
        for task, splits in data.items()
        if isinstance(splits, Mapping)
        for split, counts in splits.items()
        if isinstance(counts, Mapping)
    ]
    if not rows:
        return Section("data", "Data", [])
    columns = [*words("task", "split"), *numbers("rows read", "used", "windowed", "skipped", "left out")]
    note = aside(
        "Windowed: longer than the encoder, read in overlapping windows. Skipped: without a label for the task. "
        "Left out: what rows say besides that the task cannot hold, such as relations or overlapping spans."
    )
    return Section("data", "Data", [table("Rows of each split.", columns, rows), note])


def run_section(settings: Json, versions: Json, hashes: Json, more: Sequence[Part] = ()) -> Section:
    """Settings, versions, hashes, where there are any."""
    parts: list[Part] = [*more]
    if settings:
        rows = [[code(key), said(shortened(value))] for key, value in settings.items()]
        parts.append(folded("Settings", table("Settings of the run.", words("setting", "value"), rows)))
    if versions:
        parts.append(
            table("Versions.", words("program", "version"), [[said(k), said(str(v))] for k, v in versions.items()])
        )
    if hashes:
        parts.append(table("Hashes.", words("of", "sha256"), [[said(k), code(str(v))] for k, v in hashes.items()]))
    return Section("run", "Settings, versions, hashes", parts)


def shortened(value: Any) -> str:
    """A value as text, cut where it is long."""
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else "" if value is None else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} … ({len(text):,} characters)"
