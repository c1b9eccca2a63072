"""The choices of tasks that give every word a tag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from manyheads.tasks.base import Array, Item
from manyheads.tasks.choices import Choices, Doubt, Judged, likeliest
from manyheads.tasks.words import TaggedText, WordsT, WordTask


class TaggedWords(Choices[WordsT]):
    """`(W, K)`: the tags of each word, as `WordTask.word_probabilities` gives them."""

    reviews: ClassVar[bool] = True

    def __init__(self, task: WordTask[WordsT]) -> None:
        self.task = task

    def probabilities(self, items: Sequence[Item]) -> list[Array]:
        """Those of the task: softmax, or marginals of a CRF."""
        return [self.task.word_probabilities(item)[1] for item in items]

    def describe(self, item: Item, chance_K: Array, choice: int) -> str:
        """A word and its likeliest tags."""
        start, end = self.task.word_probabilities(item)[0][choice].tolist()
        return f"{item.source.first[start:end]!r} {likeliest(chance_K, self.task.output_names)}"


class WordChoices(TaggedWords[TaggedText]):
    """The tags of each word that has a token."""

    def gold(self, example: TaggedText, item: Item) -> Array:
        """The tags of the words."""
        place = {tag: k for k, tag in enumerate(self.task.output_names)}
        tag_of = {start: place[tag] for (start, _), tag in zip(example.words, example.tags, strict=True)}
        return np.array([tag_of[start] for start in self.task.word_probabilities(item)[0][:, 0].tolist()], np.int64)

    def doubts(self, judged: Judged[TaggedText]) -> list[Doubt]:
        """One per word."""
        offsets_W2 = self.task.word_probabilities(judged.item)[0]
        return [self._doubt(judged, w, (int(start), int(end))) for w, (start, end) in enumerate(offsets_W2)]

    def _doubt(self, judged: Judged[TaggedText], w: int, span: tuple[int, int]) -> Doubt:
        chance_K, gold, names = judged.chance_UK[w], int(judged.gold_U[w]), self.task.output_names
        best = int(chance_K.argmax())
        text = judged.example.text[span[0] : span[1]]
        given, better = ({"start": span[0], "end": span[1], "label": names[k], "text": text} for k in (gold, best))
        chances = {names[k]: float(chance_K[k]) for k in dict.fromkeys((gold, best))}
        kind = "" if best == gold else "wrong label"
        return Doubt(float(chance_K[gold]), kind, given, better, chances, bool(judged.suspected_U[w]), span)
