"""Targets and loss of question answering.

A window without the answer is trained to point at its first (CLS) token, as in Devlin 2018.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from manyheads.tasks.base import Array, Encodings, Loss, Output
from manyheads.tasks.question_answering.example import Question, context_tokens

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.question_answering.task import QuestionAnswering
    from manyheads.text.pack import Encoding


def targets(task: QuestionAnswering, examples: Sequence[Question], encodings: Encodings) -> dict[str, Array]:
    """Gold tokens of each window, and `cell_C`: places of the candidate tokens `token_C` in an (S, longest) rectangle."""
    windows = [(example, window) for example, asked in zip(examples, encodings, strict=True) for window in asked[0]]
    longest = max(len(window) for _, window in windows)
    token_C, cell_C, gold = [], [], []
    base = 0
    for row, (example, window) in enumerate(windows):
        candidates = np.concatenate([[0], context_tokens(window)])
        token_C.append(candidates + base)
        cell_C.append(candidates + row * longest)
        gold.append(_gold_tokens(example, window))
        base += len(window)
    return {
        "token_C": np.concatenate(token_C),
        "cell_C": np.concatenate(cell_C),
        "start_S": np.array([start for start, _ in gold], np.int64),
        "end_S": np.array([end for _, end in gold], np.int64),
        "longest": np.array([longest], np.int64),
        "chance_S": np.array([np.log(max(len(t), 2)) for t in token_C], np.float32),
    }


def denominator(task: QuestionAnswering, targets: Mapping[str, Array]) -> float:
    """Number of windows."""
    return float(len(targets["chance_S"]))


def loss(task: QuestionAnswering, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
    """For each window, the mean cross entropy of start and end; the chance loss is log(candidate tokens).

    Windows differ in it, so the normaliser divides the loss of each window before it takes the mean.
    """
    from torch.nn.functional import cross_entropy

    start_S, end_S = (
        cross_entropy(score_SL, gold_S, reduction="none")
        for score_SL, gold_S in zip(candidate_scores(output, targets), (targets["start_S"], targets["end_S"]), strict=True)
    )
    return Loss((start_S + end_S) / 2, targets["chance_S"])


def candidate_scores(output: Output, targets: Mapping[str, torch.Tensor]) -> Iterator[torch.Tensor]:
    """Start scores, then end scores, of each window, `(S, longest)`; -inf for tokens that are not candidates."""
    windows, longest = len(targets["chance_S"]), int(targets["longest"])
    for key in ("start_T", "end_T"):
        score_T = output[key]
        flat = score_T.new_full((windows * longest,), float("-inf"))
        flat = flat.index_copy(0, targets["cell_C"], score_T[targets["token_C"]])
        yield flat.view(windows, longest)


def _gold_tokens(example: Question, window: Encoding) -> tuple[int, int]:
    """First and last token of the first answer; (0, 0) unless all of it is in the window."""
    if not example.answers:
        return 0, 0
    start, text = example.answers[0]
    start, end = start + len(text) - len(text.lstrip()), start + len(text.rstrip())
    place_N = context_tokens(window)
    if not len(place_N):
        return 0, 0
    begin_N, finish_N = window.start_L[place_N], window.end_L[place_N]
    if begin_N[0] > start or finish_N[-1] < end:
        return 0, 0
    first = int(np.searchsorted(finish_N, start, side="right"))
    last = int(np.searchsorted(begin_N, end, side="left")) - 1
    if first >= len(place_N) or last < first:
        return 0, 0
    return int(place_N[first]), int(place_N[last])
