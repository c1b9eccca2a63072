"""Teachers of a run: models, or files of soft labels of any system, and what they say of each unit that is trained on.

A teacher is asked once, before the first step; its answers are kept (`soft_store.py`) and attached to the examples of
each step (`lessons.py`). It never runs beside the student.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.data.cache import cache_folder
from manyheads.data.table import texts_digest
from manyheads.errors import DataError, RowError
from manyheads.training.soft_store import Known, SoftStore, open_store

if TYPE_CHECKING:
    from manyheads.data.formats.rows import RawRow
    from manyheads.data.table import ExampleTable
    from manyheads.evaluate import Metrics
    from manyheads.tasks.base import Task
    from manyheads.tasks.distillation import Distillation, Soft
    from manyheads.training.batches import Feed
    from manyheads.training.run import Plan
    from manyheads.training.stop import Stop

CHUNK = 2048
"""Examples labelled together: enough to sort by length, and what is lost when a run is killed meanwhile."""

Say = Callable[[str], None]


class ModelTeacher:
    """A head of a model folder. Its weights are loaded when it is first asked."""

    reads_anything = True
    """Whether it answers for any text; else for those that it has."""

    def __init__(self, folder: Path, head: str, task: Task[Any], fingerprint: str) -> None:
        """`task`: of the head. `fingerprint`: of the folder."""
        self.shown = f"{folder} (task '{head}')"
        """For people."""
        self.fingerprint = f"{fingerprint}\0{head}"
        """Changes whenever its answers may."""
        self.task = task
        self._folder = folder
        self._head = head
        self._loaded: Any = None

    def said(self, task: Task[Any], examples: Sequence[Any], device: str) -> list[Soft | None]:
        """Through the predictor that serves the model."""
        distillation = taught_by(task)
        asked = [task.sources_of_example(example) for example in examples]
        items = iter(self._model(device).predictor.items(self._head, [entry for inputs in asked for entry in inputs]))
        return [
            distillation.of_model(self.task, example, [next(items) for _ in inputs])
            for example, inputs in zip(examples, asked, strict=True)
        ]

    def scores(self, table: ExampleTable[Any], device: str) -> Metrics:
        """As it is served."""
        from manyheads.evaluate import answers_for

        answers, examples = answers_for(self._model(device).predictor, self.task, table)
        return self.task.score(answers, examples)

    def close(self) -> None:
        """Let the weights go."""
        self._loaded = None

    def _model(self, device: str) -> Any:
        if self._loaded is None:
            from manyheads.api import load
            from manyheads.bundle import read_manifest
            from manyheads.onnx_backend import is_exported

            exported = is_exported(read_manifest(self._folder))
            self._loaded = load(self._folder, device="cpu" if exported else device)
        return self._loaded


class FileTeacher:
    """Rows of soft labels, found by their texts."""

    reads_anything = False

    def __init__(self, path: Path, rows: Mapping[int, RawRow], fingerprint: str) -> None:
        """`rows` by the digest of their texts (`texts_digest`)."""
        self.shown = str(path)
        self.fingerprint = fingerprint
        self.rows = rows

    def said(self, task: Task[Any], examples: Sequence[Any], device: str) -> list[Soft | None]:
        """What rows with the same texts say."""
        distillation = taught_by(task)
        found: list[Soft | None] = []
        for example in examples:
            raw = self.rows.get(texts_digest(task, example))
            try:
                found.append(None if raw is None else distillation.of_row(raw.values, example))
            except RowError as error:
                where = raw.where if raw is not None else self.shown
                raise DataError(f"{where}: {error}") from None
        return found

    def scores(self, table: ExampleTable[Any], device: str) -> Metrics:
        """None."""
        return {}

    def close(self) -> None:
        """Nothing."""


Teacher = ModelTeacher | FileTeacher


def taught_by(task: Task[Any]) -> Distillation[Any]:
    """How a task that has a teacher learns."""
    distillation = task.distillation
    assert distillation is not None, "checked when the run file was read"
    return distillation


@dataclass(frozen=True, slots=True)
class _Unit:
    """One unit of a feed."""

    digest: bytes
    gold: bool


class SoftLabels:
    """What a teacher says of the units of one feed."""

    def __init__(self, teacher: Teacher) -> None:
        """Nothing is asked before `prepare`."""
        self.teacher = teacher
        self._units: list[_Unit] = []
        self._store: SoftStore | dict[bytes, Soft] = {}

    def prepare(self, feed: Feed, device: str, say: Say, check: Callable[[], None]) -> None:
        """Have every unit labelled that is not yet. `check` is called now and then, and may raise."""
        if self._units:
            return
        task, teacher = feed.task, self.teacher
        if teacher.reads_anything:
            self._store = open_store(cache_folder(), store_key(teacher.fingerprint, task))
        units: list[_Unit] = []
        waiting: dict[bytes, Any] = {}
        asked = 0
        for unit in range(len(feed.units)):
            example = feed.example(unit)
            digest = example_digest(task, example)
            units.append(_Unit(digest, feed.table.is_labelled(feed.units.rows(unit)[0])))
            if digest not in self._store and digest not in waiting:
                waiting[digest] = example
            if len(waiting) >= CHUNK or (waiting and unit + 1 == len(feed.units)):
                check()
                asked += len(waiting)
                self._ask(task, waiting, device)
                waiting = {}
        self._units = units
        soft = sum(unit.digest in self._store for unit in units)
        kept = "" if asked else "; its answers were kept from before"
        say(f"{task.name}: taught by {teacher.shown} on {soft:,} of {len(units):,} texts{kept}")

    def _ask(self, task: Task[Any], examples: Mapping[bytes, Any], device: str) -> None:
        found = self.teacher.said(task, list(examples.values()), device)
        pairs = [(digest, soft) for digest, soft in zip(examples, found, strict=True) if soft is not None]
        if isinstance(self._store, SoftStore):
            self._store.add([digest for digest, _ in pairs], [soft for _, soft in pairs])
        else:
            self._store.update(pairs)

    def known(self, unit: int) -> Known:
        """What there is to learn from a unit."""
        assert self._units, "prepare comes first"
        digest, gold = self._units[unit].digest, self._units[unit].gold
        return Known(gold, self._store[digest] if digest in self._store else None)  # noqa: SIM401  a store has no `get`


def teach(plan: Plan, say: Say, stop: Stop, *, score: bool) -> dict[str, Metrics]:
    """Have all teachers of a run label its examples; with `score` their own scores on validation data.

    The process that leads does it first, and the others find what it kept.
    """
    team = plan.trainer.team
    feeds = [feed for feed in plan.trainer.batcher.feeds if feed.taught is not None]
    if not feeds:
        return {}
    if not team.leads:
        team.wait()
    device = str(plan.trainer.device)
    scores: dict[str, Metrics] = {}
    for feed in feeds:
        assert feed.taught is not None, "those that have one"
        feed.taught.prepare(feed, device, say if team.leads else _nothing, stop.check)
        table = plan.validation.get(feed.task.name)
        if score and team.leads and table is not None:
            found = feed.taught.teacher.scores(table, device)
            if found:
                scores[feed.task.name] = found
        feed.taught.teacher.close()
    if team.leads:
        team.wait()
    return scores


def _nothing(line: str) -> None:
    """Others say it."""


def store_key(fingerprint: str, task: Task[Any]) -> str:
    """Of all that soft labels depend on besides the example."""
    text = json.dumps([fingerprint, task.kind, taught_by(task).terms], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def example_digest(task: Task[Any], example: Any) -> bytes:
    """Of everything a teacher is asked of an example: its sources and the words it came with."""
    digest = hashlib.blake2b(digest_size=16)
    for entry in task.sources_of_example(example):
        read = [entry.source.first, entry.source.second, entry.source.stride, entry.words]
        digest.update(json.dumps(read).encode())
    return digest.digest()
