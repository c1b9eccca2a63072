"""Entity recognition learned from a teacher's probabilities of the tags of each word.

Decided here:
- Words are those of the text (`text.units`), which do not depend on a tokenizer, so teacher and student share them.
- A CRF teaches its marginals and learns its own: the cross entropy of each word's tag under all paths. A CRF learns only
  from tags that IOB2 allows, so for a teacher without transitions marginals are taken under the rules of its decoder.
- A student's marginals are clamped to at least 1e-8: tags it has all but ruled out have no gradient.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from manyheads.errors import DataError, RowError
from manyheads.metrics.calibration import softmax
from manyheads.nn.forward_backward import marginals
from manyheads.tasks.base import Array, Encodings, Item, Loss, Output, Row, Task
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
from manyheads.tasks.token_classification.decoding import transition_rules, unit_emissions
from manyheads.tasks.token_classification.training import locate_units, unit_scores
from manyheads.text.entities import EntityExample, spanned_example
from manyheads.text.joining import joined
from manyheads.text.spans import spans_of_tags, tags_of_char_spans
from manyheads.text.units import units
from manyheads.text.values import key_of

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.token_classification.task import TokenClassification

SLACK = 0.01
"""Tolerance on the sum of a word's probabilities: files have few decimals."""
LEAST = 1e-8
"""Lower bound of a student's marginals."""


class TagDistillation(Distillation[EntityExample]):
    """Cross entropy of each word's tag; soft labels are `chance_WK`, in the order of the task's tags."""

    targets_on_cpu: ClassVar[frozenset[str]] = frozenset({"words_S"})

    def __init__(self, task: TokenClassification) -> None:
        self.task = task

    @property
    def terms(self) -> Any:
        """Labels in order, the unit, and the decoder."""
        return [list(self.task.labels), self.task.unit, self.task.decoder]

    def check_teacher(self, teacher: Task[Any]) -> None:
        """The same labels for the same units."""
        unit = getattr(teacher, "unit", None)
        if unit != self.task.unit:
            raise DataError(f"the teacher tags {unit}s (its 'unit') and the task {self.task.unit}s")
        if problem := label_mismatch(self.task.labels, getattr(teacher, "labels", ())):
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

    def of_model(
        self, teacher: Task[Any], example: EntityExample, items: Sequence[Item], became: Mapping[str, str | None] = KEPT
    ) -> Soft:
        """Probabilities or marginals from the scores of units."""
        head: TokenClassification = teacher  # type: ignore[assignment]
        _, scores_WK, _ = unit_emissions(head, items[0])
        if head.decoder == "crf" or self.task.decoder == "crf":
            chance_WK = marginals([scores_WK], *transition_rules(head, items))[0]
        else:
            chance_WK = softmax(scores_WK.astype(np.float64))
        chance_WK = aligned(chance_WK, head, self.task, became)
        if None in became.values():  # words of a dropped label are outside of any span
            chance_WK[:, self.task.tags.index("O")] += 1.0 - chance_WK.sum(-1)
        return {"chance_WK": chance_WK.astype(np.float32)}

    @property
    def completes(self) -> bool:
        """Words outside of gold spans may have labels that the data does not annotate."""
        return True

    def completed(self, example: EntityExample, soft: Soft, labels: Collection[str]) -> EntityExample:
        """With spans of the best tags where no gold span is (Monaikul et al. 2021 distil the same words)."""
        offsets_W2 = units(example.text, self.task.unit, example.words)
        tags = [self.task.tags[k] for k in soft["chance_WK"].argmax(-1)]
        gold = np.zeros(len(example.text), bool)
        for start, end, _ in example.spans:
            gold[start:end] = True
        found = ((int(offsets_W2[s.start, 0]), int(offsets_W2[s.end - 1, 1]), s.label) for s in spans_of_tags(tags))
        more = [(start, end, label) for start, end, label in found if label in labels and not gold[start:end].any()]
        return replace(example, spans=tuple(sorted((*example.spans, *more)))) if more else example

    def of_row(self, row: Row, example: EntityExample) -> Soft:
        """`scores` for the tags of each word (`tokens`, or `words` of the text), or `entities` with their scores."""
        offsets_W2 = units(example.text, self.task.unit, example.words)
        if row.get("scores") is not None:
            chance_WK = self._by_word(row, example, offsets_W2)
        else:
            chance_WK = self._by_span(answer_of(row, self.task.name, "entities"), example, offsets_W2)
        return {"chance_WK": chance_WK.astype(np.float32)}

    def _by_span(self, entities: Any, example: EntityExample, offsets_W2: Array) -> Array:
        """The tags of a span get its score, and `O` the rest."""
        spans = spanned_example(example.text, entities, "").spans
        if strange := sorted({label for _, _, label in spans} - set(self.task.labels)):
            raise RowError(f"label {strange[0]!r} is not one of the task's labels: {listed(self.task.labels)}")
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
        """The first unit of a word gets the word's scores; for the other units, B- becomes I-."""
        given_V2 = _word_offsets(row)
        scores = row["scores"]
        if not isinstance(scores, Sequence) or isinstance(scores, str) or len(scores) != len(given_V2):
            seen = len(scores) if isinstance(scores, Sequence) and not isinstance(scores, str) else "no list of"
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
        """Probabilities of all tags of a word, in order; missing tags have 0."""
        if not isinstance(word, Mapping):
            raise RowError(f"'scores' of a word must be an object of tags and probabilities, seen {word!r:.80}")
        known = {tag: value for tag, value in word.items() if value is not None}  # Parquet fills absent tags with null
        if strange := sorted(set(known) - set(self.task.tags)):
            raise RowError(f"tag {strange[0]!r} is not one of the task's tags: {listed(self.task.tags)}")
        chance_K = [probability(known.get(tag, 0.0), f"the score of {tag!r}") for tag in self.task.tags]
        total = sum(chance_K)
        if abs(total - 1) > SLACK:
            raise RowError(f"the tags of a word add up to {total:.4g}, not to 1: {dict(known)!r:.200}")
        return [chance / total for chance in chance_K]

    def targets(
        self, examples: Sequence[EntityExample], encodings: Encodings, softs: Sequence[Soft]
    ) -> dict[str, Array]:
        """`chance_PK` of each unit, beside its position."""
        where = locate_units(self.task, examples, encodings)
        chance_UK = np.concatenate([soft["chance_WK"] for soft in softs])
        return {**where, "chance_PK": chance_UK[where.pop("unit_P")]}

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Number of words."""
        return float(len(targets["chance_PK"]))

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """Mean over words; the chance loss is log(tags)."""
        from manyheads.nn.crf import log_marginals

        chance_PK = targets["chance_PK"]
        scores_PK = unit_scores(self.task, output, targets)
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


def _word_offsets(row: Row) -> Array:
    """Offsets of the words with scores. Raises RowError."""
    if "tokens" in row:
        return np.array(joined(row["tokens"], row.get("space_after"))[1], np.int64).reshape(-1, 2)
    words = row.get("words")
    try:
        offsets_V2 = np.array(words, np.int64).reshape(-1, 2)
    except (TypeError, ValueError):
        raise RowError(f"'scores' need 'words', a list of [start, end] in the text, seen {words!r:.80}") from None
    flat = offsets_V2.ravel()
    if words is None or (np.diff(flat) < 0).any():
        raise RowError("'scores' need 'words', a list of [start, end] in the order of the text, without overlaps")
    return offsets_V2
