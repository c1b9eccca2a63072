"""The rows of a cell: a function of the set, the size, the seed, and of what is scored.

Decided here:
- Some train rows are set aside from every cell, to be scored with `--on tune`: constants are chosen on them, never on test
  rows. They are a fixed random sample of at most 1,000 rows and a fifth of the set, whole documents where rows have one.
  Only the cell of all rows, scored on test, has them too.
- Rows of a seed are one random order; a larger cell begins with the rows of the smaller one. The rows of a cell keep the
  order of the file.
- Test rows are a fixed random sample of at most 2,000 of the test split, the same for every method, size and seed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cells.sets import SETS, DataSet, Row
from real_data import rank

MOST_TESTED = 2000
MOST_TUNED = 1000
VERSION = 1
"""Counted up when other rows are drawn: results of other rows are not compared."""
On = Literal["test", "tune"]


@dataclass(frozen=True, order=True)
class Cell:
    set: str
    size: int | None
    """None: all rows."""
    seed: int

    @property
    def data(self) -> DataSet:
        return SETS[self.set]

    def __str__(self) -> str:
        return f"{self.set}-{self.size or 'all'}-seed{self.seed}"


def cells(names: Sequence[str], sizes: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """Those that are asked for: three seeds up to 300 rows, one above."""
    return [
        Cell(name, size, seed)
        for name in names
        for size in SETS[name].sizes
        if str(size or "all") in sizes
        for seed in ((0, 1, 2) if size is not None and size <= 300 else (0,))
        if seed in seeds
    ]


def rows(cell: Cell, data: Path, on: On) -> tuple[list[Row], list[Row]]:
    """What a method is trained on, and what it is scored on."""
    train, test = cell.data.read(data)
    aside = set_aside(cell.set, train)
    if on == "tune":
        test = [row for number, row in enumerate(train) if number in aside]
    if cell.size is None and on == "test":
        return train, sample(cell.set, test, MOST_TESTED)
    free = [row for number, row in enumerate(train) if number not in aside]
    return drawn(cell, free), sample(cell.set, test, MOST_TESTED)


def drawn(cell: Cell, free: list[Row]) -> list[Row]:
    order = list(range(len(free)))
    random.Random(f"{cell.set}/{cell.seed}").shuffle(order)
    return [free[number] for number in sorted(order[: cell.size])]


def set_aside(name: str, train: Sequence[Row]) -> set[int]:
    """Numbers of the rows that are kept for tuning."""
    wanted = min(MOST_TUNED, len(train) // 5)
    groups: dict[str, list[int]] = {}
    for number, row in enumerate(train):
        groups.setdefault(row.get("document", str(number)), []).append(number)
    chosen: list[int] = []
    for key in sorted(groups, key=lambda key: rank(f"{name}/tune/{key}")):
        if len(chosen) + len(groups[key]) <= wanted:
            chosen += groups[key]
    return set(chosen)


def sample(name: str, rows: list[Row], most: int) -> list[Row]:
    if len(rows) <= most:
        return rows
    kept = sorted(range(len(rows)), key=lambda number: rank(f"{name}/test/{number}"))[:most]
    return [rows[number] for number in sorted(kept)]
