"""The library as it comes: a run file that names the rows and says nothing of training, trained through the command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cells.methods import Found, Job
from cells.sets import Kind, Row
from manyheads.text.joining import joined
from manyheads.text.spans import tags_of_char_spans

TYPES: dict[Kind, str] = {
    "labels": "text-classification", "label sets": "text-classification", "entities": "token-classification",
    "answers": "question-answering", "pairs": "sentence-embedding",
}  # fmt: skip
TASK = "task"


def default(job: Job) -> Found:
    """Raises RuntimeError with what the command said where it refuses the rows."""
    refused = trained(job, job.train)
    if refused:
        raise RuntimeError(f"`manyheads train` refuses:\n{refused[-2000:]}")
    return Found(answers(job.work / "model", job))


def trained(job: Job, train: Sequence[Row]) -> str:
    """Trains a model into the job's folder; what the command said where it refused, else nothing."""
    rows = job.work / "train.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in train), encoding="utf-8")
    run = {"tasks": {TASK: {"type": TYPES[job.data.kind], "data": {"train": str(rows)}}}}
    path = job.work / "run.yaml"
    path.write_text(yaml.safe_dump(run), encoding="utf-8")
    command = [sys.executable, "-m", "manyheads", "train", str(path), "--output", str(job.work / "model")]
    command += ["--set", f"training.device={job.device}"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    return ran.stderr if ran.returncode else ""


def answers(folder: Path, job: Job) -> list[Any]:
    from manyheads import load

    model = load(folder)
    if job.data.kind == "pairs":
        one, other = (model.embed([row[key] for row in job.test]) for key in ("text_a", "text_b"))
        return (one * other).sum(1).tolist()
    asked = [{key: row[key] for key in ("text", "tokens", "question", "context") if key in row} for row in job.test]
    found = [row["tasks"] for row in model.predict(asked)]
    if job.data.kind == "labels":
        return [row[TASK]["label"] for row in found]
    if job.data.kind == "label sets":
        return [row[TASK]["labels"] for row in found]
    if job.data.kind == "entities":
        return [tags(row["tokens"], tasks[TASK]) for row, tasks in zip(job.test, found, strict=True)]
    return [tasks[TASK][0]["text"] if tasks[TASK] else "" for tasks in found]


def tags(tokens: Sequence[str], entities: Sequence[Row]) -> list[str]:
    """IOB2 tags of words that were joined as the library joins them."""
    spans = [(span["start"], span["end"], span["label"]) for span in entities]
    return tags_of_char_spans(joined(tokens)[1], spans)[0]
