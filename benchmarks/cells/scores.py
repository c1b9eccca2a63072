"""Any method's answers to metrics, and to the evidence that a paired bootstrap draws from.

An answer is a label, a list of labels, IOB2 tags of the words, the text of an answer, or the similarity of a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cells.sets import DataSet, Row
from manyheads.metrics.answers import answer_scores, f1
from manyheads.metrics.entities import entity_scores
from manyheads.metrics.evidence import Ranks, Tally, cluster_numbers, grouped
from manyheads.metrics.labels import multi_label_scores
from manyheads.metrics.vectors import spearman
from manyheads.text.spans import spans_of_tags

Answer = Any


def metrics(data: DataSet, rows: Sequence[Row], answers: Sequence[Answer]) -> dict[str, float]:
    """All of them; the headline among them."""
    if data.kind in ("labels", "label sets"):
        return multi_label_scores([gold_labels(row) for row in rows], [labels(answer) for answer in answers])
    if data.kind == "entities":
        return entity_scores([spans(row["tags"]) for row in rows], [spans(tags) for tags in answers]).to_metrics()
    if data.kind == "answers":
        return answer_scores([texts(row) for row in rows], list(answers))
    return {"spearman": spearman(np.array(answers), np.array([row["score"] for row in rows]))}


def headline(data: DataSet, rows: Sequence[Row], answers: Sequence[Answer]) -> float:
    return metrics(data, rows, answers)[data.headline]


def evidence(data: DataSet, rows: Sequence[Row], answers: Sequence[Answer]) -> Tally | Ranks:
    """What the headline is computed from, by document where rows have one, else by row."""
    keys = [row.get("document", "") for row in rows]
    if data.kind == "pairs":
        return Ranks(cluster_numbers(keys), np.array(answers), np.array([row["score"] for row in rows]))
    if data.kind == "answers":
        counts = [[f1(answer, texts(row)), 1.0] for row, answer in zip(rows, answers, strict=True)]
        return Tally(grouped(np.array(counts), keys), "mean")
    if data.kind == "entities":
        pairs = [(spans(row["tags"]), spans(tags)) for row, tags in zip(rows, answers, strict=True)]
    else:
        pairs = [(set(gold_labels(row)), set(labels(answer))) for row, answer in zip(rows, answers, strict=True)]
    if data.headline == "accuracy":
        return Tally(grouped(np.array([[float(gold == found), 1.0] for gold, found in pairs]), keys), "mean")
    if data.headline == "macro_f1":
        return Tally(grouped(_by_label(pairs), keys), "macro_f1")
    sums = np.array([[len(gold & found), len(found), len(gold)] for gold, found in pairs])
    return Tally(grouped(sums, keys), "f1")


def gold_labels(row: Row) -> list[str]:
    return row["labels"] if "labels" in row else [row["label"]]


def labels(answer: Answer) -> list[str]:
    return [answer] if isinstance(answer, str) else list(answer)


def texts(row: Row) -> list[str]:
    return [answer["text"] for answer in row["answers"]]


def spans(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    return {(span.start, span.end, span.label) for span in spans_of_tags(tags)}


def _by_label(pairs: Sequence[tuple[set[Any], set[Any]]]) -> np.ndarray:
    known = sorted({label for gold, found in pairs for label in gold | found})
    counts = np.zeros((len(pairs), len(known), 3))
    for row, (gold, found) in zip(counts, pairs, strict=True):
        for column, which in enumerate((gold & found, found, gold)):
            row[[known.index(label) for label in which], column] += 1
    return counts.reshape(len(pairs), -1)
