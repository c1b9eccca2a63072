"""Drafts of tasks as the text of a run file, with comments."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from manyheads.init.drafts import SPLITS, Draft, Entry
from manyheads.tasks import TASK_TYPES

SCHEMA = "run.schema.json"
MODELINE = f"# yaml-language-server: $schema={SCHEMA}"
"""The first line, by which editors with the YAML language server complete and check the keys."""
LABELS_SHOWN = 8
LABELLED = ("spans", "classes", "tags")
"""Forms of answers with labels of the user."""
FLAGS = {"multi-label": "any number of labels a text", "unanswerable": "with unanswerable questions"}
"""What to say of properties of the data."""

HEAD = """\
# Written by `manyheads init`. Lines with "check" are assumptions. All keys: docs/run-file.md
#   manyheads validate {name}   reads all data and trains nothing
#   manyheads train {name}
encoder:
  name: all-MiniLM-L6-v2  # small, English; any encoder by its folder or Hub id
  max_length: 256  # tokens per window; longer texts are read in overlapping windows
tasks:
"""
TAIL = """\
training:{steps}
  seed: 0  # what is not set follows from the data; `manyheads validate` prints it
output: runs/{name}  # the model folder
"""


def run_text(drafts: Sequence[Draft], path: Path, steps: int | None = None) -> str:
    """The text of a run file at `path`, to whose folder the paths in it are relative. `steps`: None, those of the recipe."""
    lines = [MODELINE, *HEAD.format(name=path.name).splitlines()]
    for draft in drafts:
        lines += [f"  {draft.name}:", f"    type: {draft.kind}{_others(draft)}"]
        lines += [f"    # {line}" for line in [described(draft), *(f"check: {text}" for text in draft.checks)]]
        lines.append("    data:")
        for split in SPLITS:
            if split in draft.splits:
                lines.append(f"      {split}: {_data(draft.splits[split], path.parent)}")
            if split in draft.left_out:
                lines.append(f"      # {split}: left out, because {draft.left_out[split]}")
        for key, (value, reason) in TASK_TYPES[draft.kind].suggested.items():
            lines.append(f"    {key}: {scalar(value)}  # {reason}")
        if draft.fraction is not None:
            lines.append(f"    validation_fraction: {draft.fraction:g}  # too few rows to set some aside")
        elif "validation" not in draft.splits:
            lines.append("    validation_fraction: 0.1  # of the training rows, because there is no validation file")
    name = (
        "model"
        if path.stem == "run"
        else "".join(mark if mark.isalnum() or mark in "-_." else "-" for mark in path.stem)
    )
    given = "" if steps is None else f"\n  steps: {steps}"
    return "\n".join(lines) + "\n" + TAIL.format(steps=given, name=name)


def _others(draft: Draft) -> str:
    return f"  # {' and '.join(draft.others)} could read the data too" if draft.others else ""


def described(draft: Draft) -> str:
    """Format, labels and ranges of the training data, in a line."""
    reading, form = draft.train.reading, TASK_TYPES[draft.kind].answer_form
    parts = [reading.title]
    labels = sorted(reading.statistics.labels, key=lambda label: label.zfill(20) if label.isdecimal() else label)
    if labels and form in LABELLED:
        shown = ", ".join(label if len(label) <= 30 else label[:30] + "…" for label in labels[:LABELS_SHOWN])
        more = f" and {len(labels) - LABELS_SHOWN} more" if len(labels) > LABELS_SHOWN else ""
        parts.append(
            f"{len(labels)} label{'s' if len(labels) > 1 else ''} in the first {reading.rows:,} rows: {shown}{more}"
        )
    parts += [f"{name} from {found.low:g} to {found.high:g}" for name, found in reading.statistics.numbers.items()]
    parts += [text for flag, text in FLAGS.items() if flag in reading.statistics.flags]
    return "; ".join(" ".join(part.split()) for part in parts)


def _data(entry: Entry, folder: Path) -> str:
    """One split as YAML in a line: a path, a list of them, or a mapping."""
    paths = [_relative(source.path, folder) for source in entry.sources]
    path: Any = paths[0] if len(paths) == 1 else paths
    columns = {ours: _numbered(theirs) for ours, theirs in entry.reading.columns.items()}
    part = entry.sources[0].part
    given = {key: value for key, value in (("split", part), ("columns", columns)) if value}
    return scalar({"path": path, **given} if given else path)


def _numbered(theirs: str | tuple[str, ...]) -> Any:
    """The names of columns, with numbers as numbers."""
    return (int(theirs) if theirs.isdecimal() else theirs) if isinstance(theirs, str) else list(map(_numbered, theirs))


def _relative(path: Path, folder: Path) -> str:
    found = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    return f"./{found}" if found.startswith(("hf:", "~")) else found


def scalar(value: Any) -> str:
    """A value as YAML in one line.

    >>> scalar({"path": "a, b.csv", "columns": {"label": "y"}})
    "{path: 'a, b.csv', columns: {label: y}}"
    """
    dumped: str = yaml.safe_dump([value], default_flow_style=True, sort_keys=False, allow_unicode=True, width=1_000_000)
    return dumped.strip()[1:-1]
