"""Mistakes of text classification: which label is taken for which, and the texts it is surest of and wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from manyheads.html.figures.bars import Bar, bars
from manyheads.html.figures.matrix import Matrix, sequential_matrix
from manyheads.html.findings import SHOWN, quoted
from manyheads.html.markup import Html, element, user_text
from manyheads.html.numbers import Number, count, plural, points, share
from manyheads.html.page import Exhibit, Part, paragraph
from manyheads.html.tables import Column, numbers, table, words
from manyheads.metrics.labels import Counts, confusion_matrix, label_counts
from manyheads.tasks.text_classification.example import LabelledText
from manyheads.tasks.text_classification.scores import labels_of_answers

MOST_LABELS = 20
"""Labels in a confusion matrix; all others share one row and column."""
REST = "all other labels"


@dataclass(frozen=True, slots=True)
class LabelMistake:
    """A text with a wrong answer, and the model's confidence in it."""

    example: int
    gold: str
    given: str
    confidence: float


def label_findings(
    answers: Sequence[Sequence[dict[str, Any]]],
    examples: Sequence[LabelledText],
    *,
    multi_label: bool = False,
    noun: str = "text",
) -> list[Part]:
    """The confusion matrix (for multi-label data, F1 by label), and the most confident mistakes. `noun`: for an example."""
    given = [answer[0] for answer in answers]
    golds = [example.labels for example in examples]
    found = labels_of_answers(answers)
    counts = label_counts(golds, found)
    if multi_label:
        first, mistakes = _by_label(counts), _multi_label_mistakes(given, golds)
    else:
        first = _confusion([labels[0] for labels in golds], [labels[0] for labels in found], counts, noun)
        mistakes = _single_label_mistakes(given, golds)
    return [first, *_most_confident(mistakes, examples, noun)]


def _single_label_mistakes(given: Sequence[dict[str, Any]], golds: Sequence[Sequence[str]]) -> list[LabelMistake]:
    return [
        LabelMistake(i, gold[0], answer["label"], float(answer["score"]))
        for i, (answer, gold) in enumerate(zip(given, golds, strict=True))
        if answer["label"] != gold[0]
    ]


def _multi_label_mistakes(given: Sequence[dict[str, Any]], golds: Sequence[Sequence[str]]) -> list[LabelMistake]:
    """One per text with a wrong set: the wrongly given or omitted label that the model is most confident of."""
    mistakes = []
    for i, (answer, gold) in enumerate(zip(given, golds, strict=True)):
        wrong = set(gold) ^ set(answer["labels"])
        if wrong:
            scores = answer["scores"]
            chances = {label: scores.get(label, 0.0) for label in wrong}
            sure = {label: p if label in answer["labels"] else 1 - p for label, p in chances.items()}
            worst = max(sorted(sure), key=lambda label: sure[label])
            mistakes.append(
                LabelMistake(
                    i, ", ".join(gold) or "(none)", f"{'' if worst not in gold else 'not '}{worst}", sure[worst]
                )
            )
    return mistakes


def _confusion(golds: Sequence[str], found: Sequence[str], counts: dict[str, Counts], noun: str) -> Exhibit:
    frequent = [label for label, _ in Counter(golds).most_common(MOST_LABELS)]
    names = sorted(frequent) if len(counts) <= MOST_LABELS else [*sorted(frequent), REST]
    kept = set(frequent) if REST in names else set(counts)
    names = names if REST in names else sorted(kept)
    folded = [[label if label in kept else REST for label in labels] for labels in (golds, found)]
    labels, matrix_KK = confusion_matrix(folded[0], folded[1], names)
    cells: list[list[Number]] = [[float(value) for value in row] for row in matrix_KK]
    wrong = int(matrix_KK.sum() - np.trace(matrix_KK))
    drawing = sequential_matrix(
        Matrix(labels, labels, cells, "labelled \\ answered"),
        f"Confusion matrix: {plural(len(golds), noun)}, rows as labelled, columns as answered, {wrong} off the diagonal",
        lambda value: count(value) if value else "·",
        diagonal=True,
    )
    pairs = Counter((one, other) for one, other in zip(golds, found, strict=True) if one != other)
    body = [[user_text(a), user_text(b), count(n), share(n / max(counts[a].gold, 1))] for (a, b), n in pairs.most_common(12)]
    columns = [*words("labelled", "answered"), *numbers(f"{noun}s", "of its label")]
    more = table("The most frequent mistakes.", columns, body) if body else Html()
    return Exhibit(
        "Confusions of labels.", drawing, element("div", None, _label_table(counts), more),
        "Rows: as labelled; columns: as answered; framed: correct. Shades are shares of a row.",
    )  # fmt: skip


def _by_label(counts: dict[str, Counts]) -> Exhibit:
    frequent = sorted(counts, key=lambda name: (-counts[name].gold, name))[:MOST_LABELS]
    drawing = bars(
        [Bar(name, f"{counts[name].gold:,} texts", counts[name].f1, points(counts[name].f1)) for name in frequent],
        "F1 of each label. " + ", ".join(f"{name}: {points(counts[name].f1)}" for name in frequent),
    )
    return Exhibit("F1 of each label.", drawing, _label_table(counts), "Most frequent labels first, points of 100.")


def _label_table(counts: dict[str, Counts]) -> Html:
    rows = [
        [user_text(name), count(c.gold), count(c.predicted), points(c.precision), points(c.recall), points(c.f1)]
        for name, c in sorted(counts.items(), key=lambda pair: (-pair[1].gold, pair[0]))
    ]
    columns = [*words("label"), *numbers("labelled", "answered", "precision", "recall", "F1")]
    return table("Labels, most frequent first.", columns, rows)


def _most_confident(mistakes: Sequence[LabelMistake], examples: Sequence[LabelledText], noun: str) -> list[Part]:
    if not mistakes:
        return [paragraph(f"None of {plural(len(examples), noun)} is wrong.")]
    rows = []
    for mistake in sorted(mistakes, key=lambda one: (-one.confidence, one.example))[: 2 * SHOWN]:
        example = examples[mistake.example]
        text = example.text if example.pair is None else f"{example.text} ∥ {example.pair}"
        rows.append([quoted(text), user_text(mistake.gold), user_text(mistake.given), f"{mistake.confidence:.2f}"])
    caption = f"{plural(len(mistakes), 'mistake')} in {plural(len(examples), noun)}; the most confident ones."
    return [table(caption, [*words(noun, "labelled", "answered"), Column("confidence")], rows)]
