"""Concepts of mentions from their candidates: the shares of a softmax over the candidates and the answer "none of them".

A candidate's logit is a weighted sum of its features, that of "none" a constant. These four numbers are fitted on validation
data (`ranking.py`). No identifier is answered where the best share is below the threshold, or that of "none" is higher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.tasks.base import Array, Item
from manyheads.tasks.entity_linking.mentions import mention_vectors

if TYPE_CHECKING:
    from manyheads.tasks.entity_linking.task import EntityLinking

Link = dict[str, Any]
"""`entity`, its place; `span`; `id` and `name` (None for no concept), `score`; `candidates`, best first, at most KEPT; and
`concepts` with their `features`, all candidates, from which the others follow."""
KEPT = 5
"""Candidates that are scored and answered."""


def decode(task: EntityLinking, items: Sequence[Item]) -> list[list[Link] | None]:
    """The concept of each entity of the types that are linked."""
    spans = [(i, k, span) for i, item in enumerate(items) for k, span in enumerate(item.spans or ())]
    asked = [n for n, (_, _, span) in enumerate(spans) if span[2] in task.types]
    answers: list[list[Link]] = [[] for _ in items]
    if asked and task.dictionary is not None:
        vector_ND = mention_vectors(items, np.array(asked))
        chosen = [spans[n] for n in asked]
        mentions = [items[i].source.first[span[0] : span[1]] for i, _, span in chosen]
        found = task.dictionary.candidates(mentions, vector_ND, [span[2] for *_, span in chosen])
        for (i, k, span), one in zip(chosen, found, strict=True):
            given = {"entity": k, "span": span, "concepts": one.concept_C, "features": one.feature_CF}
            answers[i].append(ranked(task, given))
    return [None if item.spans is None else answer for item, answer in zip(items, answers, strict=True)]


def shares(task: EntityLinking, feature_CF: Array) -> tuple[Array, float]:
    """The share of each candidate, and of none of them."""
    logit_C = feature_CF @ np.array(task.weights)
    top = max(float(logit_C.max(initial=-np.inf)), task.none_logit)
    part_C, none = np.exp(logit_C - top), float(np.exp(task.none_logit - top))
    total = float(part_C.sum()) + none
    return part_C / total, none / total


def ranked(task: EntityLinking, found: Mapping[str, Any]) -> Link:
    """An answer from candidates and their features, as the task scores them now."""
    dictionary = task.dictionary
    assert dictionary is not None, "candidates come from a dictionary"
    share_C, none = shares(task, found["features"])
    order = np.lexsort((found["concepts"], -share_C))[:KEPT]
    best = [(int(found["concepts"][c]), float(share_C[c])) for c in order]
    listed: list[dict[str, Any]]
    listed = [{"id": dictionary.ids[c], "name": dictionary.name_of(c), "score": score} for c, score in best]
    share = listed[0]["score"] if listed else 0.0
    top = listed[0] if listed and share >= max(task.limit, none) else {"id": None, "name": None, "score": 1.0 - share}
    kept = {key: found[key] for key in ("entity", "span", "concepts", "features")}
    return {**kept, **{key: top[key] for key in ("id", "name", "score")}, "candidates": listed}
