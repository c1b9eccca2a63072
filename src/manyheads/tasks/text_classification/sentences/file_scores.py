"""Scoring files of labelled sentences.

Decided here: sentences may be cut differently in both files. A gold sentence is judged by the predicted one that has most of
its characters, and is wrong if there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from manyheads.errors import DataError, RowError
from manyheads.metrics.labels import single_label_scores
from manyheads.tasks.file_rows import FileRow, FileScores, match_rows
from manyheads.tasks.text_classification.sentences.example import (
    LabelledDocument,
    joined_rows,
    read_document,
    sentence_document,
)
from manyheads.text.values import label_of

Labelled = tuple[int, int, str]
"""Start, end and label of a sentence."""


def score_sentences(golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
    """Accuracy, macro, micro and weighted F1 over sentences. Rows of single sentences are put together by `document`."""
    pairs = match_rows(_documents(golds), _documents(guesses), ("text",))
    gold: list[str] = []
    found: list[str | None] = []
    recut = 0
    for one, other in pairs:
        document = _read(one)
        given = [] if other.missing is not None else _given(other, document)
        gold += document.labels
        found += covering(document.sentences, given)
        recut += other.missing is None and [span[:2] for span in given] != list(document.sentences)
    notes = [f"{len(gold):,} sentences of {len(pairs):,} documents, {len(set(gold))} gold labels"]
    if recut:
        notes.append(f"{recut:,} documents are cut into other sentences in the predictions; a gold sentence is judged by "
                     "the one that has most of its characters")  # fmt: skip
    return FileScores(single_label_scores(gold, found), notes)


def covering(offsets: Sequence[tuple[int, int]], given: Sequence[Labelled]) -> list[str | None]:
    """For each sentence the label of the given one that shares most characters with it; None if none shares any.

    Both are in reading order, without overlaps.

    >>> covering([(0, 4), (5, 9), (10, 12)], [(0, 6, "A"), (6, 9, "B")])
    ['A', 'B', None]
    """
    found: list[str | None] = []
    first = 0
    for start, end in offsets:
        while first < len(given) and given[first][1] <= start:
            first += 1
        most, label = 0, None
        for begin, stop, name in given[first:]:
            if begin >= end:
                break
            if (shared := min(end, stop) - max(start, begin)) > most:
                most, label = shared, name
        found.append(label)
    return found


def _documents(rows: Sequence[FileRow]) -> list[FileRow]:
    """The rows, with consecutive rows of one document as one."""
    if all("sentences" in row.values or row.missing is not None for row in rows):
        return list(rows)
    found = []
    for (document, _), group in groupby(zip(map(_document, rows), range(len(rows)), rows, strict=True), _same):
        members = [row for _, _, row in group]
        whole = document is not None
        found += [replace(members[0], values=dict(joined_rows([row.values for row in members])))] if whole else members
    return found


def _same(member: tuple[str | None, int, FileRow]) -> tuple[str | None, int]:
    """A key that consecutive rows of one document share."""
    document, number, _ = member
    return document, number if document is None else -1


def _document(row: FileRow) -> str | None:
    try:
        return None if row.missing is not None else sentence_document(row.values)
    except RowError as error:
        raise DataError(f"{row.where()}: {error}") from None


def _read(row: FileRow) -> LabelledDocument:
    try:
        return read_document(row.values)
    except RowError as error:
        raise DataError(f"{row.where()}: {error}") from None


def _given(row: FileRow, gold: LabelledDocument) -> list[Labelled]:
    """The predicted sentences of a row: spans as `predict` writes them, or texts with labels."""
    given: Any = row.values.get("sentences")
    if not isinstance(given, Sequence) or not all(isinstance(part, Mapping) for part in given):
        document = _read(row)
        offsets = gold.sentences if len(document.labels) == len(gold.labels) else document.sentences
        return [(*span, label) for span, label in zip(offsets, document.labels, strict=True)]
    try:
        return sorted((int(part["start"]), int(part["end"]), label_of(part["label"])) for part in given)
    except (KeyError, TypeError, ValueError, RowError):
        raise DataError(f"{row.where()}: 'sentences' must be a list of {{start, end, label}}, seen {given!r:.80}") from None
