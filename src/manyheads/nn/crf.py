"""Linear-chain CRF over packed sequences, for training. `viterbi.py` and `forward_backward.py` decode it in numpy.

Decided here:
- No padding: rows are read step by step, all sequences together (`time_major.py`).
- The recursion keeps weights of paths, scaled to a sum of 1 at each step (Rabiner 1989), in float64 whatever the type of the
  emissions. A step is one small matrix product; exponentials and logarithms are taken of all rows at once outside the
  loop. With gradients that is 4 ms for 4,096 rows of 9 tags and 17 ms for 121 tags on one core, where a log-sum-exp per
  step takes 8 and 880. float32 would lose every path 88 nats behind the best; float64 keeps 345, and stays finite past it.
- Transitions that IOB2 forbids get a constant penalty outside the parameters. They weigh exp(-10000) = 0 in the partition
  function, so they take no probability, and a gold path that uses one has a very low, finite likelihood.

Lafferty, McCallum & Pereira 2001; for named entities Lample et al. 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from manyheads.nn.iob2 import iob2_rules
from manyheads.nn.time_major import time_major

if TYPE_CHECKING:
    import numpy.typing as npt

Rules = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""`transitions_KK` (from, to), `start_K`, `end_K`, with penalties."""

LEAST = 1e-150
"""Least weight of a path at each step. The square of its reciprocal still fits float64, so gradients stay finite too."""


class CRF(nn.Module):
    """Transition scores between the IOB2 tags `labels`. Raises ValueError for tags in another notation.

    Tags may be those of several independent sequences one after another, each with an `O`; a caller then takes the block of
    each from the rules. Older models hold the transitions of sequences of `width` tags one under the other.
    Parameters start uniform in -0.1 to 0.1: small beside emissions, so training starts like a softmax.
    """

    forbidden_KK: torch.Tensor
    forbidden_K: torch.Tensor

    def __init__(self, labels: Sequence[str], width: int | None = None) -> None:
        super().__init__()
        self.transitions_KK = nn.Parameter(torch.empty(len(labels), width or len(labels)).uniform_(-0.1, 0.1))
        self.start_K = nn.Parameter(torch.empty(len(labels)).uniform_(-0.1, 0.1))
        self.end_K = nn.Parameter(torch.empty(len(labels)).uniform_(-0.1, 0.1))
        forbidden_KK, forbidden_K, _ = iob2_rules(labels)
        # Not in the state dict: they follow from the tags.
        self.register_buffer("forbidden_KK", torch.from_numpy(forbidden_KK), persistent=False)
        self.register_buffer("forbidden_K", torch.from_numpy(forbidden_K), persistent=False)

    def forward(self) -> Rules:
        """Scores with penalties, float32."""
        learned_KK, width = self.transitions_KK.float(), self.transitions_KK.shape[1]
        if width < len(learned_KK):
            learned_KK = torch.block_diag(*learned_KK.split(width))  # type: ignore[no-untyped-call]
        return (
            learned_KK + self.forbidden_KK,
            self.start_K.float() + self.forbidden_K,
            self.end_K.float(),
        )


def log_likelihood(
    emissions_TK: torch.Tensor, tags_T: torch.Tensor, lengths: Sequence[int], rules: Rules
) -> torch.Tensor:
    """Log-likelihood `(S,)`, in nats, of each sequence's tags; 0 for a sequence of length 0.

    Pass labelled rows only: sequence s has the next `lengths[s]` rows of `emissions_TK` and `tags_T`. The result is
    float32, or float64 if the emissions are. Nothing is read back from a device. Raises ValueError when the lengths do
    not add up to the rows.

    >>> crf, emissions_TK = CRF(["O", "B-X", "I-X"]), torch.zeros(3, 3)
    >>> likelihood_S = log_likelihood(emissions_TK, torch.tensor([1, 2, 0]), [2, 1], crf())
    >>> likelihood_S.shape, bool((likelihood_S < 0).all())
    (torch.Size([2]), True)
    """
    if sum(lengths) != len(emissions_TK) or len(tags_T) != len(emissions_TK):
        raise ValueError(
            f"lengths add up to {sum(lengths)}, but there are {len(emissions_TK)} emissions and {len(tags_T)} tags"
        )
    exact = (rules[0].double(), rules[1].double(), rules[2].double())
    scores_TK = emissions_TK.double()  # autocast leaves float64 alone
    likelihood_S = _path_score(scores_TK, tags_T, lengths, exact) - _log_partition(scores_TK, lengths, exact)
    return likelihood_S.to(torch.promote_types(emissions_TK.dtype, torch.float32))


def log_marginals(emissions_TK: torch.Tensor, lengths: Sequence[int], rules: Rules) -> torch.Tensor:
    """Log probability `(T, K)` of each tag in each row, by forward-backward, with gradients.

    In float64, rows as in `log_likelihood`. A tag that is on no path has about e^-345.
    """
    transitions_KK, start_K, end_K = (rule.double() for rule in rules)
    scores_TK = emissions_TK.double()
    row_T, active_L, _ = time_major(lengths)
    if not len(active_L):
        return scores_TK
    ordered_TK = scores_TK.index_select(0, _on(row_T, scores_TK))
    # A factor of a row cancels when the product of both sums is normalized to 1.
    weights = torch.split((ordered_TK - ordered_TK.detach().amax(-1, keepdim=True)).exp(), active_L.tolist())
    factor_KK, leaving_K = transitions_KK.exp(), end_K.exp()
    before = [_shares(weights[0] * start_K.exp())[0]]
    for weight_SK in weights[1:]:
        before.append(_shares((before[-1][: len(weight_SK)] @ factor_KK) * weight_SK)[0])
    after = [_shares(leaving_K.expand_as(weights[-1]))[0]]
    for weight_SK, following_SK in zip(weights[-2::-1], weights[:0:-1], strict=True):
        onward_SK = (following_SK * after[-1]) @ factor_KK.T
        ended_SK = leaving_K.expand(len(weight_SK) - len(onward_SK), -1)
        after.append(_shares(torch.cat([onward_SK, ended_SK]))[0])
    joint_TK = torch.cat(before) * torch.cat(after[::-1])
    log_TK = joint_TK.log() - joint_TK.sum(-1, keepdim=True).log()
    return log_TK.index_select(0, _on(np.argsort(row_T), scores_TK))


def _path_score(scores_TK: torch.Tensor, tags_T: torch.Tensor, lengths: Sequence[int], rules: Rules) -> torch.Tensor:
    """Score `(S,)` of the given tags."""
    transitions_KK, start_K, end_K = rules
    length_S = np.asarray(lengths, np.int64)
    sequence_T = np.repeat(np.arange(len(length_S)), length_S)
    filled_S = np.flatnonzero(length_S)
    last_S = np.cumsum(length_S)[filled_S] - 1
    first_S = last_S + 1 - length_S[filled_S]
    inner_T = np.ones(len(sequence_T), bool)
    inner_T[first_S] = False
    inner_P = np.flatnonzero(inner_T)
    inner = _on(inner_P, scores_TK)
    step_P = tags_T[inner - 1] * len(start_K) + tags_T[inner]
    ends_S = start_K.index_select(0, tags_T[_on(first_S, scores_TK)])
    ends_S = ends_S + end_K.index_select(0, tags_T[_on(last_S, scores_TK)])
    emission_T = scores_TK.gather(1, tags_T[:, None])[:, 0]
    transition_P = transitions_KK.flatten().index_select(0, step_P)
    result_S = scores_TK.new_zeros(len(length_S)).index_add(0, _on(sequence_T, scores_TK), emission_T)
    result_S = result_S.index_add(0, _on(sequence_T[inner_P], scores_TK), transition_P)
    return result_S.index_add(0, _on(filled_S, scores_TK), ends_S)


def _log_partition(scores_TK: torch.Tensor, lengths: Sequence[int], rules: Rules) -> torch.Tensor:
    """Log of the summed weights of all paths, `(S,)`, by the forward recursion; 0 for a sequence of length 0."""
    transitions_KK, start_K, end_K = rules
    row_T, active_L, sequence_T = time_major(lengths)
    result_S = scores_TK.new_zeros(len(lengths))
    if not len(active_L):
        return result_S
    scores_TK = scores_TK.index_select(0, _on(row_T, scores_TK))
    # Maxima and sums are taken out as constants and added back as logarithms. They cancel, so they need no gradient.
    top_T = scores_TK.detach().amax(-1)
    first_SK, *weights = torch.split((scores_TK - top_T[:, None]).exp(), active_L.tolist())
    factor_KK = transitions_KK.exp()
    share_SK, sum_S1 = _shares(first_SK * start_K.exp())
    sums, ended = [sum_S1], []
    for weight_SK in weights:
        active = len(weight_SK)
        if active < len(share_SK):
            ended.append(share_SK[active:])
            share_SK = share_SK[:active]
        share_SK, sum_S1 = _shares((share_SK @ factor_KK) * weight_SK)
        sums.append(sum_S1)
    last_SK = torch.cat([share_SK, *ended[::-1]])  # longest sequence first, as in the first step
    leaving_S = (last_SK @ end_K.exp()).log()
    taken_out_T = torch.cat(sums)[:, 0].log() + top_T
    sequence = _on(sequence_T, scores_TK)
    return result_S.index_add(0, sequence, taken_out_T).index_add(0, sequence[: len(leaving_S)], leaving_S)


def _shares(weight_SK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of paths divided by their sum, and the sum."""
    kept_SK = weight_SK.clamp(min=LEAST)
    sum_S1 = kept_SK.detach().sum(-1, keepdim=True)
    return kept_SK / sum_S1, sum_S1


def _on(index: npt.NDArray[np.int64], like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(index).to(like.device, non_blocking=True)
