"""Tags of words learned from a teacher's probabilities of the tags of each word.

Decided here:
- What a teacher gives to a tag that the task dropped is left out, so a word of such a tag hardly counts. Nor does a word
  count that the teacher says nothing about.
- An answer in a file has the score of one tag. The other tags share the rest equally.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.errors import DataError, RowError
from manyheads.tasks.base import Array, Encodings, Item, Loss, Output, Row, Task, text_of
from manyheads.tasks.distillation import (
    KEPT,
    Distillation,
    Soft,
    aligned,
    answer_of,
    label_mismatch,
    listed,
    probability,
)
from manyheads.tasks.word_scores import scored_words
from manyheads.tasks.words import TaggedText, WordTask, locate_words
from manyheads.text.joining import joined
from manyheads.text.units import units
from manyheads.text.values import key_of

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.token_tagging import TokenTagging


class WordDistillation(Distillation[TaggedText]):
    """Cross entropy of each word's tag; soft labels are `chance_WK`, in the order of the task's tags."""

    def __init__(self, task: TokenTagging) -> None:
        self.task = task

    @property
    def terms(self) -> Any:
        """Tags in order."""
        return list(self.task.labels)

    def check_teacher(self, teacher: Task[Any]) -> None:
        """The same tags."""
        if problem := label_mismatch(self.task.labels, teacher.label_names, "tags"):
            raise DataError(problem)

    def unlabelled(self, row: Row) -> TaggedText:
        """`tokens`, or the words of a `text`."""
        document = key_of(row.get("document"), "document")
        if "tokens" in row:
            return TaggedText(*joined(row["tokens"], row.get("space_after")), (), document)
        text = text_of(row)
        return TaggedText(text, tuple((start, end) for start, end in units(text).tolist()), (), document)

    def of_model(
        self, teacher: Task[Any], example: TaggedText, items: Sequence[Item], became: Mapping[str, str | None] = KEPT
    ) -> Soft:
        """Its probabilities for the words that have a token."""
        head: WordTask[TaggedText] = teacher  # type: ignore[assignment]
        offsets_V2, chance_VK = head.word_probabilities(items[0])
        return self._placed(example, offsets_V2, aligned(chance_VK, head, self.task, became))

    def of_row(self, row: Row, example: TaggedText) -> Soft:
        """`scores` for the tags of each word (`tokens`, or `words` of the text), or the answers that `predict` writes."""
        if row.get("scores") is not None:
            return self._placed(example, *scored_words(row, self.task.labels))
        answers = answer_of(row, self.task.name, "tags")
        if not isinstance(answers, Sequence) or isinstance(answers, str):
            raise RowError(f"'tags' must be a list of {{start, end, tag, score}}, seen {answers!r:.80}")
        found = [self._answer(answer) for answer in answers]
        offsets_V2 = np.array([offsets for offsets, _ in found], np.int64).reshape(-1, 2)
        return self._placed(example, offsets_V2, np.array([chance_K for _, chance_K in found]))

    def _answer(self, answer: Any) -> tuple[tuple[int, int], Array]:
        """Offsets of a word and the probabilities of its tags. Raises RowError."""
        if not isinstance(answer, Mapping) or not all(type(answer.get(key)) is int for key in ("start", "end")):
            raise RowError(f"tag {answer!r:.80} needs 'start', 'end', 'tag' and 'score'")
        tag, score = answer.get("tag"), probability(answer.get("score"), "the score of a tag")
        if tag not in self.task.labels:
            raise RowError(f"tag {tag!r} is not one of the task's tags: {listed(self.task.labels)}")
        chance_K = np.full(len(self.task.labels), (1.0 - score) / (len(self.task.labels) - 1))
        chance_K[self.task.labels.index(tag)] = score
        return (answer["start"], answer["end"]), chance_K

    def _placed(self, example: TaggedText, offsets_V2: Array, chance_VK: Array) -> Soft:
        """Probabilities of some words as those of all words of an example, 0 for the others. Raises RowError."""
        place = {word: w for w, word in enumerate(example.words)}
        chance_WK = np.zeros((len(place), len(self.task.labels)), np.float32)
        for (start, end), chance_K in zip(offsets_V2.tolist(), chance_VK, strict=True):
            if (start, end) not in place:
                raise RowError(f"{example.text[start:end]!r} at {start} is not one of the words of the text")
            chance_WK[place[start, end]] = chance_K
        return {"chance_WK": chance_WK}

    def targets(self, examples: Sequence[TaggedText], encodings: Encodings, softs: Sequence[Soft]) -> dict[str, Array]:
        """`piece_P` as in the task, and `chance_PK`."""
        where = locate_words([np.array(example.words, np.int64).reshape(-1, 2) for example in examples], encodings)
        chance_WK = np.concatenate([soft["chance_WK"] for soft in softs])
        return {"piece_P": where["piece_P"], "chance_PK": chance_WK[where["unit_P"]]}

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Number of words."""
        return float(len(targets["chance_PK"]))

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """Mean over words; the chance loss is log(tags)."""
        from torch.nn.functional import cross_entropy

        chance_PK, logits_TK = targets["chance_PK"], output["logits_TK"]
        logits_PK = logits_TK[targets["piece_P"]]
        loss = cross_entropy(logits_PK, chance_PK.to(logits_TK.dtype)) if len(chance_PK) else logits_TK.sum() * 0.0
        return Loss(loss, float(np.log(len(self.task.labels))))
