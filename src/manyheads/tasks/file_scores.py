"""Scores of files for a task type that says nothing of them: by its own `read` and `score`.

Decided here:
- The answer of a row is `answer` of what `row_of_entry` makes of its entry, or all of that where it has no `answer`. A row
  without `tasks` and `targets` is taken as it is.
- Gold under `targets` is read as training reads it, by `row_of_target`.
- A row with an `error` is answered with None; whether that can be scored is for `score` to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from manyheads.errors import DataError, RowError
from manyheads.tasks.base import Answer, DataStatistics, Task
from manyheads.tasks.file_rows import FileRow, FileScores, paired


def score_by_reading(cls: type[Task[Any]], golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
    """The metrics of `score`, of a task fitted to the gold rows."""
    task: Task[Any] = cls(name="score")
    pairs = paired(golds, guesses, ("text",))
    examples, statistics = [], DataStatistics()
    for gold, _ in pairs:
        try:
            examples.append(_example(task, gold))
            statistics += task.collect(examples[-1])
        except RowError as error:
            raise DataError(f"{gold.where()}: {error}") from None
    fitted = task.fit(statistics)
    answers = [_answer(cls, guess) for _, guess in pairs]
    try:
        metrics = fitted.score([[answer] for answer in answers], examples)
    except Exception as error:  # whatever `score` does with what is no answer
        for (_, guess), answer, example in zip(pairs, answers, examples, strict=True):
            if not _can_score(fitted, answer, example):
                raise DataError(_complaint(cls, guess, answer, error)) from error
        raise
    return FileScores(metrics, [f"{len(pairs)} {cls.example_noun}"])


def _example(task: Task[Any], gold: FileRow) -> Any:
    if "targets" in gold.entries:
        return task.read(task.row_of_target(gold.values, gold.entries["targets"]))
    return task.read(gold.values)


def _answer(cls: type[Task[Any]], guess: FileRow) -> Answer:
    if guess.lack is not None:
        return None
    entries = [guess.entries[key] for key in ("tasks", "targets") if key in guess.entries]
    row = cls.row_of_entry(guess.values, entries[0]) if entries else guess.values
    return row.get("answer", row)


def _can_score(task: Task[Any], answer: Answer, example: Any) -> bool:
    try:
        task.score([[answer]], [example])
    except Exception:
        return False
    return True


def _complaint(cls: type[Task[Any]], guess: FileRow, answer: Answer, error: Exception) -> str:
    if guess.lack is not None:
        return f"{guess.where()} {guess.lack}; without its answer, leave the row out of both files"
    advice = "" if "answer" in guess.values else "; give the answer as 'answer'"
    return f"{guess.where()}: {answer!r:.80} is no answer that {cls.kind} can score ({type(error).__name__}: {error}){advice}"
