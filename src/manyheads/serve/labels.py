"""Labels that a request gives in place of those of a task: as they travel, and as a worker answers with them.

Decided here: a worker keeps the encoded descriptions of the last few sets of labels, and rows with the same labels share
passes, also those of different requests.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from manyheads.errors import UsageError

if TYPE_CHECKING:
    from manyheads.predict import Predictor
    from manyheads.serve.worker import Answer, Request

Pair = tuple["Mapping[str, Any]", "Sequence[str] | None"]
"""A row and its tasks."""
INVALID_LABELS = "invalid_labels"
"""Type of the error of a row whose labels do not fit; the whole request is refused for it."""
KEPT = 16
"""Sets of labels that a worker keeps."""


def packed(labels: Sequence[str] | Mapping[str, str | None] | None) -> str | None:
    """Labels as a text, the same for the same labels in the same order; None without any.

    >>> packed({"refund": "money back", "other": None}), packed(["other"])
    ('{"refund": "money back", "other": null}', '["other"]')
    """
    return None if labels is None else json.dumps(labels)


def answering(predictor: Predictor) -> Answer:
    """The predictor as what a worker runs: rows in order, those with the same labels together."""
    from manyheads.inference.questions import choosing_among

    @lru_cache(KEPT)
    def choosing(labels: str, task: str | None) -> Predictor:
        return choosing_among(predictor, task, json.loads(labels))[1]

    def reply(pairs: Sequence[Pair], labels: str | None) -> Iterator[dict[str, Any]]:
        if labels is None:
            return predictor.reply(pairs)
        tasks = pairs[0][1]
        try:
            return choosing(labels, tasks[0] if tasks is not None and len(tasks) == 1 else None).reply(pairs)
        except UsageError as error:
            return iter([{"error": {"type": INVALID_LABELS, "message": str(error)}}] * len(pairs))

    def answer(requests: Sequence[Request]) -> Iterable[dict[str, Any]]:
        groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for i, (_, tasks, labels) in enumerate(requests):
            groups[() if labels is None else (labels, tuple(tasks or ()))].append(i)
        answers: list[dict[str, Any]] = [{}] * len(requests)
        for places in groups.values():
            pairs = [requests[i][:2] for i in places]
            for i, row in zip(places, reply(pairs, requests[places[0]][2]), strict=True):
                answers[i] = row
        return answers

    return answer
