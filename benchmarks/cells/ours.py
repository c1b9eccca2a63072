"""The library as it comes: a run file that names the rows and says nothing of training, trained through the command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from cells.methods import Found, Job
from cells.scores import texts
from cells.sets import Kind, Row
from manyheads.metrics.answers import exact_match
from manyheads.metrics.calibration import expected_calibration_error
from manyheads.text.joining import joined
from manyheads.text.spans import spans_of_tags, tags_of_char_spans

TYPES: dict[Kind, str] = {
    "labels": "text-classification", "label sets": "text-classification", "entities": "token-classification",
    "answers": "question-answering", "pairs": "sentence-embedding",
}  # fmt: skip
TASK = "task"
Scored = tuple[list[float], list[bool]]


def default(job: Job) -> Found:
    """Raises RuntimeError with what the command said where it refuses the rows."""
    refused = trained(job, job.train)
    if refused:
        raise RuntimeError(f"`manyheads train` refuses:\n{refused[-2000:]}")
    found, scored = answers(job.work / "model", job)
    return Found(found, {"ece": round(expected_calibration_error(*scored), 4)} if len(scored[0]) else {})


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


def answers(folder: Path, job: Job) -> tuple[list[Any], Scored]:
    """The answer to each row; and the scores of all of them, with whether each is right."""
    from manyheads import load

    model = load(folder)
    if job.data.kind == "pairs":
        one, other = (model.embed([row[key] for row in job.test]) for key in ("text_a", "text_b"))
        return (one * other).sum(1).tolist(), ([], [])
    asked = [{key: row[key] for key in ("text", "tokens", "question", "context") if key in row} for row in job.test]
    found = [row["tasks"][TASK] for row in model.predict(asked)]
    pairs = list(zip(job.test, found, strict=True))
    if job.data.kind == "labels":
        return [one["label"] for one in found], _scored(
            (one["score"], one["label"] == row["label"]) for row, one in pairs
        )
    if job.data.kind == "label sets":
        each = ((score, label in row["labels"]) for row, one in pairs for label, score in one["scores"].items())
        return [one["labels"] for one in found], _scored(each)
    if job.data.kind == "entities":
        tagged = [tags(row["tokens"], spans) for row, spans in pairs]
        return tagged, _scored(
            (one["score"], (one["start"], one["end"], one["label"]) in gold_spans(row))
            for row, spans in pairs
            for one in spans
        )
    best = [one[0] if one else {"text": "", "score": 0.0} for one in found]
    exact = (exact_match(one["text"], texts(row)) == 1 for row, one in zip(job.test, best, strict=True))
    return [one["text"] for one in best], _scored(zip((one["score"] for one in best), exact, strict=True))


def gold_spans(row: Row) -> set[tuple[int, int, str]]:
    """The spans of a row with given words, in the text that the library makes of them."""
    words = joined(row["tokens"])[1]
    return {(words[span.start][0], words[span.end - 1][1], span.label) for span in spans_of_tags(row["tags"])}


def _scored(pairs: Iterable[tuple[float, bool]]) -> Scored:
    pairs = list(pairs)
    return [score for score, _ in pairs], [right for _, right in pairs]


def tags(tokens: Sequence[str], entities: Sequence[Row]) -> list[str]:
    """IOB2 tags of words that were joined as the library joins them."""
    spans = [(span["start"], span["end"], span["label"]) for span in entities]
    return tags_of_char_spans(joined(tokens)[1], spans)[0]
