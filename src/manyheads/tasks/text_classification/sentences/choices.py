"""The choices about the sentences of a text: the label of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from manyheads.tasks.base import Array, Item
from manyheads.tasks.choices import Choices, Doubt, Judged, likeliest
from manyheads.tasks.text_classification.sentences.decoding import probabilities
from manyheads.tasks.text_classification.sentences.example import LabelledDocument

if TYPE_CHECKING:
    from manyheads.tasks.text_classification.sentence_task import SentenceClassification


class SentenceChoices(Choices[LabelledDocument]):
    """`(N, K)`: the labels of each sentence."""

    reviews: ClassVar[bool] = True

    def __init__(self, task: SentenceClassification) -> None:
        self.task = task

    def probabilities(self, items: Sequence[Item]) -> list[Array]:
        """Softmax of the logits, or marginals of the CRF, with the task's temperature."""
        return probabilities(self.task, items)

    def describe(self, item: Item, chance_K: Array, choice: int) -> str:
        """The beginning of a sentence and its likeliest labels."""
        start, end = (item.words or ())[choice]
        return f"{item.source.first[start:end]!r:.60} {likeliest(chance_K, self.task.labels)}"

    def gold(self, example: LabelledDocument, item: Item) -> Array:
        """The labels of the sentences."""
        return np.array([self.task.label_places[label] for label in example.labels], np.int64)

    def doubts(self, judged: Judged[LabelledDocument]) -> list[Doubt]:
        """One per sentence, as of a text, with the place of the sentence."""
        texts = self.task.plain.choices
        found = []
        for n, text in enumerate(judged.example.texts()):
            row = slice(n, n + 1)
            alone = Judged(text, judged.item, judged.chance_UK[row], judged.gold_U[row], judged.suspected_U[row])
            start, end = judged.example.sentences[n]
            [doubt] = texts.doubts(alone)
            given, better = ({"start": start, "end": end, "label": label, "text": text.text}
                             for label in (doubt.gold, doubt.suggestion))  # fmt: skip
            found.append(replace(doubt, gold=given, suggestion=better, span=(start, end)))
        return found
