"""The labelled examples of one task from several splits, as one sequence."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from manyheads.data.table import ExampleTable


class LabelledExamples:
    """Examples of tables, one table after the other."""

    def __init__(self, tables: Sequence[tuple[str, ExampleTable[Any]]]) -> None:
        """`tables`: with the split that each is."""
        self._tables = list(tables)
        self._starts = np.cumsum([0, *(len(table) for _, table in tables)]).tolist()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Any:
        _, table, row = self._place(index)
        return table[row]

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def digests(self) -> npt.NDArray[np.uint64]:
        """Hashes of the texts of all examples."""
        return np.concatenate([table.digests() for _, table in self._tables])

    def split(self, index: int) -> str:
        """The split of an example."""
        return self._place(index)[0]

    def where(self, index: int, word: int | None = None) -> str:
        """`file:line` of an example; of one of its words if each has a line of its own."""
        _, table, row = self._place(index)
        place = table.where(row)
        path, _, line = place.rpartition(":")
        if word is None or table.lines(row) < 2 or not line.isdecimal():
            return place
        return f"{path}:{int(line) + word}"

    def _place(self, index: int) -> tuple[str, ExampleTable[Any], int]:
        k = bisect_right(self._starts, index) - 1
        split, table = self._tables[k]
        return split, table, index - self._starts[k]
