"""Questions for the Trainer, as run_qa has them: windows of 384 tokens that overlap by 128, the best span by summed logits.

Unlike run_qa's default, windows are padded to the longest of their batch, not all to 384: the same answers in less time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cells.frozen import encoder
from cells.methods import Job
from cells.sets import Row
from cells.trainer import batches

MAX_LENGTH, STRIDE, N_BEST, LONGEST_ANSWER = 384, 128, 20, 30


class Spans:
    def __init__(self, job: Job, rows: Sequence[Row]) -> None:
        from transformers import AutoModelForQuestionAnswering, AutoTokenizer, DataCollatorWithPadding

        self.tokenizer = AutoTokenizer.from_pretrained(encoder())
        self.collate = DataCollatorWithPadding(self.tokenizer)
        self.model: Any = AutoModelForQuestionAnswering.from_pretrained(encoder(), dtype="float32")
        self.rows = []
        for number, pieces, offsets in self._windows(rows):
            answer = rows[number]["answers"][0]
            start, end = _places(offsets, answer["start"], answer["start"] + len(answer["text"]))
            self.rows.append({**pieces, "start_positions": start, "end_positions": end})

    def _windows(self, rows: Sequence[Row]) -> list[tuple[int, dict[str, Any], list[tuple[int, int] | None]]]:
        """(row, pieces, offsets in the context or None) of each window."""
        found = []
        for number, row in enumerate(rows):
            windows = self.tokenizer(
                row["question"].lstrip(), row["context"], truncation="only_second", max_length=MAX_LENGTH,
                stride=STRIDE, return_overflowing_tokens=True, return_offsets_mapping=True,
            )  # fmt: skip
            for window in range(len(windows["input_ids"])):
                kinds = windows.sequence_ids(window)
                offsets = [
                    tuple(offset) if kind == 1 else None
                    for kind, offset in zip(kinds, windows["offset_mapping"][window], strict=True)
                ]
                names = [name for name in self.tokenizer.model_input_names if name in windows]
                found.append((number, {name: windows[name][window] for name in names}, offsets))
        return found

    def outputs(self, rows: Sequence[Row]) -> list[str]:
        import torch

        windows = self._windows(rows)
        best: list[tuple[float, str]] = [(-np.inf, "")] * len(rows)
        with torch.inference_mode():
            for numbers in batches([pieces for _, pieces, _ in windows]):
                found = self.model(**self.collate([windows[number][1] for number in numbers]).to(self.model.device))
                for place, window in enumerate(numbers):
                    row, _, offsets = windows[window]
                    length = len(offsets)
                    start_L, end_L = (
                        logits[place, :length].cpu().numpy() for logits in (found.start_logits, found.end_logits)
                    )
                    best[row] = max(best[row], _best_span(start_L, end_L, offsets, rows[row]["context"]))
        return [text for _, text in best]

    def decided(self, outputs: list[str], threshold: float) -> list[str]:
        return outputs


def encoded(job: Job, rows: Sequence[Row]) -> Spans:
    return Spans(job, rows)


def _places(offsets: Sequence[tuple[int, int] | None], start: int, end: int) -> tuple[int, int]:
    """First and last token of an answer; those of [CLS] where the window does not hold all of it."""
    there = [place for place, offset in enumerate(offsets) if offset is not None]
    first, last = offsets[there[0]], offsets[there[-1]]
    assert first is not None
    assert last is not None
    if first[0] > start or last[1] < end:
        return 0, 0
    begins = [place for place in there if offsets[place][0] <= start]  # type: ignore[index]
    ends = [place for place in there if offsets[place][1] >= end]  # type: ignore[index]
    return begins[-1], ends[0]


def _best_span(
    start_L: np.ndarray, end_L: np.ndarray, offsets: Sequence[tuple[int, int] | None], context: str
) -> tuple[float, str]:
    best = (-np.inf, "")
    for start in np.argsort(-start_L)[:N_BEST]:
        for end in np.argsort(-end_L)[:N_BEST]:
            left, right = offsets[start], offsets[end]
            if left is not None and right is not None and start <= end < start + LONGEST_ANSWER:
                best = max(best, (float(start_L[start] + end_L[end]), context[left[0] : right[1]]))
    return best
