"""Examples of one task and split, each checked once, then kept on disk and read from there at random.

Decided here:
- A table is an Arrow IPC file, mapped into memory: a data set may be larger than the machine's memory, and what is read
  of it is shared by all processes. Rows are kept as JSON and read again by the task when they are asked for.
- It is kept under a name made from the sha256 of the files' contents and names, the task's type and name, and the code
  that read them; times and sizes play no part. So a changed file is always read again, and an unchanged one never.
- Reading goes on after a row that cannot be used, to tell of twenty at once; then all of it is refused.
- What `Task.read`, `row_of_target`, `facts`, `cluster` and the texts of `asks` say depends on no setting of the task.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import weakref
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import uuid4

import numpy as np
import pyarrow as pa

from manyheads.data.hub import Hub, open_hub
from manyheads.data.readers import Files, Opened, RawRow, open_files
from manyheads.errors import DataError, RowError
from manyheads.tasks.base import Facts, Task

if TYPE_CHECKING:
    import numpy.typing as npt

DataSource = Files | Hub
ExampleT = TypeVar("ExampleT")

MOST_ERRORS = 20
"""Bad rows that one DataError tells of; enough to see a pattern, few enough to read."""
BATCH_ROWS = 4096
BATCH_BYTES = 4_000_000
"""Rows are written when there are this many, or they are this large: what building a table holds in memory."""

SCHEMA = pa.schema(
    {"row": pa.string(), "where": pa.string(), "cluster": pa.string(), "lines": pa.int32(), "digest": pa.uint64()}
)


@dataclass(frozen=True, slots=True)
class Skipped:
    """Rows that were not used for one reason."""

    count: int
    where: str
    """The first of them."""


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What became of the rows of one split."""

    rows: int
    used: int
    skipped: Mapping[str, Skipped] = field(default_factory=dict)
    """By reason."""
    facts: Facts = field(default_factory=Facts)
    places: Mapping[str, str] = field(default_factory=dict)
    """Where each label is first seen."""


class ExampleTable(Generic[ExampleT]):
    """Examples by index, or a selection of them. Reading one costs its JSON and the task's own checks, some 20 µs."""

    def __init__(
        self, task: Task[ExampleT], batches: Sequence[Any], chosen_N: npt.NDArray[np.int64], keep: Any
    ) -> None:
        """`batches`: record batches of SCHEMA; `chosen_N`: rows of them; `keep`: held while the table lives."""
        self.task = task
        self._batches = batches
        self._columns = [[batch.column(i) for i in range(len(SCHEMA))] for batch in batches]
        self._starts = np.cumsum([0, *(len(batch) for batch in batches)]).tolist()
        self._chosen_N = chosen_N
        self._keep = keep

    def __len__(self) -> int:
        return len(self._chosen_N)

    def __getitem__(self, index: int) -> ExampleT:
        """The example. Raises IndexError past the end."""
        return self.task.read(self.row(index))

    def __iter__(self) -> Iterator[ExampleT]:
        return (self[index] for index in range(len(self)))

    def row(self, index: int) -> dict[str, Any]:
        """The task's own row, as JSON."""
        row: dict[str, Any] = json.loads(self._cell(0, index))
        return row

    def where(self, index: int) -> str:
        """The place the example came from, as in errors."""
        return str(self._cell(1, index))

    def clusters(self) -> list[str]:
        """What each example belongs to (document, article); empty where it stands alone. Long names are hashed."""
        return [str(value) for value in self._column(2)]

    def digests(self) -> npt.NDArray[np.uint64]:
        """For each example 64 bits of the sha256 of its texts; equal texts, equal digests."""
        return np.array(self._column(4), np.uint64)

    def take(self, indices: npt.NDArray[np.int64]) -> ExampleTable[ExampleT]:
        """A table of these examples, on the same file."""
        return ExampleTable(self.task, self._batches, self._chosen_N[indices], self._keep)

    def with_task(self, task: Task[ExampleT]) -> ExampleTable[ExampleT]:
        """The same examples for the task once it is fitted."""
        return ExampleTable(task, self._batches, self._chosen_N, self._keep)

    def check(self) -> None:
        """Raise DataError for rows that the fitted task cannot be scored on: labels that training never shows."""
        errors: list[str] = []

        def use(row: Mapping[str, Any]) -> None:
            self.task.check(self.task.read(row))

        for index in range(len(self)):
            row = self.row(index)
            try:
                use(row)
            except RowError as error:
                place = exact_place(row, self.where(index), int(self._cell(3, index)), use)
                errors.append(f"{place}: {error}{_nearest_label(self.task, row)}")
                if len(errors) > MOST_ERRORS:
                    break
        refuse(errors)

    def survey(self) -> ReadReport:
        """Facts of these examples, counted anew: what `build_table` reports, for a selection."""
        facts, places = _Tally(), {}
        for index in range(len(self)):
            for label in facts.add(self.task.facts(self[index])):
                places[label] = self.where(index)
        return ReadReport(len(self), len(self), {}, facts.total(), places)

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


def build_table(
    task: Task[ExampleT], source: DataSource, split: str, *, cache: Path | None = None
) -> tuple[ExampleTable[ExampleT], ReadReport]:
    """The examples of a task in a data source, from the cache if they were read before.

    `split` (train, validation, test) is what a hub data set is asked for unless it names one itself. `cache` defaults
    to `cache_folder()`; where it cannot be written, a temporary folder takes its place. Raises DataError, with up to
    MOST_ERRORS lines of `place: message`, for bad rows, and when no row can be used.
    """
    opened = open_hub(source, task.kind, split) if isinstance(source, Hub) else open_files(source, task.kind)
    code = "\0".join((_code(), task.kind, type(task).__qualname__, task.name))
    key = hashlib.sha256(f"{code}\0{opened.fingerprint}".encode("utf-8", "surrogateescape")).hexdigest()
    folder = cache if cache is not None else cache_folder()
    kept = _kept(task, folder, key)
    if kept is not None:
        return kept
    keep = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        report = _write(task, opened, folder, key)
    except OSError:
        keep = _TemporaryFolder()
        folder = keep.path
        try:
            report = _write(task, opened, folder, key)
        except OSError as error:
            raise DataError(
                f"{source}: no room to keep the examples: {error}; set MANYHEADS_CACHE to a folder"
            ) from None
    return _open(task, folder / f"{key}.arrow", keep), report


def split_table(
    table: ExampleTable[ExampleT], fraction: float, seed: int
) -> tuple[ExampleTable[ExampleT], ExampleTable[ExampleT]]:
    """(train, validation): each cluster, or text that stands alone, goes where its sha256 sends it.

    The order of the rows does not matter, equal texts stay together and documents whole. At least one goes to each
    side, and whatever holds a label that train would be left without goes to train. Raises DataError when nothing is
    left for validation.
    """
    digests, clusters = table.digests().tolist(), table.clusters()
    keys = [cluster or str(digest) for cluster, digest in zip(clusters, digests, strict=True)]
    hashes = {key: int.from_bytes(hashlib.sha256(f"{seed}\0{key}".encode()).digest()[:8], "big") for key in set(keys)}
    held = {key for key, value in hashes.items() if value < fraction * 2**64} or {min(hashes, key=hashes.__getitem__)}
    held.discard(max(hashes, key=hashes.__getitem__))
    held -= _needed(table, keys, {key: hashes[key] for key in held})
    held_N = np.array([key in held for key in keys], bool)
    if not held_N.any():
        raise DataError(
            f"{table.where(0)}: too little data to set a validation part aside ({len(table)} examples, {len(hashes)} "
            "separate texts or documents); give a validation file"
        )
    return table.take(np.flatnonzero(~held_N)), table.take(np.flatnonzero(held_N))


def _needed(table: ExampleTable[Any], keys: Sequence[str], held: Mapping[str, int]) -> set[str]:
    """For each label that only the held-out keys have, the one of them with the lowest hash."""
    trained: set[str] = set()
    holders: dict[str, set[str]] = {}
    for key, example in zip(keys, table, strict=True):
        labels = table.task.facts(example).labels
        if key not in held:
            trained.update(labels)
            continue
        for label in labels:
            holders.setdefault(label, set()).add(key)
    return {min(found, key=held.__getitem__) for label, found in holders.items() if label not in trained}


def cache_folder() -> Path:
    """`$MANYHEADS_CACHE`, or `~/.cache/manyheads`. Anything in it may be deleted at any time."""
    chosen = os.environ.get("MANYHEADS_CACHE")
    return Path(chosen) if chosen else Path("~/.cache/manyheads").expanduser()


# -- writing ----------------------------------------------------------------------------------------------------------
def _write(task: Task[Any], opened: Opened, folder: Path, key: str) -> ReadReport:
    """Read everything into `key.arrow` and `key.json`. The table appears last, whole or not at all."""
    unfinished = folder / f"{key}.{os.getpid()}.{uuid4().hex}.tmp"
    described = unfinished.with_suffix(".json.tmp")
    try:
        with pa.OSFile(str(unfinished), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            report = _read(task, opened.rows(), lambda rows: writer.write_batch(_batch(rows)))
        described.write_text(json.dumps(_to_json(report)), encoding="utf-8")
        described.replace(folder / f"{key}.json")
        unfinished.replace(folder / f"{key}.arrow")
    finally:
        unfinished.unlink(missing_ok=True)
        described.unlink(missing_ok=True)
    return report


def _read(task: Task[Any], rows: Iterable[RawRow], write: Callable[[list[tuple[Any, ...]]], object]) -> ReadReport:
    """Every row through the task. Raises DataError telling of the first MOST_ERRORS that it refuses."""
    read = used = size = 0
    skipped: dict[str, Skipped] = {}
    facts, places = _Tally(), {}
    errors: list[str] = []
    waiting: list[tuple[Any, ...]] = []
    for raw in _until_broken(rows, errors):
        read += 1
        values, reason = raw.values, raw.skip
        try:
            if reason is None and not isinstance(values.get("targets"), str | None):
                values, reason = _target(task, values)
            if reason is not None:
                before = skipped.get(reason, Skipped(0, raw.where))
                skipped[reason] = replace(before, count=before.count + 1)
                continue
            text = _text(values)
            example = task.read(values)
        except RowError as error:
            errors.append(f"{exact_place(values, raw.where, raw.lines, task.read)}: {error}")
            if len(errors) > MOST_ERRORS:
                break
            continue
        if errors:
            continue
        for label in facts.add(task.facts(example)):
            places[label] = raw.where
        waiting.append((text, raw.where, _short(task.cluster(example)), raw.lines, _digest(task, example)))
        used += 1
        size += len(text)
        if len(waiting) >= BATCH_ROWS or size >= BATCH_BYTES:
            write(waiting)
            waiting, size = [], 0
    refuse(errors)
    if waiting:
        write(waiting)
    if not used:
        first = next(iter(skipped.values())).where
        reasons = "; ".join(f"{reason}: {skip.count}, the first at {skip.where}" for reason, skip in skipped.items())
        raise DataError(f"{first}: none of {read} rows can be used for task '{task.name}' ({reasons})")
    return ReadReport(read, used, skipped, facts.total(), places)


def _until_broken(rows: Iterable[RawRow], errors: list[str]) -> Iterator[RawRow]:
    """The rows; a defect of the file itself ends them and joins the errors of the rows before it."""
    try:
        yield from rows
    except DataError as error:
        errors.append(str(error))


def _target(task: Task[Any], values: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The task's own row, or why there is none. A string is a csv column of that name, and is left alone."""
    targets = values["targets"]
    if not isinstance(targets, Mapping):
        raise RowError(f"'targets' must be an object with a key for each task, seen {targets!r}")
    target = targets.get(task.name)
    if target is None:
        return {}, f"no target '{task.name}'"
    return dict(task.row_of_target(values, target)), None


def _batch(rows: list[tuple[Any, ...]]) -> Any:
    columns = zip(*rows, strict=True)
    return pa.record_batch([pa.array(cells, kind) for cells, kind in zip(columns, SCHEMA.types, strict=True)], SCHEMA)


def _text(values: Mapping[str, Any]) -> bytes:
    """The row as JSON. Raises RowError for half a surrogate pair, which JSON escapes can smuggle into a text."""
    try:
        return json.dumps(values, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise RowError(f"holds {half}, half of a surrogate pair, which is no character; mend the text") from None


def _digest(task: Task[Any], example: Any) -> int:
    texts = "\1".join(f"{ask.source.first}\0{ask.source.second or ''}" for ask in task.asks(example))
    return int.from_bytes(hashlib.sha256(texts.encode()).digest()[:8], "big")


def _short(cluster: str) -> str:
    """A context that names a cluster is long, and only needs to differ from the others."""
    return cluster if len(cluster) <= 64 else hashlib.sha256(cluster.encode()).hexdigest()[:32]


class _Tally:
    """Sum of many facts. Adding them one by one would copy all counts each time."""

    def __init__(self) -> None:
        self._labels: Counter[str] = Counter()
        self._flags: frozenset[str] = frozenset()

    def add(self, facts: Facts) -> list[str]:
        """Counts added, flags united; gives the labels not seen before."""
        new = [label for label in facts.labels if label not in self._labels]
        self._labels.update(facts.labels)
        if not facts.flags <= self._flags:
            self._flags |= facts.flags
        return new

    def total(self) -> Facts:
        return Facts(dict(self._labels), self._flags)


# -- errors -----------------------------------------------------------------------------------------------------------
def refuse(errors: Sequence[str]) -> None:
    """Raise DataError telling of these, MOST_ERRORS at most; nothing when there are none."""
    if len(errors) > MOST_ERRORS:
        errors = [*errors[:MOST_ERRORS], f"there are more; reading stopped after {MOST_ERRORS}"]
    if errors:
        raise DataError("\n".join(errors))


def exact_place(row: Mapping[str, Any], where: str, lines: int, use: Callable[[dict[str, Any]], object]) -> str:
    """`where`; for a refused row with a line a word, the line of the first word that `use` refuses on its own."""
    path, _, first = where.rpartition(":")
    for k in range(lines if lines > 1 else 0):
        try:
            use({**row, "tokens": row["tokens"][k : k + 1], "tags": row["tags"][k : k + 1]})
        except RowError:
            return f"{path}:{int(first) + k}"
    return where


def _nearest_label(task: Task[Any], row: Mapping[str, Any]) -> str:
    """A known label like the unknown one, for the end of a message."""
    known: Sequence[str] = getattr(task, "labels", ())
    for label in task.facts(task.read(row)).labels:
        near = get_close_matches(label, known, 1) if known and label not in known else []
        if near:
            return f"; did you mean {near[0]!r}?"
    return ""


# -- the cache --------------------------------------------------------------------------------------------------------
class _TemporaryFolder:
    """A folder that goes when the last table that needs it does."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="manyheads-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@lru_cache
def _code() -> str:
    """The version, and a hash of the modules that decide what a row becomes."""
    try:
        version = metadata.version("manyheads")
    except metadata.PackageNotFoundError:
        version = ""
    digest = hashlib.sha256(version.encode())
    root = Path(__file__).parent.parent
    for room in ("data", "tasks", "text"):
        for module in sorted((root / room).glob("*.py")):
            digest.update(module.read_bytes())
    return digest.hexdigest()


def _kept(task: Task[ExampleT], folder: Path, key: str) -> tuple[ExampleTable[ExampleT], ReadReport] | None:
    """The table under this key; None when there is none, or it is not whole."""
    try:
        report = _from_json(json.loads((folder / f"{key}.json").read_text(encoding="utf-8")))
        table = _open(task, folder / f"{key}.arrow", None)
    except (OSError, ValueError, KeyError, TypeError):  # ArrowInvalid is a ValueError
        return None
    return (table, report) if len(table) == report.used else None


def _open(task: Task[ExampleT], path: Path, keep: Any) -> ExampleTable[ExampleT]:
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
    return ExampleTable(task, batches, np.arange(sum(map(len, batches))), keep)


def _to_json(report: ReadReport) -> dict[str, Any]:
    return {
        "rows": report.rows,
        "used": report.used,
        "skipped": {reason: [skip.count, skip.where] for reason, skip in report.skipped.items()},
        "labels": dict(report.facts.labels),
        "flags": sorted(report.facts.flags),
        "places": dict(report.places),
    }


def _from_json(kept: Mapping[str, Any]) -> ReadReport:
    skipped = {reason: Skipped(*skip) for reason, skip in kept["skipped"].items()}
    return ReadReport(
        kept["rows"], kept["used"], skipped, Facts(kept["labels"], frozenset(kept["flags"])), kept["places"]
    )
