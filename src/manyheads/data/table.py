"""Examples of one task and split, read from disk at random.

Decided here: a table is an Arrow IPC file, mapped into memory: a data set may be larger than the machine's memory, and
what is read of it is shared by all processes. Rows are kept as JSON and read again by the task when they are asked for.
`data/build.py` makes tables, `data/cache.py` keeps them.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import pyarrow as pa

from manyheads.data.report import MOST_ERRORS, ReadReport, Tally, exact_place, refuse
from manyheads.errors import RowError
from manyheads.tasks.base import Task

if TYPE_CHECKING:
    import numpy.typing as npt

ExampleT = TypeVar("ExampleT")

SCHEMA = pa.schema(
    {"row": pa.string(), "where": pa.string(), "cluster": pa.string(), "lines": pa.int32(), "digest": pa.uint64()}
)
"""Columns of a table: the row as JSON, its place and how many lines it has, its cluster, a digest of its texts."""


HASHED_ROWS = 1024
"""Rows joined before they are hashed."""


class ExampleTable(Generic[ExampleT]):
    """Examples by index, or a selection of them. Reading one costs its JSON and the task's own checks, some 20 µs."""

    def __init__(
        self,
        task: Task[ExampleT],
        batches: Sequence[Any],
        chosen_N: npt.NDArray[np.int64],
        keep: Any,
        labelled: int | None = None,
    ) -> None:
        """`batches`: record batches of SCHEMA; `chosen_N`: rows of them; `keep`: held while the table lives.

        The first `labelled` rows of the batches have labels; None: all of them.
        """
        self.task = task
        self._batches = batches
        self._columns = [[batch.column(i) for i in range(len(SCHEMA))] for batch in batches]
        self._starts = np.cumsum([0, *(len(batch) for batch in batches)]).tolist()
        self._chosen_N = chosen_N
        self._keep = keep
        self._labelled = self._starts[-1] if labelled is None else labelled

    def __len__(self) -> int:
        return len(self._chosen_N)

    def __getitem__(self, index: int) -> ExampleT:
        """The example. Raises IndexError past the end."""
        row = self.row(index)
        if self.is_labelled(index):
            return self.task.read(row)
        assert self.task.distillation is not None, "only a task that can be taught has unlabelled rows"
        return self.task.distillation.unlabelled(row)

    def __iter__(self) -> Iterator[ExampleT]:
        return (self[index] for index in range(len(self)))

    def row(self, index: int) -> dict[str, Any]:
        """The task's own row, as JSON."""
        row: dict[str, Any] = json.loads(self._cell(0, index))
        return row

    def is_labelled(self, index: int) -> bool:
        """Whether the example has labels of its own."""
        return int(self._chosen_N[index]) < self._labelled

    def where(self, index: int) -> str:
        """The place the example came from, as in errors."""
        return str(self._cell(1, index))

    def clusters(self) -> list[str]:
        """What each example belongs to (document, article); empty where it stands alone. Long names are hashed."""
        return [str(value) for value in self._column(2)]

    def digests(self) -> npt.NDArray[np.uint64]:
        """For each example 64 bits of the sha256 of its texts; equal texts, equal digests."""
        return np.array(self._column(4), np.uint64)

    def content_hash(self) -> str:
        """A sha256 of the rows, in their order."""
        digest = hashlib.sha256()
        for start in range(0, len(self), HASHED_ROWS):
            batch = [self._cell(0, index) for index in range(start, min(start + HASHED_ROWS, len(self)))]
            digest.update("\n".join(batch).encode())
        return digest.hexdigest()

    def take(self, indices: npt.NDArray[np.int64]) -> ExampleTable[ExampleT]:
        """A table of these examples, on the same file."""
        return ExampleTable(self.task, self._batches, self._chosen_N[indices], self._keep, self._labelled)

    def with_task(self, task: Task[ExampleT]) -> ExampleTable[ExampleT]:
        """The same examples for the task once it is fitted."""
        return ExampleTable(task, self._batches, self._chosen_N, self._keep, self._labelled)

    def with_unlabelled(self, batches: Sequence[Any]) -> ExampleTable[ExampleT]:
        """These examples, and behind them those of record batches whose rows have no labels."""
        first, more = self._starts[-1], sum(map(len, batches))
        chosen_N = np.concatenate([self._chosen_N, np.arange(first, first + more)])
        return ExampleTable(self.task, [*self._batches, *batches], chosen_N, self._keep, first)

    def check(self, *, trains: bool = True) -> None:
        """Raise DataError for rows that the fitted task cannot be trained on, or else cannot be scored on.

        A label that the task does not know is refused in training data alone, which has one only where the run file lists
        others. In other data it is a miss.
        """
        errors: list[str] = []
        known: Sequence[str] | None = getattr(self.task, "labels", None)

        def use(row: Mapping[str, Any]) -> None:
            example = self.task.read(row)
            labels = self.task.collect(example).labels if known is not None else {}
            unknown = [label for label in labels if label not in (known or ())]
            if unknown and trains:
                raise RowError(_unlisted(self.task.name, unknown[0], known or ()))
            task: Any = self.task
            (replace(task, labels=(*(known or ()), *unknown)) if unknown else task).validate(example)

        for index in range(len(self)):
            row = self.row(index)
            try:
                use(row)
            except RowError as error:
                place = exact_place(row, self.where(index), int(self._cell(3, index)), use)
                errors.append(f"{place}: {error}")
                if len(errors) > MOST_ERRORS:
                    break
        refuse(errors)

    def survey(self, told: Sequence[str] = ()) -> ReadReport:
        """Statistics of these examples, computed anew: what `build_table` reports, for a selection. `told`: notes on it."""
        statistics, places = Tally(), {}
        for index in range(len(self)):
            for label in statistics.add(self.task.collect(self[index])):
                places[label] = self.where(index)
        return ReadReport(len(self), len(self), {}, statistics.total(), places, told=tuple(told))

    def _cell(self, column: int, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        row = int(self._chosen_N[index])
        batch = bisect_right(self._starts, row) - 1
        return self._columns[batch][column][row - self._starts[batch]].as_py()

    def _column(self, column: int) -> list[Any]:
        if not self._columns:
            return []
        values = pa.chunked_array([columns[column] for columns in self._columns], SCHEMA[column].type)
        chosen: list[Any] = values.take(pa.array(self._chosen_N)).to_pylist()
        return chosen


def open_table(task: Task[ExampleT], path: Path, keep: Any) -> ExampleTable[ExampleT]:
    """The table in a file of SCHEMA; `keep` is held while the table lives. Raises OSError and ArrowInvalid (a ValueError)."""
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
    return ExampleTable(task, batches, np.arange(sum(map(len, batches))), keep)


def texts_digest(task: Task[ExampleT], example: ExampleT) -> int:
    """64 bits of the sha256 of all texts that the encoder reads of an example."""
    sources = [entry.source for entry in task.sources_of_example(example)]
    texts = "\1".join(f"{source.first}\0{source.second or ''}" for source in sources)
    return int.from_bytes(hashlib.sha256(texts.encode()).digest()[:8], "big")


def _unlisted(task: str, label: str, known: Sequence[str]) -> str:
    """That a label of the training data is none of the task's."""
    near = get_close_matches(label, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(known[:20]) + (" …" if len(known) > 20 else "")
    return (
        f"label {label!r} is not among the labels of the task, which are {listed}{hint}; add it to tasks.{task}.labels, or "
        "leave 'labels' out, so that all labels of the data count"
    )
