"""Default scoring of files of answers, for task types without their own: by the type's `read` and `score`.

Decided here:
- The answer of a row is `answer` in what `row_of_entry` makes of its entry, or all of that if it has no `answer`. A row
  without `tasks` and `targets` is used as it is.
- Gold under `targets` is read as training reads it, through `row_of_target`.
- A row with an `error` gets the answer None; `score` decides whether it can score that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from manyheads.errors import DataError, RowError
from manyheads.tasks.answers import Answer
from manyheads.tasks.file_rows import FileRow, FileScores, match_rows
from manyheads.tasks.statistics import DataStatistics

if TYPE_CHECKING:
    from manyheads.tasks.base import Task


def score_by_reading(cls: type[Task[Any]], golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
    """Metrics of `score`, for a task fitted to the gold rows. Raises DataError."""
    task: Task[Any] = cls(name="score")
    pairs = match_rows(golds, guesses, ("text",))
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
    except Exception as error:  # `score` of another package may raise anything for what is not an answer
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
    if guess.missing is not None:
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
    if guess.missing is not None:
        return f"{guess.where()} {guess.missing}; without its answer, leave the row out of both files"
    advice = "" if "answer" in guess.values else "; give the answer as 'answer'"
    return f"{guess.where()}: {cls.kind} cannot score the answer {answer!r:.80} ({type(error).__name__}: {error}){advice}"
