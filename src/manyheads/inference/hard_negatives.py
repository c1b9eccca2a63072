"""Hard negatives from a corpus: passages that a model finds near a query without being its positives.

Decided here: a passage whose score is near that of the positive is probably relevant too. With the default `relative_margin`
of 0.05 negatives score at most 95 % of the positive (Moreira et al. 2024, NV-Retriever).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.errors import RowError
from manyheads.inference.questions import answers_of
from manyheads.metrics.vectors import CELLS, cosines

if TYPE_CHECKING:
    from manyheads.predict import Predictor


@dataclass(frozen=True, slots=True)
class Mining:
    """Which passages are hard negatives; names as in sentence-transformers.

    >>> import manyheads as mh
    >>> mh.Mining(num_negatives=5).range_max
    100
    """

    num_negatives: int = 3
    """Most negatives of a query."""
    range_min: int = 0
    """The nearest passages that are skipped."""
    range_max: int = 100
    """The nearest passages that are considered."""
    relative_margin: float = 0.05
    """Negatives score at most `1 - relative_margin` times as much as the query's worst positive."""


def hard_negatives(
    predictor: Predictor, task: str, pairs: Iterable[Mapping[str, Any]], corpus: Iterable[str] | None, mining: Mining
) -> list[dict[str, Any]]:
    """A row `{"query", "positive", "negatives"}` for each distinct query, nearest negatives first.

    `pairs` have `text_a` (or `query`) and `text_b` (or `positive`, a text or a list). `corpus`: by default the positives. A
    query without negatives is left out. Raises RowError for a pair without its texts.
    """
    positives = _positives(pairs)
    passages = list(dict.fromkeys(corpus if corpus is not None else (text for found in positives.values() for text in found)))
    known = {text: n for n, text in enumerate(passages)}
    everything = [*passages, *dict.fromkeys(text for found in positives.values() for text in found if text not in known)]
    place = {text: n for n, text in enumerate(everything)}
    query_QD = _vectors(predictor, task, list(positives), "query")
    passage_ND = _vectors(predictor, task, everything, "passage")
    rows, queries = [], list(positives)
    step = max(1, CELLS // max(len(everything), 1))
    for start in range(0, len(queries), step):
        cosine_QN = cosines(query_QD[start : start + step], passage_ND)
        for query, cosine_N in zip(queries[start : start + step], cosine_QN, strict=True):
            right = [place[text] for text in positives[query]]
            worst = float(cosine_N[right].min())
            limit = worst - mining.relative_margin * abs(worst)
            candidate_N = cosine_N[: len(passages)].copy()
            candidate_N[[n for n in right if n < len(passages)]] = -np.inf
            nearest = np.argsort(-candidate_N, kind="stable")[mining.range_min : mining.range_max]
            chosen = [passages[n] for n in nearest if -np.inf < candidate_N[n] <= limit][: mining.num_negatives]
            if chosen:
                rows.append({"query": query, "positive": positives[query], "negatives": chosen})
    return rows


def _positives(pairs: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The positives of each query."""
    found: dict[str, list[str]] = {}
    for number, row in enumerate(pairs):
        query, positive = row.get("query", row.get("text_a")), row.get("positive", row.get("text_b"))
        texts = list(positive) if isinstance(positive, list | tuple) else [positive]
        if not isinstance(query, str) or not texts or not all(isinstance(text, str) for text in texts):
            raise RowError(f"pair {number}: needs texts as text_a and text_b, or query and positive; seen {dict(row)!r:.80}")
        found[query] = list(dict.fromkeys([*found.get(query, []), *texts]))
    return found


def _vectors(predictor: Predictor, task: str, texts: Sequence[str], role: str) -> Any:
    return np.stack(answers_of(predictor, task, [{"text": text, "input_type": role} for text in texts]))
