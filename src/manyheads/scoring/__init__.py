"""Score files of any system's answers, as `manyheads score` does.

    score_files(TYPE, Path("gold.conll"), Path("tagged.conll")).metrics

GOLD is a file of training data. PREDICTIONS is a file of the same format with predicted labels, rows written by
`manyheads predict`, SQuAD's `{id: answer}`, or similarities or vectors of pairs. Decided here:
- Rows are matched by id if every row of both files has one, else by order. A mismatch is an error with its place, never
  guessed at. Only questions may lack a prediction, and are then wrong.
- Two columns of tags are compared as conlleval does. It reads one file with both, so the same CoNLL file as GOLD and
  PREDICTIONS means that the last column is the prediction and the one before it gold. `-DOCSTART-` lines are not tokens.
- Everything else is compared by character offsets; words are joined by one space unless the row has their text.
- Rows with the `error` of a model that could not read them count as empty answers.
- Each task type scores its rows itself (`Task.score_rows`), by default through its `read` and `score`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from manyheads.errors import DataError, UsageError
from manyheads.scoring.files import gold_before, has_tags, read
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.file_rows import FileScores, rows_of_task

__all__ = ["FileScores", "score_files"]


def score_files(kind: str, gold: Path, predictions: Path, task: str | None = None) -> FileScores:
    """Score a file of predictions for a task of this type.

    `task` names the entry to score in rows of several tasks (`tasks`, `targets`); without it, only one may fit. Raises
    UsageError for an unknown type, DataError for files that cannot be read or do not match.
    """
    if kind not in TASK_TYPES:
        raise UsageError(f"no task type is called {kind!r}; choose one of {', '.join(TASK_TYPES)}")
    cls = TASK_TYPES[kind]
    golds, guesses = read(gold, cls), read(predictions, cls)
    notes = []
    if has_tags(cls) and gold.samefile(predictions) and any("before" in row.values for row in golds):
        golds = [gold_before(row) for row in golds]
        notes = ["one file for both: gold is the column before the last, the prediction the last"]
    if task is not None and not any("tasks" in row.values or "targets" in row.values for row in golds + guesses):
        raise DataError(f"{predictions} has no rows of several tasks to choose '{task}' from; leave the task out")
    golds, guesses = rows_of_task(golds, gold, cls, task), rows_of_task(guesses, predictions, cls, task, predicted=True)
    unlabelled = sum(row.missing is not None for row in golds)
    if unlabelled == len(golds):
        raise DataError(f"{gold} has no rows{' with this task' if golds else ''}; give a file with gold data")
    scores = cls.score_rows(golds, guesses)
    notes += scores.notes
    if unlabelled:
        notes.append(f"{unlabelled} gold rows have nothing for the task and are ignored")
    if failed := sum(row.failed for row in guesses):
        notes.append(f"{failed} predicted rows have an error instead of answers and count as empty answers")
    return replace(scores, notes=notes)
