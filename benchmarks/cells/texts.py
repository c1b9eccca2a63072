"""Texts for the Trainer, as run_classification has them: a linear layer on the pooler; several labels by sigmoids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cells.frozen import decided, encoder
from cells.methods import Job
from cells.scores import gold_labels
from cells.sets import Row
from cells.trainer import batches

MAX_LENGTH = 256


class Texts:
    def __init__(self, job: Job, rows: Sequence[Row]) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

        self.several = job.data.kind == "label sets"
        self.names = sorted({label for row in job.train for label in gold_labels(row)})
        self.tokenizer = AutoTokenizer.from_pretrained(encoder())
        self.collate = DataCollatorWithPadding(self.tokenizer)
        self.model: Any = AutoModelForSequenceClassification.from_pretrained(
            encoder(), num_labels=max(2, len(self.names)), dtype="float32",
            problem_type="multi_label_classification" if self.several else "single_label_classification",
        )  # fmt: skip
        self.rows = [
            {**pieces, "labels": self._target(row)} for pieces, row in zip(self._pieces(rows), rows, strict=True)
        ]

    def _pieces(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        return [dict(self.tokenizer(row["text"], truncation=True, max_length=MAX_LENGTH)) for row in rows]

    def _target(self, row: Row) -> Any:
        if self.several:
            return [float(name in row["labels"]) for name in self.names]
        return self.names.index(row["label"])

    def outputs(self, rows: Sequence[Row]) -> np.ndarray:
        import torch

        pieces = self._pieces(rows)
        scores_NK = np.zeros((len(rows), self.model.config.num_labels))
        with torch.inference_mode():
            for numbers in batches(pieces):
                logits = self.model(
                    **self.collate([pieces[number] for number in numbers]).to(self.model.device)
                ).logits.cpu()
                scores_NK[numbers] = (logits.sigmoid() if self.several else logits.softmax(-1)).numpy()
        return scores_NK[:, : len(self.names)]

    def decided(self, outputs: np.ndarray, threshold: float) -> list[Any]:
        return decided(outputs, self.names, self.several, threshold)


def encoded(job: Job, rows: Sequence[Row]) -> Texts:
    return Texts(job, rows)
