"""Labels of sentences learned from a teacher's probabilities of them: the losses are those of texts, over sentences.

An answer in a file has the score of one label. The other labels share the rest equally.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from manyheads.errors import DataError, RowError
from manyheads.metrics.calibration import softmax
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
from manyheads.tasks.pooled import document_of
from manyheads.tasks.text_classification.distillation import LEAST, LabelDistillation
from manyheads.tasks.text_classification.sentences.decoding import label_logits
from manyheads.tasks.text_classification.sentences.example import LabelledDocument, sentences_of
from manyheads.tasks.text_classification.sentences.tokens import locate_sentences, mean_over_tokens

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.text_classification.sentence_task import SentenceClassification


class SentenceDistillation(Distillation[LabelledDocument]):
    """Soft labels are `chance_NK`, in the order of the task's labels."""

    targets_on_cpu: ClassVar[frozenset[str]] = frozenset({"sentences_B"})

    def __init__(self, task: SentenceClassification) -> None:
        self.task = task
        self.of_texts = LabelDistillation(task.plain)

    @property
    def terms(self) -> Any:
        """Labels in order."""
        return [list(self.task.labels), self.task.unit]

    def check_teacher(self, teacher: Task[Any]) -> None:
        """The same labels, of sentences."""
        if getattr(teacher, "unit", None) != self.task.unit:
            raise DataError("the teacher labels texts and the task their sentences")
        if problem := label_mismatch(self.task.labels, teacher.label_names):
            raise DataError(problem)

    def unlabelled(self, row: Row) -> LabelledDocument:
        """A text with its sentences."""
        return LabelledDocument(*sentences_of(row), (), document_of(row))

    def of_model(
        self, teacher: Task[Any], example: LabelledDocument, items: Sequence[Item], became: Mapping[str, str | None] = KEPT
    ) -> Soft:
        """Its probabilities of the labels of each sentence."""
        head: SentenceClassification = teacher  # type: ignore[assignment]
        chance_NK = aligned(softmax(label_logits(head, items)[0]), head, self.task, became)
        if None in became.values():
            chance_NK = chance_NK / np.maximum(chance_NK.sum(-1, keepdims=True), LEAST)
        return {"chance_NK": np.asarray(chance_NK, np.float32)}

    def of_row(self, row: Row, example: LabelledDocument) -> Soft:
        """`scores`, for each sentence a probability of each label; or sentences as `predict` writes them."""
        given = row.get("scores")
        if isinstance(given, Sequence) and not isinstance(given, str):
            texts = LabelledDocument(example.text, example.sentences, ("",) * len(example.sentences)).texts()
            rows = [self.of_texts.of_row({"scores": scores}, texts[0])["chance_K"] for scores in given]
        else:
            given = answer_of(row, self.task.name, "sentences")
            rows = [self._answer(part) for part in given] if isinstance(given, list | tuple) else []
        if len(rows) != len(example.sentences):
            raise RowError(f"has soft labels of {len(rows)} sentences, and its text has {len(example.sentences)}; give the "
                           "sentences too, as 'sentences'")  # fmt: skip
        return {"chance_NK": np.array(rows, np.float32).reshape(len(rows), len(self.task.labels))}

    def _answer(self, part: Any) -> Array:
        """Probabilities from a sentence's label and score. Raises RowError."""
        if not isinstance(part, Mapping) or part.get("label") not in self.task.labels:
            raise RowError(f"sentence {part!r:.80} needs a 'label', one of {listed(self.task.labels)}, and a 'score'")
        score = probability(part.get("score"), "the score of a sentence")
        chance_K = np.full(len(self.task.labels), (1.0 - score) / (len(self.task.labels) - 1))
        chance_K[self.task.labels.index(part["label"])] = score
        return chance_K

    def targets(
        self, examples: Sequence[LabelledDocument], encodings: Encodings, softs: Sequence[Soft]
    ) -> dict[str, Array]:
        """`chance_BK` of each sentence beside its tokens, and `weight_B` if labels have weights."""
        where = locate_sentences([example.sentences for example in examples], encodings)
        counts = where["sentences_B"].tolist()
        chances = [soft["chance_NK"][:count] for soft, count in zip(softs, counts, strict=True)]
        arrays = {**where, "chance_BK": np.concatenate(chances)}
        if self.task.label_weights:
            weight = dict(zip(self.task.labels, self.task.label_weights, strict=True))
            weights = [[weight[label] for label in e.labels[:n]] or [1.0] * n for e, n in zip(examples, counts, strict=True)]
            arrays["weight_B"] = np.concatenate(weights).astype(np.float32)
        return arrays

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Number of sentences, or the sum of their weights."""
        return self.of_texts.denominator(targets)

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """Mean over sentences of the cross entropy, for a CRF with its marginals; the chance loss is log(K)."""
        from manyheads.nn.crf import log_marginals

        logits_NK = mean_over_tokens(output[self.task.scores_key], targets)
        if not len(logits_NK):
            return Loss(output[self.task.scores_key].sum() * 0.0, float(np.log(len(self.task.labels))))
        if self.task.decoder == "crf":
            rules = (output["transitions_KK"], output["start_K"], output["end_K"])
            logits_NK = log_marginals(logits_NK, targets["sentences_B"].tolist(), rules)
        alone = targets["sentence_P"].new_zeros(len(logits_NK))  # a window each: there is nothing to merge
        return self.of_texts.loss({"logits_SK": logits_NK}, {**targets, "owner_S": alone, "share_S": alone})
