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

TYPES: dict[Kind, str] = {
    "labels": "text-classification", "label sets": "text-classification", "entities": "token-classification",
    "answers": "question-answering", "pairs": "sentence-embedding",
}  # fmt: skip
TASK = "task"


def default(job: Job) -> Found:
    rows = job.work / "train.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in job.train), encoding="utf-8")
    run = job.work / "run.yaml"
    run.write_text(yaml.safe_dump(
        {"tasks": {TASK: {"type": TYPES[job.data.kind], "data": {"train": str(rows)}}}}
    ), encoding="utf-8")  # fmt: skip
    model = job.work / "model"
    command = [sys.executable, "-m", "manyheads", "train", str(run), "--output", str(model)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"`manyheads train` ended with status {ran.returncode}:\n{ran.stderr[-2000:]}")
    return Found(answers(model, job))


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


def tags(tokens: Sequence[str], spans: Sequence[Row]) -> list[str]:
    """IOB2 tags of words that stand one space apart."""
    found = ["O"] * len(tokens)
    starts, place = {}, 0
    for number, token in enumerate(tokens):
        starts[place] = number
        place += len(token) + 1
    for span in spans:
        first = starts[span["start"]]
        after = starts.get(span["end"] + 1, len(tokens))
        found[first:after] = [f"I-{span['label']}"] * (after - first)
        found[first] = f"B-{span['label']}"
    return found
