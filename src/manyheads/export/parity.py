"""Whether an export answers like the model: texts of many lengths go through both, and all numbers are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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

MAX_EXAMPLES = 400
"""Examples of each task that texts are chosen from."""
TEXTS = 24
"""Texts of each task."""
PACK_TOKENS = 2048
BUILT_IN = (
    "a", "", "Metformin improved glucose control in type 2 diabetes.", "Does it hold?",
    "“Zürich, 3 °C”: naïve façade — 東京は晴れ, привет 👩\u200d🚀 [PAD] <pad> [MASK]",
    "We measured blood pressure before and after treatment in 120 patients of three hospitals, in 2019 and 2021.",
)  # fmt: skip
"""Always among the texts: nothing, one letter, other scripts, names of special tokens."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How far an export and its model differ."""

    largest: float
    """Over all outputs, as `relative_difference` measures it."""
    output: str
    """The output with that difference, `TASK/OUTPUT`."""
    windows: int
    shortest: int
    longest: int

    @staticmethod
    def of(differences: Iterable[tuple[float, str]], windows: Sequence[Encoding]) -> Difference:
        """The largest of the differences (NaN is larger than any number), each with its output."""
        largest, output = max(differences, key=lambda pair: float("inf") if np.isnan(pair[0]) else pair[0])
        lengths = [len(window) for window in windows]
        return Difference(largest, output, len(lengths), min(lengths), max(lengths))

    def line(self, own_data: bool) -> str:
        """One line for the user. `own_data`: whether the model's validation data was compared, or built-in texts alone."""
        of = "the model's validation data" if own_data else "built-in texts (its validation data is not here)"
        return (
            f"parity: {self.windows} windows of {self.shortest} to {self.longest} tokens of {of}; "
            f"largest difference {self.largest:.2g} ({self.output})"
        )

    def check(self, limit: float, what: str) -> None:
        """Raise UsageError if the difference exceeds `limit`; `what` is the export in words."""
        if not self.largest <= limit:
            raise UsageError(f"{what} does not answer like the model: {self.output} differs by {self.largest:.2g}, more "
                             f"than {limit:g}; nothing was written")  # fmt: skip


def relative_difference(expected: Array, found: Array) -> float:
    """The largest difference, relative to the largest expected number if that is above 1; infinite if shapes differ.

    Heads that are sure have logits of 100, of which float32 holds no more than five decimals.

    >>> relative_difference(np.array([1.0, 200.0]), np.array([1.0, 201.0]))
    0.005
    """
    if expected.shape != found.shape:
        return float("inf")
    if not expected.size:
        return 0.0
    return float(np.abs(expected.astype(np.float64) - found).max() / max(1.0, float(np.abs(expected).max())))


def compare(
    expected: Backend, found: Backend, windows: Sequence[Encoding], tasks: Mapping[str, Task[Any]]
) -> Difference:
    """The difference of two backends over all outputs."""
    differences = []
    for pack in packs(windows):
        one, two = (backend.run(pack, list(tasks)) for backend in (expected, found))
        differences += [
            (relative_difference(value, two[name][key]), f"{name}/{key}")
            for name, outputs in one.items()
            for key, value in outputs.items()
        ]
    return Difference.of(differences, windows)


def validation_tables(run: Path, tasks: Mapping[str, Task[Any]]) -> dict[str, Examples]:
    """Validation examples by task, for tasks that the run file has some for. Raises ConfigError and DataError."""
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
    """The model's own validation examples; empty if they cannot be read."""
    try:
        return validation_tables(bundle.folder / RUN, bundle.tasks)
    except (ManyheadsError, OSError):
        return {}


def texts(bundle: Bundle, tables: Mapping[str, Examples], count: int = TEXTS) -> list[Source]:
    """Texts to compare on: the built-in ones, and `count` of each table, evenly spread over their lengths."""
    built_in = [*BUILT_IN, BUILT_IN[2] * 3, BUILT_IN[5] * (1 + bundle.max_length // 10)]
    sources = [Source(text) for text in built_in] + [Source("What improved?", text) for text in built_in]
    for name, table in tables.items():
        read = bundle.tasks[name].sources_of_example
        found = [entry.source for i in range(min(MAX_EXAMPLES, len(table))) for entry in read(table[i])]
        found.sort(key=lambda source: len(source.first) + len(source.second or ""))
        sources += [found[i] for i in np.unique(np.linspace(0, len(found) - 1, count).astype(int))]
    return sources


def windows_of(bundle: Bundle, tables: Mapping[str, Examples], count: int = TEXTS) -> list[Encoding]:
    """The windows of `texts`."""
    encoded = bundle.tokenizer.encode(texts(bundle, tables, count), bundle.max_length)
    return [window for windows in encoded for window in windows]


def packs(windows: Sequence[Encoding]) -> list[list[Encoding]]:
    """Windows in their order, so that lengths are mixed, in packs of at most `PACK_TOKENS`."""
    made: list[list[Encoding]] = [[]]
    for window in windows:
        if made[-1] and sum(map(len, made[-1])) + len(window) > PACK_TOKENS:
            made.append([])
        made[-1].append(window)
    return made
