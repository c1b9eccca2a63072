"""Metrics of embeddings: rank correlation of similarities with gold similarities, or ranks in a search for partners."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.metrics.evidence import Ranks, Tally, cluster_numbers, grouped
from manyheads.metrics.vectors import pearson, ranks_by, spearman
from manyheads.tasks.sentence_embedding.example import Pair, candidate_texts, gold_similarities, text_identity

if TYPE_CHECKING:
    from manyheads.tasks.sentence_embedding.pairs import PairTask

Answers = Sequence[Sequence[Any]]

CONSTANT = 1e-4
"""If the similarities of all pairs differ by less than this, all texts have the same vector."""


def score(task: PairTask, answers: Answers, examples: Sequence[Pair]) -> dict[str, float]:
    """Spearman and Pearson of similarities against gold similarities; without these, recall at 1 and mean reciprocal rank."""
    golds = gold_similarities(examples)
    if golds is not None:
        similarities = task.pair_similarities(answers)
        return {"spearman": spearman(similarities, golds), "pearson": pearson(similarities, golds)}
    rank_Q = partner_ranks(task, answers, examples)
    return {"recall_at_1": float((rank_Q == 1).mean()), "mrr": float((1 / rank_Q).mean())}


def chance(task: PairTask, examples: Sequence[Pair]) -> dict[str, float]:
    """Expected metrics of a random order."""
    if gold_similarities(examples) is not None:
        return {"spearman": 0.0, "pearson": 0.0}
    count = len(examples)
    return {"recall_at_1": 1 / count, "mrr": float((1 / np.arange(1, count + 1)).mean())} if count else {}


def evidence(
    task: PairTask, answers: Answers, examples: Sequence[Pair], clusters: Sequence[str]
) -> Tally | Ranks:
    """Similarities with gold similarities; without these, the reciprocal rank of each pair among all candidates."""
    golds = gold_similarities(examples)
    if golds is not None:
        return Ranks(cluster_numbers(clusters), task.pair_similarities(answers), np.array(golds))
    rank_Q = partner_ranks(task, answers, examples)
    return Tally(grouped(np.stack([1 / rank_Q, np.ones(len(rank_Q))], axis=1), clusters), "mean")


def degenerate_reason(task: PairTask, answers: Answers, examples: Sequence[Pair]) -> str | None:
    """When all texts have the same vector, or their order is unrelated to the gold similarities."""
    if len(examples) < 2:
        return None
    if float(np.ptp(task.pair_similarities(answers))) < CONSTANT:
        return f"gives all {len(examples):,} pairs the same similarity"
    metrics = score(task, answers, examples)
    if metrics.get("spearman", 1.0) <= 0:
        return f"ranks pairs no better than chance (Spearman {metrics['spearman']:.2f})"
    return None


def queries_and_candidates(answers: Answers) -> tuple[list[Any], list[Any]]:
    """Answers to first texts, and to the texts among which their partners are searched, as in `candidate_texts`."""
    negatives = [answer[2] for answer in answers if len(answer) == 3]
    return [answer[0] for answer in answers], [*(answer[1] for answer in answers), *negatives]


def partner_ranks(task: PairTask, answers: Answers, examples: Sequence[Pair]) -> np.ndarray:
    """Rank from 1 of each first text's partner among all candidates, `(B,)`."""
    identities = np.array([text_identity(text) for text in candidate_texts(examples)])
    queries, candidates = queries_and_candidates(answers)
    return ranks_by(lambda part: task.similarity(queries[part], candidates), len(queries), identities)
