"""Whether an export answers as the model does: texts of many lengths through both, every number compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.bundle import RUN
from manyheads.config.dataset import read_split
from manyheads.config.files import load_run
from manyheads.errors import ManyheadsError, UsageError
from manyheads.text.pack import Source

if TYPE_CHECKING:
    from pathlib import Path

    from manyheads.bundle import Bundle
    from manyheads.evaluate import Examples
    from manyheads.predict import Backend
    from manyheads.tasks.base import Array, Task
    from manyheads.text.pack import Encoding

READ = 400
"""Examples of each task that texts are chosen from."""
CHOSEN = 24
"""Texts of each task."""
PACK_TOKENS = 2048
BUILT_IN = (
    "a", "", "Metformin improved glucose control in type 2 diabetes.", "Does it hold?",
    "“Zürich, 3 °C”: naïve façade — 東京は晴れ, привет 👩\u200d🚀 [PAD] <pad> [MASK]",
    "We measured blood pressure before and after treatment in 120 patients of three hospitals, in 2019 and 2021.",
)  # fmt: skip
"""Always among the texts: nothing, one letter, other scripts, names of special tokens."""


def validation_tables(run: Path, tasks: Mapping[str, Task[Any]]) -> dict[str, Examples]:
    """Validation examples of each of the tasks that a run file has some for. Raises ConfigError and DataError."""
    file = load_run(run)
    tables: dict[str, Examples] = {}
    for name, task in tasks.items():
        section = file.run.tasks.get(name)
        if section is not None and section.type == task.kind:
            table = read_split(file, task, "validation")
            if table is not None and len(table):
                tables[name] = table
    return tables


def own_tables(bundle: Bundle) -> dict[str, Examples]:
    """The model's own validation examples; none where they cannot be read."""
    try:
        return validation_tables(bundle.folder / RUN, bundle.tasks)
    except (ManyheadsError, OSError):
        return {}


def texts(bundle: Bundle, tables: Mapping[str, Examples], chosen: int = CHOSEN) -> list[Source]:
    """What both are asked: texts that are built in, and so many `chosen` of each table, evenly over their lengths."""
    built_in = [*BUILT_IN, BUILT_IN[2] * 3, BUILT_IN[5] * (1 + bundle.max_length // 10)]
    sources = [Source(text) for text in built_in] + [Source("What improved?", text) for text in built_in]
    for name, table in tables.items():
        read = bundle.tasks[name].sources_of_example
        asked = [entry.source for i in range(min(READ, len(table))) for entry in read(table[i])]
        asked.sort(key=lambda source: len(source.first) + len(source.second or ""))
        sources += [asked[i] for i in np.unique(np.linspace(0, len(asked) - 1, chosen).astype(int))]
    return sources


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two backends were apart."""

    largest: float
    """Of any number, as a share of the largest of its output in the pass where that is above 1: heads that are sure have
    logits of 100, of which float32 has no more than five decimals."""
    output: str
    """Where that was, `TASK/OUTPUT`."""
    windows: int
    shortest: int
    longest: int

    def line(self, own_data: bool) -> str:
        """What was compared, validation data of the model or built-in texts alone, and what came of it."""
        of = "the model's validation data" if own_data else "built-in texts (its validation data is not here)"
        return (
            f"parity: {self.windows} windows of {self.shortest} to {self.longest} tokens of {of}; "
            f"largest difference {self.largest:.2g} ({self.output})"
        )


def windows_of(bundle: Bundle, tables: Mapping[str, Examples], chosen: int = CHOSEN) -> list[Encoding]:
    """The windows of `texts`."""
    sources = texts(bundle, tables, chosen)
    return [window for asked in bundle.tokenizer.encode(sources, bundle.max_length) for window in asked]


def difference(one: Backend, two: Backend, windows: Sequence[Encoding], tasks: Mapping[str, Task[Any]]) -> Difference:
    """Every output of both on the same windows."""
    largest, where = -1.0, "none"
    for pack in packs(windows):
        seen, expected = two.run(pack, list(tasks)), one.run(pack, list(tasks))
        for name, outputs in expected.items():
            for key, value in outputs.items():
                apart = _apart(value, seen[name][key])
                if not apart <= largest:  # also where it is no number
                    largest, where = apart, f"{name}/{key}"
    lengths = [len(window) for window in windows]
    return Difference(largest, where, len(windows), min(lengths), max(lengths))


def check(found: Difference, most: float, what: str) -> None:
    """Raise UsageError for a difference above `most`."""
    if not found.largest <= most:
        raise UsageError(f"{what} does not answer as the model does: {found.output} differs by {found.largest:.2g}, more "
                         f"than {most:g}; nothing was written")  # fmt: skip


def _apart(one: Array, two: Array) -> float:
    """The largest difference, of the largest number if that is above 1; infinite where shapes differ."""
    if one.shape != two.shape:
        return float("inf")
    return float(np.abs(one.astype(np.float64) - two).max() / max(1.0, float(np.abs(one).max()))) if one.size else 0.0


def packs(windows: Sequence[Encoding]) -> list[list[Encoding]]:
    """Windows as they come, so that lengths are mixed, in packs of bounded size."""
    made: list[list[Encoding]] = [[]]
    for window in windows:
        if made[-1] and sum(map(len, made[-1])) + len(window) > PACK_TOKENS:
            made.append([])
        made[-1].append(window)
    return made
