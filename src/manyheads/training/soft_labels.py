"""Soft labels on disk: a teacher labels an example once, for all runs that ask it the same.

Decided here: files lie in the cache under a key of the teacher, its head and the student's terms; an example is found by a
digest of its texts and words. So a resumed run, other seeds and the run on all rows find what an earlier one computed. A
segment is an Arrow file that appears whole; one that cannot be read is ignored, and its examples are labelled again. Where
the cache cannot be written, soft labels are kept in memory.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
from safetensors.numpy import load, save

from manyheads.data.cache import KEPT_S

if TYPE_CHECKING:
    from manyheads.tasks.distillation import Soft
    from manyheads.training.teachers import Teacher

SCHEMA = pa.schema({"digest": pa.binary(16), "soft": pa.binary()})
ENDING = ".arrow"
GOLD_SHARE = 2 / 3
"""Weight of gold labels beside the answers of the model that a task starts from. Above 1/2, or a row that corrects a sure
mistake of the model would teach nothing."""


class SoftStore:
    """Soft labels by the digests of examples."""

    def __init__(self, folder: Path) -> None:
        """Open the segments in a folder."""
        self.folder = folder
        self._columns: list[Any] = []
        self._places: dict[bytes, tuple[int, int]] = {}
        self._in_memory: dict[bytes, Soft] = {}
        for path in sorted(folder.glob(f"*{ENDING}")) if folder.is_dir() else []:
            with suppress(OSError, ValueError, KeyError):  # ArrowInvalid is a ValueError
                self._open(path)
        with suppress(OSError):
            os.utime(folder)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._places or digest in self._in_memory

    def __getitem__(self, digest: bytes) -> Soft:
        """Raises KeyError for an example without soft labels."""
        if digest in self._in_memory:
            return self._in_memory[digest]
        segment, row = self._places[digest]
        return dict(load(self._columns[segment][row].as_py()))

    def add(self, digests: Sequence[bytes], softs: Sequence[Soft]) -> None:
        """Keep soft labels in a new segment, or in memory where it cannot be written."""
        values = [save(dict(soft)) for soft in softs]
        batch = pa.record_batch([pa.array(digests, SCHEMA.types[0]), pa.array(values, SCHEMA.types[1])], schema=SCHEMA)
        path = self.folder / f"{time.time_ns():020}-{uuid4().hex}{ENDING}"
        partial = path.with_suffix(".partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
                writer.write_batch(batch)
            os.replace(partial, path)
            self._open(path)
        except (OSError, ValueError):
            self._in_memory.update(zip(digests, softs, strict=True))
            with suppress(OSError):
                partial.unlink()

    def _open(self, path: Path) -> None:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        if reader.schema != SCHEMA:
            return
        for index in range(reader.num_record_batches):
            batch = reader.get_batch(index)
            self._columns.append(batch.column(1))
            places: Mapping[bytes, tuple[int, int]] = {
                digest: (len(self._columns) - 1, row) for row, digest in enumerate(batch.column(0).to_pylist())
            }
            self._places.update(places)


def open_store(root: Path, key: str) -> SoftStore:
    """The store of a key in a cache folder; stores that were not opened for 30 days are removed."""
    parent = root / "teachers"
    store = SoftStore(parent / key)
    with suppress(OSError):
        for other in parent.iterdir():
            if other.name != key and other.stat().st_mtime < time.time() - KEPT_S:
                shutil.rmtree(other, ignore_errors=True)
    return store


@dataclass(frozen=True, slots=True)
class Supervision:
    """The labels of an example: gold, soft, or both."""

    gold: bool
    soft: Soft | None
    gold_share: float | None = None
    """Weight of the gold labels beside soft ones; None: it rises over the run."""
    absent: frozenset[str] = frozenset()
    """Labels that the row would not name, but that the teacher knows."""

    @property
    def order(self) -> int:
        """Sorts examples by kind: gold labels only, both, soft labels only."""
        return 0 if self.soft is None else 1 if self.gold else 2


@dataclass(frozen=True, slots=True)
class Hold:
    """A task that continues is held by the answers of the model that it starts from. Li & Hoiem 2016.

    Unlike a teacher's, their weight stays the same over the run.
    """

    absent: frozenset[str] = frozenset()
    """Labels of the model that the new rows do not annotate: their text may still have them."""


@dataclass(slots=True)
class SoftLabels:
    """A teacher's labels for the examples of a feed. Empty until `teaching.label` fills it."""

    teacher: Teacher
    hold: Hold | None = None
    """Whether the teacher is the model that the task starts from."""
    new_rows: int = 0
    """Number of rows before those that the model was trained on already."""
    digests: list[bytes] | None = None
    """Of each example."""
    gold: list[bool] | None = None
    """Whether each example has gold labels."""
    store: SoftStore | dict[bytes, Soft] | None = None

    def supervision(self, index: int, row: int) -> Supervision:
        """The labels of an example, whose first row is `row`."""
        assert self.digests is not None and self.gold is not None and self.store is not None, "label comes first"  # noqa: PT018
        digest = self.digests[index]
        soft = self.store[digest] if digest in self.store else None  # noqa: SIM401  a store has no `get`
        if self.hold is None:
            return Supervision(self.gold[index], soft)
        absent = self.hold.absent if row < self.new_rows else frozenset[str]()
        return Supervision(self.gold[index], soft, GOLD_SHARE, absent)
