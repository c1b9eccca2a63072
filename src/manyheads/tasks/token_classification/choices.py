"""The choices of entity recognition: the tag of each word. Doubts are about spans.

Decided here: a gold span and the found span that overlaps it are judged together, on the words of both. The probability
that the gold labels are right there is that of their least probable word: a boundary error shows at one word only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.tasks.base import Array, Item
from manyheads.tasks.choices import Doubt, Judged
from manyheads.tasks.token_classification.mistakes import BOUNDARY, LABEL, MISSED, SPURIOUS, EntityError, entity_errors
from manyheads.tasks.token_classification.training import gold_tags
from manyheads.tasks.word_choices import TaggedWords
from manyheads.text.entities import EntityExample

if TYPE_CHECKING:
    from manyheads.tasks.token_classification.task import TokenClassification

KINDS = {MISSED: "spurious", SPURIOUS: "missed", LABEL: "wrong label", BOUNDARY: "wrong boundary"}
"""An error of the head, as an error of the gold labels."""
Span = tuple[int, int, str]


class TagChoices(TaggedWords[EntityExample]):
    """The tags of each unit, or of each given word."""

    task: TokenClassification

    def refitted_as(self) -> TokenClassification | None:
        """Without transitions, whose likelihood costs ten times as much and adds little on one word."""
        return replace(self.task, decoder="softmax") if self.task.decoder == "crf" else None

    def gold(self, example: EntityExample, item: Item) -> Array:
        """The tags of the gold spans."""
        offsets_W2, _ = self.task.word_probabilities(item)
        return gold_tags(self.task, example, offsets_W2)[:, 0]

    def doubts(self, judged: Judged[EntityExample]) -> list[Doubt]:
        """Each gold span, and found spans that no gold one overlaps."""
        found = [((s["start"], s["end"], s["label"]), float(s["score"])) for s in self.task.decode([judged.item])[0]]
        gold = judged.example.spans
        wrong = entity_errors(gold, found)
        erring = {error.gold for error in wrong}
        agreed = [EntityError("", 0, span, span) for span in gold if span not in erring]
        offsets_W2, _ = self.task.word_probabilities(judged.item)
        return [self._doubt(error, judged, offsets_W2) for error in (*wrong, *agreed)]

    def _doubt(self, error: EntityError, judged: Judged[EntityExample], offsets_W2: Array) -> Doubt:
        spans = [span for span in (error.gold, error.found) if span]
        start, end = min(s for s, _, _ in spans), max(e for _, e, _ in spans)
        inside = np.flatnonzero((offsets_W2[:, 0] < end) & (offsets_W2[:, 1] > start))
        gold_W = judged.gold_U[inside]
        quality_W = judged.chance_UK[inside, gold_W]
        text = judged.example.text
        return Doubt(
            float(quality_W.min()) if len(inside) else 1.0, KINDS.get(error.kind, ""), _entity(error.gold, text),
            _entity(error.found, text), self._probabilities(judged.chance_UK[inside], spans),
            bool(judged.suspected_U[inside].any()), (start, end),
        )  # fmt: skip

    def _probabilities(self, chance_WK: Array, spans: Sequence[Span]) -> dict[str, float]:
        """The mean probability of the labels in question, and of no entity, on the words."""
        if not len(chance_WK):
            return {}
        mean_K = chance_WK.mean(0)
        shown = {label: self._of_label(mean_K, label) for _, _, label in spans}
        return {**shown, "O": float(mean_K[0])}

    def _of_label(self, mean_K: Array, label: str) -> float:
        return float(sum(mean_K[k] for k, tag in enumerate(self.task.output_names) if tag[2:] == label))


def _entity(span: Span | None, text: str) -> dict[str, Any] | None:
    if span is None:
        return None
    start, end, label = span
    return {"start": start, "end": end, "label": label, "text": text[start:end]}
