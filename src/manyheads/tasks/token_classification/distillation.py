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
from manyheads.tasks.token_classification.decoding import layer_probabilities, unit_emissions
from manyheads.tasks.token_classification.training import chance_loss, locate_units, unit_scores
from manyheads.tasks.word_scores import scored_words
from manyheads.text.entities import EntityExample, spanned_example
from manyheads.text.joining import joined
from manyheads.text.spans import CharSpan, spans_of_tags, tags_of_char_spans
from manyheads.text.units import units
from manyheads.text.values import key_of

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.token_classification.task import TokenClassification

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
        layers = [] if self.task.overlap == "none" else [[list(layer.labels) for layer in self.task.layers]]
        return [list(self.task.labels), self.task.unit, self.task.decoder, *layers]

    def check_teacher(self, teacher: Task[Any]) -> None:
        """The same labels for the same units."""
        unit = getattr(teacher, "unit", None)
        if unit != self.task.unit:
            raise DataError(f"the teacher tags {unit}s (its 'unit') and the task {self.task.unit}s")
        overlap = getattr(teacher, "overlap", "none")
        if overlap != self.task.overlap:
            raise DataError(f"the teacher has `overlap: {overlap}` and the task `overlap: {self.task.overlap}`")
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
        exact = head.decoder == "crf" or self.task.decoder == "crf"
        chance_WK = layer_probabilities(head, scores_WK, items, exact=exact)
        chance_WK = aligned(chance_WK, head, self.task, became)
        if None in became.values() or len(self.task.layers) > 1 or len(head.layers) > 1:
            known = {became.get(label, label) for label in head.labels}
            for layer in self.task.layers:
                _fill_outside(chance_WK[:, layer.columns], known.isdisjoint(layer.labels))
        return {"chance_WK": chance_WK.astype(np.float32)}

    @property
    def completes(self) -> bool:
        """Words outside of gold spans may have labels that the data does not annotate."""
        return True

    def completed(self, example: EntityExample, soft: Soft, labels: Collection[str]) -> EntityExample:
        """With spans of the best tags where no gold span is (Monaikul et al. 2021 distil the same words)."""
        offsets_W2 = units(example.text, self.task.unit, example.words)
        more: list[CharSpan] = []
        for layer in self.task.layers:
            tags = [layer.tags[k] for k in soft["chance_WK"][:, layer.columns].argmax(-1)]
            gold = np.zeros(len(example.text), bool)
            for start, end, _ in layer.spans(example):
                gold[start:end] = True
            spans = ((int(offsets_W2[s.start, 0]), int(offsets_W2[s.end - 1, 1]), s.label) for s in spans_of_tags(tags))
            more += [span for span in spans if span[2] in labels and not gold[span[0] : span[1]].any()]
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
            for entity in sorted(entities, key=lambda entity: (entity["start"], entity["end"], entity["label"]))
            if len(entity.get("pieces") or ()) < 2
        ]
        chance_WK = np.zeros((len(offsets_W2), len(self.task.output_names)))
        for layer in self.task.layers:
            chance_WK[:, layer.first] = 1.0
            for span, score in zip(spans, scores, strict=True):
                tags = tags_of_char_spans(offsets_W2, [span])[0] if span[2] in layer.labels else ()
                for w, tag in enumerate(tags):
                    if tag != "O":
                        chance_WK[w, layer.columns] = 0.0
                        chance_WK[w, layer.first] = 1.0 - score
                        chance_WK[w, layer.first + layer.tags.index(tag)] += score
        return chance_WK

    def _by_word(self, row: Row, example: EntityExample, offsets_W2: Array) -> Array:
        """The first unit of a word gets the word's scores; for the other units, B- becomes I-."""
        if len(self.task.layers) > 1:
            raise RowError("has 'scores' of tags, but with `overlap: per-label` a word has several tags; give "
                           "'entities' with their scores")  # fmt: skip
        given_V2, chance_VK = scored_words(row, self.task.output_names)
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
        """Mean over words, added up over the layers of tags."""
        import torch

        from manyheads.nn.crf import log_marginals

        chance_PK = targets["chance_PK"]
        scores_PK = unit_scores(self.task, output, targets)
        count, layers = len(chance_PK), self.task.layers
        if self.task.decoder == "softmax":
            log_PK = torch.cat([scores_PK[:, layer.columns].log_softmax(-1) for layer in layers], 1)
        else:
            rules = tuple(output[key] for key in self.task.rule_keys)
            lengths = targets["words_S"].tolist()
            logs = [log_marginals(scores_PK[:, layer.columns], lengths, layer.rules(rules)) for layer in layers]
            log_PK = torch.cat(logs, 1).clamp(min=float(np.log(LEAST)))
        total = -(chance_PK.to(log_PK.dtype) * log_PK).sum()
        if not count:
            total = total + next(iter(output.values())).sum() * 0.0
        return Loss(total / max(count, 1), chance_loss(self.task))


def _fill_outside(chance_WC: Array, unknown: bool) -> None:
    """Give the `O` of one sequence of tags what its labels leave, in place; nothing to a sequence the teacher does not know.

    Labels of one sequence may come from several sequences of the teacher, so `O` does not come with them.
    """
    inside_W = chance_WC[:, 1:].sum(-1)
    chance_WC[:, 0] = 0.0 if unknown else np.maximum(0.0, 1.0 - inside_W)
    chance_WC /= np.maximum(1.0, inside_W)[:, None]
