"""Labelling a run's examples by their teachers, once, before the first step.

A teacher never runs beside the student: its answers are kept (`soft_labels.py`) and attached to the examples of each step
(`lessons.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from manyheads.data.cache import cache_folder
from manyheads.evaluate import Metrics
from manyheads.tasks.base import Task
from manyheads.tasks.distillation import Soft
from manyheads.training.feed import Feed
from manyheads.training.plan import Plan
from manyheads.training.soft_labels import SoftLabels, SoftStore, open_store
from manyheads.training.stop import Stop
from manyheads.training.teachers import distillation_of

CHUNK = 2048
"""Examples labelled together: enough to sort by length, and what is lost when a run is killed meanwhile."""

Say = Callable[[str], None]


def teach(plan: Plan, say: Say, stop: Stop, *, score: bool) -> dict[str, Metrics]:
    """Have all teachers of a run label its examples; with `score`, returns their own scores on validation data.

    Process 0 does it first, and the others read what it kept.
    """
    team = plan.trainer.team
    taught = [(feed, feed.soft_labels) for feed in plan.trainer.batcher.feeds if feed.soft_labels is not None]
    if not taught:
        return {}
    if not team.leads:
        team.wait()
    device = str(plan.trainer.device)
    scores: dict[str, Metrics] = {}
    for feed, labels in taught:
        label(feed, labels, device, say if team.leads else _ignore, stop.check)
        table = plan.validation.get(feed.task.name)
        if score and team.leads and table is not None:
            metrics = labels.teacher.scores(table, device)
            if metrics:
                scores[feed.task.name] = metrics
        labels.teacher.close()
    if team.leads:
        team.wait()
    return scores


def _ignore(line: str) -> None:
    """Process 0 says it."""


def label(feed: Feed, labels: SoftLabels, device: str, say: Say, check: Callable[[], None]) -> None:
    """Have the teacher label every example that is not labelled yet. `check` is called before each chunk, and may raise."""
    if labels.digests is not None:
        return
    task, teacher = feed.task, labels.teacher
    store: SoftStore | dict[bytes, Soft] = {}
    if teacher.reads_anything:
        store = open_store(cache_folder(), store_key(teacher.fingerprint, task))
    digests: list[bytes] = []
    waiting: dict[bytes, Any] = {}
    asked, count = 0, len(feed.examples)
    for index in range(count):
        example = feed.example(index)
        digest = example_digest(task, example)
        digests.append(digest)
        if digest not in store and digest not in waiting:
            waiting[digest] = example
        if len(waiting) >= CHUNK or (waiting and index + 1 == count):
            check()
            asked += len(waiting)
            found = teacher.soft_labels(task, list(waiting.values()), device)
            _keep(store, {key: soft for key, soft in zip(waiting, found, strict=True) if soft is not None})
            waiting = {}
    labels.store, labels.digests = store, digests
    labels.gold = [feed.table.is_labelled(feed.examples.rows(index)[0]) for index in range(count)]
    soft_count = sum(digest in store for digest in digests)
    kept = "" if asked else "; its answers were kept from before"
    how = "taught" if labels.hold is None else "held"
    say(f"{task.name}: {how} by {teacher.shown} on {soft_count:,} of {count:,} texts{kept}")


def _keep(store: SoftStore | dict[bytes, Soft], found: Mapping[bytes, Soft]) -> None:
    if isinstance(store, SoftStore):
        store.add(list(found), list(found.values()))
    else:
        store.update(found)


def store_key(fingerprint: str, task: Task[Any]) -> str:
    """Names everything that soft labels depend on besides the example."""
    text = json.dumps([fingerprint, task.kind, distillation_of(task).terms], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def example_digest(task: Task[Any], example: Any) -> bytes:
    """A digest of what a teacher reads of an example: its sources and their words."""
    digest = hashlib.blake2b(digest_size=16)
    for entry in task.sources_of_example(example):
        read = [entry.source.first, entry.source.second, entry.source.stride, entry.words]
        digest.update(json.dumps(read).encode())
    return digest.digest()
