"""Entity recognition taught by a teacher's probabilities of the tags of each word.

Decided here:
- Words are those of the text (`text.units`), which no tokenizer has a part in, so teacher and student speak of the same ones.
- A CRF teaches its marginals, and learns by its own: the cross entropy of each word's tag under all paths. A CRF is taught
  by what IOB2 allows alone, so a teacher without transitions is read under the rules that its decoder obeys.
- A student's marginal below 1e-8 counts as that: what it has all but ruled out pulls no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.errors import DataError, RowError
from manyheads.metrics.calibration import softmax
from manyheads.nn.viterbi import marginals
from manyheads.tasks.base import Array, Item, Loss, Output, Row, Task
from manyheads.tasks.distillation import Distillation, Soft, answer_of, listed, other_labels, probability
from manyheads.text.entities import EntityExample, spanned_example
from manyheads.text.joining import joined
from manyheads.text.spans import tags_of_char_spans
from manyheads.text.units import units
from manyheads.text.values import key_of

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.token_classification.task import TokenClassification
    from manyheads.text.pack import Encoding

SLACK = 0.01
"""By which the probabilities of a word may miss a sum of 1: files have few decimals."""
LEAST = 1e-8


class TagDistillation(Distillation[EntityExample]):
    """Cross entropy of each word's tag: `chance_WK` in the order of the task's tags."""

    def __init__(self, task: TokenClassification) -> None:
        self.task = task

    @property
    def terms(self) -> Any:
        """Labels in their order, what is tagged, and whether transitions are forbidden."""
        return [list(self.task.labels), self.task.unit, self.task.decoder]

    def check_teacher(self, teacher: Task[Any]) -> None:
        """The same labels, of the same units."""
        unit = getattr(teacher, "unit", None)
        if unit != self.task.unit:
            raise DataError(f"the teacher tags {unit}s (its 'unit') and the task {self.task.unit}s")
        problem = other_labels(self.task.labels, getattr(teacher, "labels", ()))
        if problem:
            raise DataError(problem)

    def unlabelled(self, row: Row) -> EntityExample:
        """`text`, or `tokens`."""
        document = key_of(row.get("document"), "document")
        if "tokens" in row:
            text, words = joined(row["tokens"], row.get("space_after"))
            return EntityExample(text, (), words, document)
        entry = self.task.source_of_row(row)
        assert entry is not None, "every text can be tagged"
        return EntityExample(entry.source.first, (), document=document)

    def of_model(self, teacher: Task[Any], example: EntityExample, items: Sequence[Item]) -> Soft:
        """By the unit scores of its windows."""
        head: TokenClassification = teacher  # type: ignore[assignment]
        _, scores_WK, _ = head.unit_scores(items[0])
        if head.decoder == "crf" or self.task.decoder == "crf":
            chance_WK = marginals([scores_WK], *head.rules(items))[0]
        else:
            chance_WK = softmax(scores_WK.astype(np.float64))
        place = {tag: k for k, tag in enumerate(head.tags)}
        return {"chance_WK": chance_WK[:, [place[tag] for tag in self.task.tags]].astype(np.float32)}

    def of_row(self, row: Row, example: EntityExample) -> Soft:
        """`scores` of the tags of each word (`tokens`, or `words` of the text), or `entities` with their scores."""
        offsets_W2 = units(example.text, self.task.unit, example.words)
        if row.get("scores") is not None:
            chance_WK = self._by_word(row, example, offsets_W2)
        else:
            chance_WK = self._by_span(answer_of(row, self.task.name, "entities"), example, offsets_W2)
        return {"chance_WK": chance_WK.astype(np.float32)}

    def _by_span(self, entities: Any, example: EntityExample, offsets_W2: Array) -> Array:
        """A span's tags have its score, and no tag the rest."""
        spans = spanned_example(example.text, entities, "").spans
        strange = sorted({label for _, _, label in spans} - set(self.task.labels))
        if strange:
            raise RowError(f"label {strange[0]!r} is none of the task, which has {listed(self.task.labels)}")
        scores = [
            probability(entity.get("score", 1.0), "the score of an entity")
            for entity in sorted(entities, key=lambda entity: int(entity["start"]))
        ]
        place = {tag: k for k, tag in enumerate(self.task.tags)}
        chance_WK = np.zeros((len(offsets_W2), len(place)))
        chance_WK[:, place["O"]] = 1.0
        for span, score in zip(spans, scores, strict=True):
            for w, tag in enumerate(tags_of_char_spans(offsets_W2, [span])[0]):
                if tag != "O":
                    chance_WK[w] = 0.0
                    chance_WK[w, place["O"]] = 1.0 - score
                    chance_WK[w, place[tag]] += score
        return chance_WK

    def _by_word(self, row: Row, example: EntityExample, offsets_W2: Array) -> Array:
        """What a word's first unit is told is its row; the others go on with the span that the word may begin."""
        given_V2 = _words(row)
        scores = row["scores"]
        if not isinstance(scores, Sequence) or isinstance(scores, str) or len(scores) != len(given_V2):
            seen = f"{len(scores)}" if isinstance(scores, Sequence) and not isinstance(scores, str) else "no list"
            raise RowError(f"has {len(given_V2)} words and {seen} 'scores'; give each word an object of tags")
        chance_VK = np.array([self._tags(word) for word in scores]).reshape(len(given_V2), len(self.task.tags))
        word_W = np.searchsorted(given_V2[:, 1], offsets_W2[:, 0], side="right")
        for (start, end), v in zip(offsets_W2.tolist(), word_W.tolist(), strict=True):
            if v == len(given_V2) or given_V2[v, 0] > start:
                raise RowError(f"no word has scores for {example.text[start:end]!r} at {start}")
        chance_WK = chance_VK[word_W]
        inner_W = np.zeros(len(word_W), bool)
        inner_W[1:] = word_W[1:] == word_W[:-1]
        chance_WK[inner_W, 2::2] += chance_WK[inner_W, 1::2]
        chance_WK[inner_W, 1::2] = 0.0
        return chance_WK

    def _tags(self, word: Any) -> list[float]:
        """Probabilities of a word's tags, in their order; those that are left out are 0."""
        if not isinstance(word, Mapping):
            raise RowError(f"'scores' of a word must be an object of tags with probabilities, seen {word!r:.80}")
        known = {tag: value for tag, value in word.items() if value is not None}  # Parquet fills absent tags with null
        strange = sorted(set(known) - set(self.task.tags))
        if strange:
            raise RowError(f"tag {strange[0]!r} is none of the task, which has {listed(self.task.tags)}")
        chance_K = [probability(known.get(tag, 0.0), f"the score of {tag!r}") for tag in self.task.tags]
        total = sum(chance_K)
        if abs(total - 1) > SLACK:
            raise RowError(f"the tags of a word add up to {total:.4g}, not to 1: {dict(known)!r:.200}")
        return [chance / total for chance in chance_K]

    def targets(
        self,
        examples: Sequence[EntityExample],
        encodings: Sequence[Sequence[Sequence[Encoding]]],
        softs: Sequence[Soft],
    ) -> dict[str, Array]:
        """`chance_PK` beside what `TokenClassification.targets` says of pieces."""
        placed = self.task.pieces(examples, encodings)
        chance_UK = np.concatenate([soft["chance_WK"] for soft in softs])
        return {**placed, "chance_PK": chance_UK[placed.pop("unit_P")]}

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Words."""
        return float(len(targets["chance_PK"]))

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """Mean over words; the chance loss is log(number of tags)."""
        from manyheads.nn.crf import log_marginals

        chance_PK = targets["chance_PK"]
        scores_PK = self.task.unit_emissions(output, targets)
        count, chance_loss = len(chance_PK), float(np.log(len(self.task.tags)))
        if self.task.decoder == "softmax":
            log_PK = scores_PK.log_softmax(-1)
        else:
            rules = (output["transitions_KK"], output["start_K"], output["end_K"])
            log_PK = log_marginals(scores_PK, targets["words_S"].tolist(), rules).clamp(min=float(np.log(LEAST)))
        total = -(chance_PK.to(log_PK.dtype) * log_PK).sum()
        if not count:
            total = total + next(iter(output.values())).sum() * 0.0
        return Loss(total / max(count, 1), chance_loss)


def _words(row: Row) -> Array:
    """Offsets of the words that have scores. Raises RowError."""
    if "tokens" in row:
        return np.array(joined(row["tokens"], row.get("space_after"))[1], np.int64).reshape(-1, 2)
    words = row.get("words")
    try:
        offsets_V2 = np.array(words, np.int64).reshape(-1, 2)
    except (TypeError, ValueError):
        raise RowError(f"'scores' want 'words', a list of [start, end] in the text, seen {words!r:.80}") from None
    flat = offsets_V2.ravel()
    if words is None or (np.diff(flat) < 0).any():
        raise RowError("'scores' want 'words', a list of [start, end] in the order of the text, apart from one another")
    return offsets_V2
