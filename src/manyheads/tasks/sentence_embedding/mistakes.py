"""Mistakes of sentence embeddings: pairs whose rank by cosine is far from that by score, or searches that fail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from manyheads.html.figures.lines import Line, Titles, lines
from manyheads.html.findings import SHOWN, quoted
from manyheads.html.numbers import count, share
from manyheads.html.page import Exhibit, Part
from manyheads.html.tables import numbers, table, words
from manyheads.tasks.search_places import places_exhibit
from manyheads.tasks.sentence_embedding.example import Pair, candidate_texts, gold_similarities
from manyheads.tasks.sentence_embedding.scores import Answers, partner_ranks, queries_and_candidates

if TYPE_CHECKING:
    from manyheads.tasks.sentence_embedding.pairs import PairTask

BINS = 6
"""Bins of gold scores."""

Floats = npt.NDArray[np.float64]


def vector_findings(task: PairTask, answers: Answers, examples: Sequence[Pair]) -> list[Part]:
    """Cosine by gold score with the pairs farthest off; for pairs without scores, the ranks of partners."""
    golds = gold_similarities(examples)
    if golds is not None:
        return _scored(np.asarray(task.pair_similarities(answers), np.float64), np.array(golds, np.float64), examples)
    return _searched(task, answers, examples)


def _scored(cosine_N: Floats, gold_N: Floats, examples: Sequence[Pair]) -> list[Part]:
    cuts = np.unique(np.quantile(gold_N, np.linspace(0, 1, BINS + 1)))
    rows, points, band = [], [], []
    bin_N = np.clip(np.searchsorted(cuts, gold_N, side="right") - 1, 0, max(len(cuts) - 2, 0))
    for k in np.unique(bin_N):
        here_N = bin_N == k
        middle = float(gold_N[here_N].mean())
        low, high = (float(end) for end in np.quantile(cosine_N[here_N], (0.1, 0.9)))
        points.append((middle, float(cosine_N[here_N].mean())))
        band.append((middle, low, high))
        rows.append([f"{gold_N[here_N].min():.3g} to {gold_N[here_N].max():.3g}", count(int(here_N.sum())),
                     f"{points[-1][1]:.3f}", f"{low:.3f}", f"{high:.3f}"])  # fmt: skip
    drawing = lines(
        [Line("cosine", points, band)], "Mean cosine of pairs by their gold score", Titles("gold score", "cosine")
    )
    columns = [*words("gold score"), *numbers("pairs", "mean cosine", "10 % below", "10 % above")]
    exhibit = Exhibit("Cosine by gold score.", drawing, table("Pairs in groups by gold score.", columns, rows),
                      "Means of groups of pairs; the band holds eight pairs in ten.")  # fmt: skip
    return [exhibit, _misplaced(cosine_N, gold_N, examples)]


def _misplaced(cosine_N: Floats, gold_N: Floats, examples: Sequence[Pair]) -> Part:
    """Pairs with the largest difference in rank; ranks are shares of all pairs."""
    place_N, gold_place_N = _places(cosine_N), _places(gold_N)
    worst = np.argsort(-np.abs(place_N - gold_place_N), kind="stable")[: 2 * SHOWN]
    rows = [
        [quoted(examples[i].text_a), quoted(examples[i].text_b), f"{gold_N[i]:.3g}", f"{cosine_N[i]:.3f}",
         share(gold_place_N[i]), share(place_N[i])]
        for i in worst.tolist()
    ]  # fmt: skip
    columns = [*words("text", "other text"), *numbers("gold score", "cosine", "place by gold", "place by cosine")]
    return table("Pairs placed worst; a place is the share of pairs that are less similar.", columns, rows)


def _places(values_N: Floats) -> Floats:
    """Share of the other values that are lower, ties counted half."""
    ranked = np.sort(values_N)
    below = np.searchsorted(ranked, values_N, side="left") + np.searchsorted(ranked, values_N, side="right") - 1
    return np.asarray(below / 2 / max(len(values_N) - 1, 1), np.float64)


def _searched(task: PairTask, answers: Answers, examples: Sequence[Pair]) -> list[Part]:
    queries, candidates = queries_and_candidates(answers)
    texts = candidate_texts(examples)
    names_C = np.unique(np.array(texts, object), return_inverse=True)[1].ravel()
    place_B = partner_ranks(task, answers, examples)
    rows = []
    for i in np.flatnonzero(place_B > 1).tolist():
        similar_C = task.similarity(queries[i : i + 1], candidates)[0]
        first, best = int(similar_C.argmax()), float(similar_C[names_C == names_C[i]].max())
        rows.append((float(similar_C[first]) - best, i, first, best))
    worst = [
        [quoted(examples[i].text_a), quoted(examples[i].text_b), quoted(texts[first]), count(int(place_B[i])),
         f"{best:.3f}", f"{best + ahead:.3f}"]
        for ahead, i, first, best in sorted(rows, reverse=True)[: 2 * SHOWN]
    ]  # fmt: skip
    note = f"Among {len(texts):,} candidates."
    parts: list[Part] = [places_exhibit(place_B, "Where the right text is found.", "texts", note)]
    if worst:
        columns = [*words("text", "its partner", "found first"), *numbers("place", "cosine", "cosine of the first")]
        parts.append(table("Searches that miss by most.", columns, worst))
    return parts
