"""Losses on pairs of vectors: pure functions, each a mean over pairs or triplets unless it says otherwise.

Decided here: vectors are compared by cosine, in float32 even under autocast (bfloat16 cosines are off by 0.004, which a
scale of 20 makes 0.08 nats). A batch with nothing to compare (one pair for a ranking, no triplet) gives 0 with a
gradient of 0, never nan.

Shapes: B pairs, D width, N hard negatives of the batch, C = B + N candidates, K labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn.functional import cosine_similarity, cross_entropy, mse_loss, normalize

from manyheads.nn.at_least_float32 import at_least_float32


def cosine_mse(a_BD: torch.Tensor, b_BD: torch.Tensor, score_B: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of each pair's cosine and its score in -1 to 1. Reimers & Gurevych 2019, regression.

    >>> a_BD, b_BD = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> cosine_mse(a_BD, b_BD, torch.tensor([0.5])).item()
    0.25
    """
    cosine_B = _cosines(a_BD, b_BD)
    return mse_loss(cosine_B, score_B.to(cosine_B.dtype), reduction="sum") / max(len(cosine_B), 1)


def cosent(a_BD: torch.Tensor, b_BD: torch.Tensor, score_B: torch.Tensor, scale: float = 20.0) -> torch.Tensor:
    """CoSENT: `log(1 + sum(exp(scale * (cos_j - cos_i))))` over all i, j with `score_i > score_j`. Huang et al. 2024.

    Only the order of the scores matters. One loss for the batch, not a mean: it grows with the number of pairs.
    """
    scaled_B = _cosines(a_BD, b_BD) * scale
    excess_BB = scaled_B[None, :] - scaled_B[:, None]
    ranked_BB = score_B[:, None] > score_B[None, :]
    excess_P = excess_BB.masked_fill(~ranked_BB, float("-inf")).flatten()
    return torch.cat([excess_P.new_zeros(1), excess_P]).logsumexp(0)


def in_batch_negatives(
    anchor_BD: torch.Tensor,
    positive_BD: torch.Tensor,
    negative_ND: torch.Tensor | None = None,
    *,
    scale: float = 20.0,
    duplicate_BC: torch.Tensor | None = None,
    symmetric: bool = False,
) -> torch.Tensor:
    """Multiple negatives ranking: cross entropy of each anchor's positive among all positives and negatives.

    `duplicate_BC` is true where candidate c has the same text as the positive of anchor b, and so is not a negative of b; its
    diagonal is ignored. `symmetric` adds the cross entropy of each positive's anchor among all anchors and halves the
    sum. Henderson et al. 2017; temperature as in van den Oord 2018.
    """
    candidate_CD = positive_BD if negative_ND is None else torch.cat([positive_BD, negative_ND])
    logits_BC = _all_cosines(anchor_BD, candidate_CD) * scale
    loss = own_candidate(logits_BC, duplicate_BC)
    if not symmetric:
        return loss
    backward_BB = logits_BC[:, : len(anchor_BD)].T
    back_BB = None if duplicate_BC is None else duplicate_BC[:, : len(anchor_BD)].T
    return (loss + own_candidate(backward_BB, back_BB)) / 2


def own_candidate(logits_BC: torch.Tensor, duplicate_BC: torch.Tensor | None = None) -> torch.Tensor:
    """Mean cross entropy of candidate b for each anchor b among all candidates, but for duplicates of the right one."""
    if duplicate_BC is not None:
        own_BC = torch.eye(*logits_BC.shape, dtype=torch.bool, device=logits_BC.device)
        logits_BC = logits_BC.masked_fill(duplicate_BC & ~own_BC, float("-inf"))
    own_B = torch.arange(len(logits_BC), device=logits_BC.device)
    return cross_entropy(logits_BC, own_B, reduction="sum") / max(len(logits_BC), 1)


def mean_max_similarity(
    vector_TR: torch.Tensor, query_BL: torch.Tensor, candidate_CL: torch.Tensor
) -> torch.Tensor:
    """Late interaction, `(B, C)`: the mean over a query's tokens of the highest cosine with a token of the candidate.

    `query_BL` and `candidate_CL` are places among the T tokens, -1 after the last. A text without tokens has similarity 0.
    Khattab & Zaharia 2020 (ColBERT), divided by the number of query tokens.
    """
    with torch.autocast(vector_TR.device.type, enabled=False):
        unit_TR = normalize(at_least_float32(vector_TR), dim=-1)
        query_BLR, candidate_CLR = unit_TR[query_BL.clamp(min=0)], unit_TR[candidate_CL.clamp(min=0)]
        cosine_BCLL = torch.einsum("bqr,ckr->bcqk", query_BLR, candidate_CLR)
        cosine_BCLL = cosine_BCLL.masked_fill((candidate_CL < 0)[None, :, None, :], -2.0)
        best_BCL = cosine_BCLL.amax(-1)
        best_BCL = best_BCL.masked_fill((best_BCL < -1.5) | (query_BL < 0)[:, None, :], 0.0)
        return best_BCL.sum(-1) / (query_BL >= 0).sum(-1).clamp(min=1)[:, None]


def lexical_scores(weight_T: torch.Tensor, cell_T: torch.Tensor, texts: int, words: int) -> torch.Tensor:
    """The highest weight of each word in each text, `(texts, words)`; 0 for absent ones. Chen et al. 2024 (BGE-M3).

    `cell_T`: text times `words` plus word, of each token. Weights are 0 or more.
    """
    flat = weight_T.new_zeros(texts * words)
    return flat.scatter_reduce(0, cell_T, weight_T, "amax").view(texts, words)


def similarity_distillation(
    a_BD: torch.Tensor, other_CD: torch.Tensor, cosine_BC: torch.Tensor, *, scale: float = 20.0
) -> torch.Tensor:
    """Cross entropy of each row's softmax over scaled cosines against the teacher's. Fang et al. 2021 (SEED)."""
    log_BC = (_all_cosines(a_BD, other_CD) * scale).log_softmax(-1)
    chance_BC = (cosine_BC.to(log_BC.dtype) * scale).softmax(-1)
    return -(chance_BC * log_BC).sum() / max(len(log_BC), 1)


def triplet(
    anchor_ND: torch.Tensor, positive_ND: torch.Tensor, negative_ND: torch.Tensor, margin: float = 0.5
) -> torch.Tensor:
    """Mean of `max(0, margin - cos(anchor, positive) + cos(anchor, negative))`. Schroff et al. 2015, with cosines."""
    excess_N = _cosines(anchor_ND, negative_ND) - _cosines(anchor_ND, positive_ND) + margin
    return excess_N.relu().sum() / max(len(excess_N), 1)


def nli_softmax(
    a_BD: torch.Tensor, b_BD: torch.Tensor, label_B: torch.Tensor, weight_K3D: torch.Tensor
) -> torch.Tensor:
    """Mean cross entropy of a linear classifier, without bias, on (u, v, |u - v|). Reimers & Gurevych 2019.

    `weight_K3D` may be wider than the vectors: truncated vectors use the weights of their own dimensions.
    """
    with torch.autocast(a_BD.device.type, enabled=False):
        a_BD, b_BD = at_least_float32(a_BD), at_least_float32(b_BD)
        features_B3D = torch.stack([a_BD, b_BD, (a_BD - b_BD).abs()], dim=1)
        weight_KX = weight_K3D[..., : a_BD.shape[1]].to(a_BD.dtype).flatten(1)
        logits_BK = features_B3D.flatten(1) @ weight_KX.T
    return cross_entropy(logits_BK, label_B, reduction="sum") / max(len(label_B), 1)


def matryoshka(loss: Callable[..., torch.Tensor], widths: Sequence[int]) -> Callable[..., torch.Tensor]:
    """A loss summed over the vectors' first `width` dimensions, for each of `widths`. Kusupati et al. 2022.

    Every argument of the returned function is a tensor of vectors; bind anything else to `loss` first. Raises
    ValueError without widths, or for one larger than the vectors.
    """
    if not widths or min(widths) < 1:
        raise ValueError(f"matryoshka widths must be one or more positive integers, not {list(widths)}")

    def summed(*vectors: torch.Tensor) -> torch.Tensor:
        narrowest = min(vector_XD.shape[-1] for vector_XD in vectors)
        if max(widths) > narrowest:
            raise ValueError(f"matryoshka width {max(widths)} is larger than the vectors ({narrowest})")
        return torch.stack([loss(*(vector_XD[..., :width] for vector_XD in vectors)) for width in widths]).sum()

    return summed


def _cosines(a_BD: torch.Tensor, b_BD: torch.Tensor) -> torch.Tensor:
    """Cosine of corresponding rows, `(B,)`; 0 for a zero vector."""
    return cosine_similarity(at_least_float32(a_BD), at_least_float32(b_BD), dim=-1)


def _all_cosines(a_BD: torch.Tensor, c_CD: torch.Tensor) -> torch.Tensor:
    """Cosine of every pair of rows, `(B, C)`."""
    with torch.autocast(a_BD.device.type, enabled=False):
        return normalize(at_least_float32(a_BD), dim=-1) @ normalize(at_least_float32(c_CD), dim=-1).T
