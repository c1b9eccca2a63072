"""Mistakes of rankings: where the first relevant passage is found, and the queries with the lowest nDCG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from manyheads.html.findings import SHOWN, quoted
from manyheads.html.numbers import count
from manyheads.html.page import Part
from manyheads.html.tables import numbers, table, words
from manyheads.tasks.search_places import places_exhibit
from manyheads.tasks.text_ranking.example import Ranked
from manyheads.tasks.text_ranking.scores import Answers, metrics_of, queries_of

if TYPE_CHECKING:
    from manyheads.tasks.text_ranking.task import TextRanking


def ranking_findings(task: TextRanking, answers: Answers, examples: Sequence[Ranked]) -> list[Part]:
    """A figure of places, and a table of queries whose first relevant passage is not the first of all."""
    queries = queries_of(answers, examples)
    if not queries:
        return []
    ndcg_Q = metrics_of(task, list(queries.values()))[:, 0]
    places, rows = [], []
    for (text, query), ndcg in zip(queries.items(), ndcg_Q.tolist(), strict=True):
        gain_P, score_P = np.array(query.gains), np.array(query.scores)
        right = int(np.where(gain_P > 0, score_P, -np.inf).argmax())
        places.append(int((score_P > score_P[right]).sum()) + 1)
        first = int(score_P.argmax())
        if places[-1] > 1:
            rows.append((ndcg, [quoted(text), quoted(query.passages[right]), quoted(query.passages[first]), count(places[-1]),
                                f"{score_P[right]:.3f}", f"{score_P[first]:.3f}", f"{ndcg:.3f}"]))  # fmt: skip
    passages = sum(len(query.gains) for query in queries.values())
    note = f"Of {passages:,} passages in all, {passages / len(queries):.0f} a query."
    parts: list[Part] = [places_exhibit(np.array(places), "Where the first relevant passage is ranked.", "queries", note)]
    if rows:
        columns = [*words("query", "best relevant passage", "ranked first"),
                   *numbers("place", "score", "score of the first", "nDCG@10")]  # fmt: skip
        worst = [row for _, row in sorted(rows, key=lambda pair: pair[0])[: 2 * SHOWN]]
        parts.append(table("Queries with the lowest nDCG.", columns, worst))
    return parts
