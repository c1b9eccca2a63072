"""Scoring files of labels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from manyheads.errors import DataError, RowError
from manyheads.metrics.labels import multi_label_scores
from manyheads.tasks.file_rows import FileRow, FileScores, match_rows
from manyheads.text.values import label_of, labels_of


def score_labels(golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
    """Accuracy, macro, micro and weighted F1."""
    pairs = match_rows(golds, guesses, ("text",))
    gold = [_labels(row) for row, _ in pairs]
    found = [_labels(row) if row.missing is None else None for _, row in pairs]
    forms: dict[bool, FileRow] = {}
    for (one, other), (multi, _), answer in zip(pairs, gold, found, strict=True):
        forms.setdefault(multi, one)
        if answer is not None:
            forms.setdefault(answer[0], other)
    if len(forms) > 1:
        raise DataError(f"{forms[True].where()} has 'labels', a list, but {forms[False].where()} has 'label', one string; "
                        "use one of them throughout")  # fmt: skip
    expected = [labels for _, labels in gold]
    metrics = multi_label_scores(expected, [answer[1] if answer is not None else () for answer in found])
    return FileScores(metrics, [f"{len(gold)} texts, {len(set(chain.from_iterable(expected)))} gold labels"])


def _labels(row: FileRow) -> tuple[bool, tuple[str, ...]]:
    """Whether labels came as a list, and the labels. In a csv cell, `|` separates them."""
    many, one = row.values.get("labels"), row.values.get("label")
    try:
        if many is not None:
            return True, labels_of(many)
        if "label" in row.values:
            return False, (label_of(one),)
    except RowError as error:
        raise DataError(f"{row.where()}: {error}; its keys are {', '.join(map(str, row.values))}") from None
    raise DataError(f"{row.where()}: no 'label' and no 'labels'; its keys are {', '.join(map(str, row.values))}")
