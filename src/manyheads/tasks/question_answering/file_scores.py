"""Scoring files of answers by the rules of SQuAD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from manyheads.errors import DataError, RowError
from manyheads.metrics.answers import answer_scores
from manyheads.tasks.file_rows import FileRow, FileScores, all_have_ids, by_id, match_rows
from manyheads.text.answers import given_answers
from manyheads.text.values import truth


def score_answers(golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
    """Exact match and F1; a question without a prediction is wrong."""
    notes = []
    if all_have_ids(golds, guesses):
        given, wanted = by_id(guesses), by_id([row for row in golds if row.missing is None])
        if given and not given.keys() & wanted.keys():
            raise DataError(f"{guesses[0].where()}: none of the ids are in gold ({golds[0].where()}); "
                            "check that the two files belong together")  # fmt: skip
        pairs = [(row, given.get(name)) for name, row in wanted.items()]
        if extra := len(given.keys() - {row.id for row in golds}):
            notes.append(f"{extra} predictions have an id that is not in gold; they are ignored")
    else:
        pairs = list(match_rows(golds, guesses, ("question",)))
    answers = [_answer(row) if row is not None and row.missing is None else None for _, row in pairs]
    texts = [_gold_answers(row) for row, _ in pairs]
    empty = sum(not answers for answers in texts)
    notes.insert(0, f"{len(texts)} questions" + (f", {empty} of them unanswerable" if empty else ""))
    if missing := answers.count(None):
        notes.append(f"{missing} questions have no prediction and count as wrong")
    return FileScores(answer_scores(texts, answers), notes)


def _gold_answers(row: FileRow) -> list[str]:
    """Texts of the answers, none if `is_impossible`. Read from a list of objects or strings, or the hub's {"text": [...]}."""
    try:
        if truth(row.values.get("is_impossible"), "is_impossible"):
            return []
        answers = given_answers(row.values)
    except RowError as error:
        raise DataError(f"{row.where()}: {error}") from None
    if isinstance(answers, Mapping):
        answers = answers.get("text")
    listed = answers if isinstance(answers, list) else [None]
    texts = [answer.get("text") if isinstance(answer, Mapping) else answer for answer in listed]
    good = [text for text in texts if isinstance(text, str)]
    if len(good) < len(texts):
        raise DataError(f"{row.where()}: 'answers' must be a list of {{text, start}}, seen {answers!r:.80}")
    return good


def _answer(row: FileRow) -> str:
    """The value of `answer`, SQuAD's `prediction_text`, or `text`; null means no answer."""
    for key in ("answer", "prediction_text", "text"):
        if key in row.values:
            answer = row.values[key]
            if answer is None or isinstance(answer, str):
                return "" if answer is None else answer
            raise DataError(f"{row.where()}: '{key}' must be a string, seen {answer!r:.80}")
    raise DataError(f"{row.where()} has no 'answer' and no 'text'; its keys are {', '.join(map(str, row.values))}")
