"""Examples of one task and split, with random access on disk.

A table is a memory-mapped Arrow IPC file: a dataset may be larger than the machine's memory, and all processes share the
pages in memory. Rows are stored as JSON and parsed by the task on access. `data/build.py` makes tables, `data/cache.py`
stores them.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import pyarrow as pa

from manyheads.data.formats.messages import did_you_mean
from manyheads.data.report import MOST_ERRORS, ReadReport, RunningStatistics, placed_errors, refuse
from manyheads.errors import RowError
from manyheads.tasks.base import Task

if TYPE_CHECKING:
    import numpy.typing as npt

ExampleT = TypeVar("ExampleT")

SCHEMA = pa.schema(
    {"row": pa.string(), "where": pa.string(), "cluster": pa.string(), "lines": pa.int32(), "digest": pa.uint64()}
)
"""Columns of a table: the row as JSON, its place and number of lines, its cluster, a digest of its texts."""
BATCH_ROWS = 4096
HASHED_ROWS = 1024
"""Rows joined before they are hashed."""


class ExampleTable(Generic[ExampleT]):
    """Examples by index, or a selection of them. Reading one parses its JSON and runs the task's checks, about 20 µs."""

    def __init__(
        self,
        task: Task[ExampleT],
        batches: Sequence[Any],
        chosen_N: npt.NDArray[np.int64],
        keep: Any,
        labelled: int | None = None,
    ) -> None:
        """`batches`: record batches of SCHEMA; `chosen_N`: rows of them; `keep`: kept alive with the table.

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
        assert self.task.distillation is not None, "only tasks with distillation have unlabelled rows"
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
        """The place of the example in the data, as in errors."""
        return str(self._cell(1, index))

    def lines(self, index: int) -> int:
        """Lines of the example in its file; above 1 only where word or sentence k is k lines below the first."""
        return int(self._cell(3, index))

    def clusters(self) -> list[str]:
        """The document or article of each example; empty if it has none. Long names are hashed."""
        return [str(value) for value in self._column(2)]

    def digests(self) -> npt.NDArray[np.uint64]:
        """For each example 64 bits of the sha256 of its texts."""
        return np.array(self._column(4), np.uint64)

    def content_hash(self) -> str:
        """A sha256 of the rows, in their order."""
        digest = hashlib.sha256()
        for start in range(0, len(self), HASHED_ROWS):
            batch = [self._cell(0, index) for index in range(start, min(start + HASHED_ROWS, len(self)))]
            digest.update("\n".join(batch).encode())
        return digest.hexdigest()

    def take(self, indices: npt.NDArray[np.int64]) -> ExampleTable[ExampleT]:
        """A table of these examples, backed by the same file."""
        return ExampleTable(self.task, self._batches, self._chosen_N[indices], self._keep, self._labelled)

    def with_task(self, task: Task[ExampleT]) -> ExampleTable[ExampleT]:
        """The same examples for the fitted task."""
        return ExampleTable(task, self._batches, self._chosen_N, self._keep, self._labelled)

    def followed_by(self, other: ExampleTable[ExampleT]) -> ExampleTable[ExampleT]:
        """These examples and then others, all labelled."""
        chosen_N = np.concatenate([self._chosen_N, self._starts[-1] + other._chosen_N])
        return ExampleTable(self.task, [*self._batches, *other._batches], chosen_N, (self._keep, other._keep))

    def with_unlabelled(self, batches: Sequence[Any]) -> ExampleTable[ExampleT]:
        """These examples, followed by those of record batches whose rows have no labels."""
        first, more = self._starts[-1], sum(map(len, batches))
        chosen_N = np.concatenate([self._chosen_N, np.arange(first, first + more)])
        return ExampleTable(self.task, [*self._batches, *batches], chosen_N, self._keep, first)

    def check(self, *, trains: bool = True) -> None:
        """Raise DataError for rows that the fitted task cannot be trained on (or, without `trains`, scored on).

        An unknown label is refused in training data only, where it means that the run file lists other labels. In other
        data it counts as a miss.
        """
        errors: list[str] = []
        known = self.task.label_places if hasattr(self.task, "labels") else None

        def use(row: Mapping[str, Any]) -> None:
            example = self.task.read(row)
            labels = self.task.collect(example).labels if known is not None else {}
            unknown = [label for label in labels if label not in (known or ())]
            if unknown and trains:
                raise RowError(_unlisted(self.task.name, unknown[0], tuple(known or ())))
            task: Any = self.task
            (replace(task, labels=(*(known or ()), *unknown)) if unknown else task).validate(example)

        for index in range(len(self)):
            row = self.row(index)
            try:
                use(row)
            except RowError as error:
                found = placed_errors(row, self.where(index), int(self._cell(3, index)), error=error, use=use)
                errors += [f"{place}: {text}" for place, text in found]
                if len(errors) > MOST_ERRORS:
                    break
        refuse(errors)

    def survey(self, told: Sequence[str] = ()) -> ReadReport:
        """The report that `build_table` would give for these examples alone. `told`: notes on the selection."""
        statistics, places = RunningStatistics(), {}
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
    """The table in a file of SCHEMA; `keep` is kept alive with it. Raises OSError and ArrowInvalid (a ValueError)."""
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
    return ExampleTable(task, batches, np.arange(sum(map(len, batches))), keep)


def table_of_rows(task: Task[ExampleT], batches: Sequence[Any]) -> ExampleTable[ExampleT]:
    """A table in memory, of record batches of SCHEMA."""
    return ExampleTable(task, batches, np.arange(sum(map(len, batches))), None)


def row_json(values: Mapping[str, Any]) -> bytes:
    """The row as JSON. Raises RowError for half a surrogate pair, which JSON escapes can put into a text."""
    try:
        return json.dumps(values, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise RowError(f"contains {half}, half of a surrogate pair, which is not a character; fix the text") from None


def record_batch(rows: Sequence[tuple[Any, ...]]) -> Any:
    """A record batch of SCHEMA from rows with its columns."""
    columns = zip(*rows, strict=True)
    return pa.record_batch([pa.array(cells, kind) for cells, kind in zip(columns, SCHEMA.types, strict=True)], SCHEMA)


def texts_digest(task: Task[ExampleT], example: ExampleT) -> int:
    """64 bits of the sha256 of all texts of an example that answers depend on."""
    sources = [entry.source for entry in task.scored_inputs(example)]
    texts = "\1".join(f"{source.first}\0{source.second or ''}" for source in sources)
    return int.from_bytes(hashlib.sha256(texts.encode()).digest()[:8], "big")


def _unlisted(task: str, label: str, known: Sequence[str]) -> str:
    """The error for a training label that the task does not list."""
    listed = ", ".join(known[:20]) + (" …" if len(known) > 20 else "")
    return (
        f"label {label!r} is not among the labels of the task, which are {listed}; {did_you_mean(label, known)}add it to "
        f"tasks.{task}.labels, or leave 'labels' out, so that all labels of the data count"
    )
