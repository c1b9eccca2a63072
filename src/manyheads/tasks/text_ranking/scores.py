"""Metrics of rankings: for each query, over all its passages in the data, whatever rows they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.errors import DataError, RowError
from manyheads.metrics.evidence import Tally, grouped
from manyheads.metrics.ranking import ndcg_at_k, reciprocal_rank_at_k
from manyheads.tasks.base import Array
from manyheads.tasks.file_rows import FileRow, FileScores, match_rows
from manyheads.tasks.text_ranking.example import Ranked
from manyheads.text.values import first_given, number_of

if TYPE_CHECKING:
    from manyheads.tasks.text_ranking.task import TextRanking

Answers = Sequence[Sequence[Any]]

CONSTANT = 1e-4
"""If the scores of all passages differ by less than this, nothing was learned."""


@dataclass(slots=True)
class Query:
    """All passages of one query."""

    example: int
    """The first example with this query."""
    passages: list[str] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


def queries_of(answers: Answers, examples: Sequence[Ranked]) -> dict[str, Query]:
    """The passages of each query that has a relevant one, with their scores."""
    found: dict[str, Query] = {}
    for i, (answered, example) in enumerate(zip(answers, examples, strict=True)):
        query = found.setdefault(example.query, Query(i))
        query.passages += example.passages
        query.gains += example.gains
        query.scores += [answer["score"] for answer in answered]
    return {text: query for text, query in found.items() if max(query.gains) > 0}


def metrics_of(task: TextRanking, queries: Sequence[Query]) -> Array:
    """nDCG and reciprocal rank of each query, `(Q, 2)`."""
    rows = []
    for query in queries:
        gain_P, score_P = np.array(query.gains), np.array(query.scores)
        rows.append((ndcg_at_k(gain_P, score_P), reciprocal_rank_at_k(task.is_relevant(gain_P), score_P)))
    return np.array(rows, np.float64).reshape(-1, 2)


def score(task: TextRanking, answers: Answers, examples: Sequence[Ranked]) -> dict[str, float]:
    """`ndcg_at_10` and `mrr_at_10`, means over the queries that have a relevant passage."""
    found_Q2 = metrics_of(task, list(queries_of(answers, examples).values()))
    ndcg, mrr = found_Q2.mean(0).tolist() if len(found_Q2) else (0.0, 0.0)
    return {"ndcg_at_10": ndcg, "mrr_at_10": mrr}


def evidence(task: TextRanking, answers: Answers, examples: Sequence[Ranked], clusters: Sequence[str]) -> Tally:
    """nDCG of each query."""
    queries = list(queries_of(answers, examples).values())
    if not queries:
        return Tally(np.array([[0.0, 1.0]]), "mean")
    ndcg_Q = metrics_of(task, queries)[:, 0]
    return Tally(grouped(np.stack([ndcg_Q, np.ones(len(ndcg_Q))], axis=1), [clusters[q.example] for q in queries]), "mean")


def chance(task: TextRanking, examples: Sequence[Ranked]) -> dict[str, float]:
    """Expected metrics of a random order: those of equal scores."""
    return score(task, [[{"score": 0.0}] * len(example.passages) for example in examples], examples)


def degenerate_reason(task: TextRanking, answers: Answers, examples: Sequence[Ranked]) -> str | None:
    """When all passages have the same score."""
    scores = [answer["score"] for answered in answers for answer in answered]
    if len(scores) > 1 and max(scores) - min(scores) < CONSTANT:
        return f"gives all {len(scores):,} passages the same score"
    return None


def score_rows(cls: type[TextRanking], golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
    """Metrics of `score`, from a file with a `score` for each passage, in the order of the gold file or with its ids."""
    try:
        sizes = [1 if "passage" in gold.values else len(cls(name="score").read(gold.values).passages) for gold in golds]
    except RowError as error:
        raise DataError(f"{golds[0].place}: {error}") from None
    if set(sizes) == {1}:
        pairs = match_rows(golds, guesses, ("query", "passage"))
        golds, guesses, sizes = [gold for gold, _ in pairs], [guess for _, guess in pairs], [1] * len(pairs)
    elif sum(sizes) != len(guesses):
        raise DataError(f"{guesses[0].place} has {len(guesses)} scores, but {golds[0].place} has {sum(sizes)} passages; give "
                        "one row for each, in their order")  # fmt: skip
    task, examples, answers, start = cls(name="score"), [], [], 0
    for gold, size in zip(golds, sizes, strict=True):
        try:
            examples.append(task.read(gold.values))
        except RowError as error:
            raise DataError(f"{gold.where()}: {error}") from None
        answers.append([{"score": _score_in(guess)} for guess in guesses[start : start + size]])
        start += size
    statistics = [task.collect(example) for example in examples]
    fitted = task.fit(sum(statistics[1:], statistics[0]))
    count = len(queries_of(answers, examples))
    return FileScores(fitted.score(answers, examples), [f"{count} queries with a relevant passage, {start} passages"])


def _score_in(guess: FileRow) -> float:
    if guess.missing is not None:
        raise DataError(f"{guess.where()} {guess.missing}; without its score, leave the row out of both files")
    try:
        return number_of(first_given(guess.values.get("score"), guess.values.get("relevance_score")), "score")
    except RowError as error:
        raise DataError(f"{guess.where()}: {error}") from None
