"""Findings of a review as rows: jsonl with everything, and csv for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from manyheads.annotation.review import Finding, TaskReview

COLUMNS = ("rank", "task", "where", "split", "kind", "suspected", "gold", "suggestion", "gold_probability", "text")


def rows_of(reviews: Sequence[TaskReview]) -> Iterator[dict[str, Any]]:
    """All findings, the most doubtful first, as JSON values."""
    found = [(review.task.name, finding) for review in reviews for finding in review.findings]
    found.sort(key=lambda pair: pair[1].doubt.quality)
    for rank, (task, finding) in enumerate(found, start=1):
        yield _row(rank, task, finding)


def _row(rank: int, task: str, finding: Finding) -> dict[str, Any]:
    doubt = finding.doubt
    return {
        "rank": rank, "task": task, "where": finding.where, "split": finding.split, "kind": doubt.kind,
        "suspected": doubt.suspected, "gold": doubt.gold, "suggestion": doubt.suggestion,
        "gold_probability": round(doubt.quality, 6),
        "probabilities": {label: round(value, 6) for label, value in doubt.probabilities.items()}, "text": finding.text,
    }  # fmt: skip


def as_jsonl(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A line for each row."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "surrogatepass")


def as_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A header and a line for each row; spans as `text [start:end] LABEL`."""
    lines = io.StringIO(newline="")
    table = csv.DictWriter(lines, COLUMNS, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({**row, "gold": label_text(row["gold"]), "suggestion": label_text(row["suggestion"])})
    return lines.getvalue().encode("utf-8", "surrogatepass")


def label_text(label: Any) -> str:
    """A label as text: a name, several of them, or a span with its label; empty for none.

    >>> label_text({"start": 0, "end": 2, "label": "ORG", "text": "EU"})
    'EU [0:2] ORG'
    """
    if isinstance(label, Mapping):
        return f"{label['text']} [{label['start']}:{label['end']}] {label['label']}"
    return ", ".join(map(str, label)) if isinstance(label, list) else "" if label is None else str(label)
