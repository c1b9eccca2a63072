"""The last sections of every report: data, settings, versions and hashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from manyheads.html.markup import code, user_text
from manyheads.html.numbers import count
from manyheads.html.page import Part, Section, aside, details
from manyheads.html.tables import numbers, table, words
from manyheads.report.results import Json, number

COUNTS = ("read", "used", "windowed", "skipped", "left_out")
MAX_VALUE_CHARACTERS = 160


def data_section(data: Json) -> Section:
    """Rows of each task and split: `{task: {split: {read, used, windowed, skipped, left_out}}}`."""
    rows = [
        [user_text(task), split, *(count(number(counts.get(key))) for key in COUNTS)]
        for task, splits in data.items()
        if isinstance(splits, Mapping)
        for split, counts in splits.items()
        if isinstance(counts, Mapping)
    ]
    if not rows:
        return Section("data", "Data", [])
    columns = [*words("task", "split"), *numbers("rows read", "used", "windowed", "skipped", "left out")]
    note = aside(
        "Windowed: longer than the encoder's window, read in overlapping windows. Skipped: without a label for the task. "
        "Left out: annotations the task cannot represent, such as relations or overlapping spans."
    )
    return Section("data", "Data", [table("Rows of each split.", columns, rows), note])


def run_section(settings: Json, versions: Json, hashes: Json, before: Sequence[Part] = ()) -> Section:
    """Settings, versions and hashes, those that are given, after the parts in `before`."""
    parts: list[Part] = [*before]
    if settings:
        rows = [[code(key), user_text(shortened(value))] for key, value in settings.items()]
        parts.append(details("Settings", table("Settings of the run.", words("setting", "value"), rows)))
    if versions:
        rows = [[user_text(name), user_text(str(version))] for name, version in versions.items()]
        parts.append(table("Versions.", words("program", "version"), rows))
    if hashes:
        rows = [[user_text(name), code(str(sha256))] for name, sha256 in hashes.items()]
        parts.append(table("Hashes.", words("of", "sha256"), rows))
    return Section("run", "Settings, versions, hashes", parts)


def shortened(value: Any) -> str:
    """A value as text, cut if it is long."""
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else "" if value is None else str(value)
    if len(text) <= MAX_VALUE_CHARACTERS:
        return text
    return f"{text[:MAX_VALUE_CHARACTERS]} … ({len(text):,} characters)"


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level with dotted keys.

    >>> flatten({"training": {"steps": 40}, "output": None})
    {'training.steps': 40, 'output': None}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, Mapping) and value
        found |= flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return found
