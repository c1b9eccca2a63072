"""Scores of any system's answers in files: what `manyheads score` does, without the printing.

    score_files(TYPE, Path("gold.conll"), Path("tagged.conll")).metrics

GOLD is a data file as training reads it. PREDICTIONS is a data file of the same kind with predicted labels, rows as
`manyheads predict` writes them, SQuAD's `{id: answer}`, or similarities or vectors of pairs. Decided here:
- Rows are matched by id when every row of both files has one, else by order. What does not match is an error with its
  place, never a guess. Only questions may lack a prediction, and are then wrong.
- Two columns of tags are compared as conlleval does. It reads one file with both, so the same CoNLL file as GOLD and
  PREDICTIONS means: the last column is the prediction, the one before it gold. `-DOCSTART-` lines are no tokens.
- Everything else is compared by character offsets; words stand one space apart unless the row has their text.
- Rows that a model could not read (`error`) count as answered with nothing.
- Each task type scores its rows itself (`Task.score_rows`); one that does not is scored by its `read` and `score`.
- Files are read in `files.py` in a few lines each; `data.readers`, for training, asks for more and belongs to a higher layer.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from manyheads.errors import DataError, UsageError
from manyheads.scoring.files import column_before, has_tags, read
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.file_rows import FileScores, flat

__all__ = ["FileScores", "score_files"]


def score_files(kind: str, gold: Path, predictions: Path, task: str | None = None) -> FileScores:
    """Score a file of predictions for a task of this type.

    `task` names the entry of rows that hold several tasks (`tasks`, `targets`); without it, there must be only one that
    fits. Raises UsageError for an unknown type, DataError for files that cannot be read or do not match.
    """
    if kind not in TASK_TYPES:
        raise UsageError(f"there is no task type {kind!r}; choose one of {', '.join(TASK_TYPES)}")
    cls = TASK_TYPES[kind]
    golds, guesses = read(gold, cls), read(predictions, cls)
    notes = []
    if has_tags(cls) and gold.samefile(predictions) and any("before" in row.values for row in golds):
        golds = [column_before(row) for row in golds]
        notes = ["one file for both: gold is the column before the last, the prediction is the last"]
    if task is not None and not any("tasks" in row.values or "targets" in row.values for row in golds + guesses):
        raise DataError(f"{predictions} has no rows of several tasks to choose '{task}' from; leave --task out")
    golds, guesses = flat(golds, gold, cls, task), flat(guesses, predictions, cls, task, predicted=True)
    unlabelled = sum(row.lack is not None for row in golds)
    if unlabelled == len(golds):
        raise DataError(f"{gold} has no rows{' with this task' if golds else ''}; give a file with gold data")
    scores = cls.score_rows(golds, guesses)
    notes += scores.notes
    if unlabelled:
        notes.append(f"{unlabelled} gold rows have nothing for the task and are left out")
    if failed := sum(row.failed for row in guesses):
        notes.append(f"{failed} predicted rows have an error in place of answers and count as answered with nothing")
    return replace(scores, notes=notes)
