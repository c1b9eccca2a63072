"""Targets and losses of sentence embeddings.

Losses with an inverse temperature are divided by it, so that their gradient is one in units of cosine: at 20, the gradient of
CoSENT was fifty times that of the other tasks and drowned them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from manyheads.tasks.base import Array, Encodings, Loss, Output
from manyheads.tasks.inputs import merge_windows, window_weights
from manyheads.tasks.sentence_embedding.example import NLI_LABELS, Pair, text_identity

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.sentence_embedding.pairs import PairTask
    from manyheads.tasks.sentence_embedding.task import SentenceEmbedding


def targets(task: SentenceEmbedding, examples: Sequence[Pair], encodings: Encodings) -> dict[str, Array]:
    """Those of `pair_rows`, and `score_B`, `label_B`."""
    scores = [0.0 if e.score is None else _cosine_target(task, e.score) for e in examples]
    return {
        **pair_rows(task, examples, encodings),
        "score_B": np.array(scores, np.float32),
        "label_B": np.array([NLI_LABELS.index(e.label) if e.label else 0 for e in examples], np.int64),
    }


def pair_rows(task: PairTask, examples: Sequence[Pair], encodings: Encodings) -> dict[str, Array]:
    """Rows of the merged texts: `a_B`, `b_B`, `negative_N` of pair `negative_of_N`; `identity_X`, equal for equal texts."""
    owner_S, share_S = window_weights([source for asked in encodings for source in asked])
    sizes = np.array([len(asked) for asked in encodings])
    first_B = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    texts = [entry.source.first for example in examples for entry in task.sources_of_example(example)]
    return {
        "owner_S": owner_S,
        "share_S": share_S,
        "a_B": first_B,
        "b_B": first_B + 1,
        "negative_N": (first_B + 2)[sizes == 3],
        "negative_of_N": np.flatnonzero(sizes == 3),
        "identity_X": np.array([text_identity(text) for text in texts], np.int64),
    }


def loss(task: SentenceEmbedding, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
    """The objective's mean over pairs and Matryoshka widths.

    The chance loss is log(3) for `softmax`, and `scale` for `cosent` and `in-batch-negatives`, whose gradient it multiplies;
    1 for the others.
    """
    mean = mean_over_widths(task, output, targets, lambda vector_XD: _objective(task, vector_XD, output, targets))
    chance_loss = {"softmax": float(np.log(len(NLI_LABELS))), "cosent": task.scale, "in-batch-negatives": task.scale}
    return Loss(mean, chance_loss.get(task.objective or "", 1.0))


def mean_over_widths(
    task: SentenceEmbedding,
    output: Output,
    targets: Mapping[str, torch.Tensor],
    objective: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """The mean of an objective over the Matryoshka widths of the vectors of texts, and their full width."""
    vector_XD = merge_windows(output["vector_SD"], targets["owner_S"], targets["share_S"], len(targets["identity_X"]))
    widths = [*(w for w in task.matryoshka if w < vector_XD.shape[1]), vector_XD.shape[1]]
    losses = [objective(vector_XD[:, :width]) for width in widths]
    return sum(losses[1:], losses[0]) / len(losses)


def _objective(
    task: SentenceEmbedding, vector_XD: torch.Tensor, output: Output, targets: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    import torch

    from manyheads.nn import pair_losses

    a_BD, b_BD = vector_XD[targets["a_B"]], vector_XD[targets["b_B"]]
    negative_ND = vector_XD[targets["negative_N"]]
    if task.objective == "cosent":
        return pair_losses.cosent(a_BD, b_BD, targets["score_B"], scale=task.scale)
    if task.objective == "cosine":
        return pair_losses.cosine_mse(a_BD, b_BD, targets["score_B"])
    if task.objective == "softmax":
        return pair_losses.nli_softmax(a_BD, b_BD, targets["label_B"], output["nli_weight"])
    if task.objective == "triplet":
        of = targets["negative_of_N"]
        return pair_losses.triplet(a_BD[of], b_BD[of], negative_ND, margin=task.margin)
    same_X = targets["identity_X"]
    candidates = torch.cat([same_X[targets["b_B"]], same_X[targets["negative_N"]]])
    duplicate_BC = same_X[targets["b_B"]][:, None] == candidates[None, :]
    negatives = negative_ND if len(negative_ND) else None
    return pair_losses.in_batch_negatives(a_BD, b_BD, negatives, scale=task.scale, duplicate_BC=duplicate_BC)


def _cosine_target(task: SentenceEmbedding, score: float) -> float:
    """The cosine for a score: 1 for the highest; 0 for the lowest, or for a score of 0 if scores can be negative."""
    low, high = task.score_range if task.score_range is not None else (0.0, 1.0)
    return score / max(-low, high) if low < 0 else (score - low) / (high - low)
