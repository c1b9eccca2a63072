"""Workers that do what texts say: `!raise`, `!kill`, `!hang`, `!sleep 0.5`; and note what reaches them in STUB_SEEN."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from manyheads.serve import worker
from manyheads.serve.worker import Answering, Crew, Request

ANSWERS: dict[str, Any] = {
    "entities": [],
    "section": {"label": "RESULTS", "score": 1.0, "scores": {"RESULTS": 1.0}},
    "answers": [],
    "similarity": [0.6, 0.0, 0.8, 0.0],
}


def fake_answers(requests: Sequence[Request]) -> Iterable[dict[str, Any]]:
    """Answers of the right shape."""
    for row, names in requests:
        head = {"id": row["id"]} if "id" in row else {}
        windows = 1 + len(str(row.get("text"))) // 1000
        yield {**head, "windows": windows, "tasks": {name: ANSWERS[name] for name in names or ANSWERS}}


def obeying(answer: Answering) -> Answering:
    """The same answers, after what the texts say has been done."""

    def obey(requests: Sequence[Request]) -> Iterable[dict[str, Any]]:
        if seen := os.environ.get("STUB_SEEN"):
            with Path(seen).open("a", encoding="utf-8") as file:
                file.writelines(f"{row.get('text')}\n" for row, _ in requests)
        for row, _ in requests:
            what, _, how = str(row.get("text")).partition(" ")
            if what == "!raise":
                raise RuntimeError(f"cannot bear {row['text']}")
            if what == "!kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if what in ("!sleep", "!hang"):
                time.sleep(float(how or 1000))
        return answer(requests)

    return obey


def work(pipe: Connection, crew: Crew) -> None:
    """The life of a worker that has no model: ready at once."""
    worker.loaded = lambda _: obeying(fake_answers)
    worker.work(pipe, crew)


def work_never(pipe: Connection, crew: Crew) -> None:
    """One whose model cannot be loaded."""

    def broken(_: Crew) -> Answering:
        raise RuntimeError("no such luck")

    worker.loaded = broken
    worker.work(pipe, crew)
