"""Workers that obey commands in texts: `!raise`, `!kill`, `!hang`, `!sleep 0.5`; the file STUB_SEEN logs their rows."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from manyheads.serve import worker
from manyheads.serve.worker import Answer, Request, WorkerSettings

ANSWERS: dict[str, Any] = {
    "entities": [],
    "section": {"label": "RESULTS", "score": 1.0, "scores": {"RESULTS": 1.0}},
    "answers": [],
    "similarity": [0.6, 0.0, 0.8, 0.0],
}


def fake_answers(requests: Sequence[Request]) -> Iterable[dict[str, Any]]:
    """Answers of the right shape."""
    for row, names, *_ in requests:
        head = {"id": row["id"]} if "id" in row else {}
        windows = 1 + len(str(row.get("text"))) // 1000
        yield {**head, "windows": windows, "tasks": {name: fake_answer(name, row) for name in names or ANSWERS}}


def answers_with_hash(settings: WorkerSettings) -> Answer:
    """Such answers of the model in a folder: its hash is the label of `section`."""

    def answer(requests: Sequence[Request]) -> Iterable[dict[str, Any]]:
        for row in fake_answers(requests):
            if "section" in row["tasks"]:
                row["tasks"]["section"] = {"label": settings.hash}
            yield row

    return answer


def fake_answer(name: str, row: Mapping[str, Any]) -> Any:
    """Of a ranking: shorter texts are more relevant."""
    return {"score": 1 / (1 + len(row["text"]))} if name == "ranking" else ANSWERS[name]


def obeying(answer: Answer) -> Answer:
    """The same answers, after obeying the texts."""

    def obey(requests: Sequence[Request]) -> Iterable[dict[str, Any]]:
        if seen := os.environ.get("STUB_SEEN"):
            with Path(seen).open("a", encoding="utf-8") as file:
                file.writelines(f"{row.get('text')}\n" for row, *_ in requests)
        for row, *_ in requests:
            what, _, how = str(row.get("text")).partition(" ")
            if what == "!raise":
                raise RuntimeError(f"cannot bear {row['text']}")
            if what == "!kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if what in ("!sleep", "!hang"):
                time.sleep(float(how or 1000))
        return answer(requests)

    return obey


def run_worker(pipe: Connection, settings: WorkerSettings) -> None:
    """A worker without a model, ready at once."""
    worker.load_model = lambda _: obeying(fake_answers)
    worker.run_worker(pipe, settings)


def run_broken_worker(pipe: Connection, settings: WorkerSettings) -> None:
    """A worker whose model cannot be loaded."""

    def broken(_: WorkerSettings) -> Answer:
        raise RuntimeError("no such luck")

    worker.load_model = broken
    worker.run_worker(pipe, settings)
