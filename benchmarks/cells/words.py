"""Sentences of words for the Trainer, as run_ner has them: the first piece of a word carries its tag, the others none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cells.frozen import encoder
from cells.methods import Job
from cells.sets import Row
from cells.trainer import batches

MAX_LENGTH = 256


class Words:
    def __init__(self, job: Job, rows: Sequence[Row]) -> None:
        from transformers import AutoModelForTokenClassification, AutoTokenizer, DataCollatorForTokenClassification

        self.tags = sorted({tag for row in job.train for tag in row["tags"]})
        self.tokenizer = AutoTokenizer.from_pretrained(encoder())
        self.collate = DataCollatorForTokenClassification(self.tokenizer)
        self.model: Any = AutoModelForTokenClassification.from_pretrained(
            encoder(), num_labels=max(2, len(self.tags)), dtype="float32"
        )
        self.rows = []
        for row in rows:
            pieces, first = self._pieces(row)
            tags = [-100 if word is None else self.tags.index(row["tags"][word]) for word in first]
            self.rows.append({**pieces, "labels": tags})

    def _pieces(self, row: Row) -> tuple[dict[str, Any], list[int | None]]:
        """Pieces, and for each the word that it is the first piece of."""
        pieces = self.tokenizer(row["tokens"], is_split_into_words=True, truncation=True, max_length=MAX_LENGTH)
        words = pieces.word_ids()
        return dict(pieces), [
            word if word != before else None for before, word in zip([None, *words], words, strict=False)
        ]

    def outputs(self, rows: Sequence[Row]) -> list[list[str]]:
        import torch

        found = [self._pieces(row) for row in rows]
        answers: list[list[str]] = [["O"] * len(row["tokens"]) for row in rows]
        with torch.inference_mode():
            for numbers in batches([pieces for pieces, _ in found]):
                batch = self.tokenizer.pad([found[number][0] for number in numbers], return_tensors="pt").to(
                    self.model.device
                )
                guesses = self.model(**batch).logits[..., : len(self.tags)].argmax(-1).tolist()
                for number, guess in zip(numbers, guesses, strict=True):
                    for tag, word in zip(guess, found[number][1], strict=False):
                        if word is not None:
                            answers[number][word] = self.tags[tag]
        return answers

    def decided(self, outputs: list[list[str]], threshold: float) -> list[list[str]]:
        return outputs


def encoded(job: Job, rows: Sequence[Row]) -> Words:
    return Words(job, rows)
