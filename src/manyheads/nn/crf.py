"""Linear-chain CRF over packed sequences: the likelihood of a tagging, for training. `nn.viterbi` decodes it in numpy.

Decided here:
- No padding: rows are read step by step, all sequences together, and a sequence that has ended takes no further part.
- The recursion is in float64 whatever the emissions are. Each step is a product with `exp(transitions)` after the row's
  maximum is taken out: one small matrix product instead of S·K² exponentials, which float32 cannot do safely (a way
  that begins 88 below the best one vanishes), and float64 can up to about 700. Half precision never enters.
- Transitions that IOB2 does not allow get a constant penalty outside the parameters. They weigh exp(-10000) = 0 in the
  partition function, so no probability is lost on them, and a gold path that uses one has a very low, finite likelihood.

Lafferty, McCallum & Pereira 2001; for named entities Lample et al. 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from manyheads.nn.viterbi import TINY, iob2_rules, time_major

if TYPE_CHECKING:
    import numpy.typing as npt

Rules = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""`transitions_KK` (from, to), `start_K`, `end_K`, with penalties."""


class CRF(nn.Module):
    """Transition scores between the tags `labels`, in IOB2 notation. Raises ValueError for tags of another notation.

    Parameters begin uniform in -0.1 to 0.1: small beside emissions, so training begins as a softmax would.
    """

    forbidden_KK: torch.Tensor
    forbidden_K: torch.Tensor

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__()
        self.transitions_KK = nn.Parameter(torch.empty(len(labels), len(labels)).uniform_(-0.1, 0.1))
        self.start_K = nn.Parameter(torch.empty(len(labels)).uniform_(-0.1, 0.1))
        self.end_K = nn.Parameter(torch.empty(len(labels)).uniform_(-0.1, 0.1))
        forbidden_KK, forbidden_K, _ = iob2_rules(labels)
        # Not in the state dict: the tags say it all.
        self.register_buffer("forbidden_KK", torch.from_numpy(forbidden_KK), persistent=False)
        self.register_buffer("forbidden_K", torch.from_numpy(forbidden_K), persistent=False)

    def forward(self) -> Rules:
        """The scores with penalties, float32."""
        return (
            self.transitions_KK.float() + self.forbidden_KK,
            self.start_K.float() + self.forbidden_K,
            self.end_K.float(),
        )


def log_likelihood(
    emissions_TK: torch.Tensor, tags_T: torch.Tensor, lengths: Sequence[int], rules: Rules
) -> torch.Tensor:
    """Log-likelihood `(S,)`, in nats, of each sequence's tags; 0 for a sequence of length 0.

    Only labelled rows are given: sequence s has the next `lengths[s]` rows of `emissions_TK` and `tags_T`. The result is
    float32, or float64 if the emissions are. Nothing waits for a device. Raises ValueError when lengths and rows differ.
    """
    if sum(lengths) != len(emissions_TK) or len(tags_T) != len(emissions_TK):
        raise ValueError(
            f"lengths add up to {sum(lengths)}, but there are {len(emissions_TK)} emissions and {len(tags_T)} tags"
        )
    transitions_KK, start_K, end_K = (rule.double() for rule in rules)
    exact = (transitions_KK, start_K, end_K)
    scores_TK = emissions_TK.double()  # autocast leaves float64 alone
    likelihood_S = _path_score(scores_TK, tags_T, lengths, exact) - _log_partition(scores_TK, lengths, exact)
    return likelihood_S.to(torch.promote_types(emissions_TK.dtype, torch.float32))


def _path_score(
    scores_TK: torch.Tensor, tags_T: torch.Tensor, lengths: Sequence[int], rules: Rules
) -> torch.Tensor:
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

    def on_device(index: npt.NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(index).to(scores_TK.device, non_blocking=True)

    inner = on_device(inner_P)
    step_P = tags_T[inner - 1] * len(start_K) + tags_T[inner]
    ends_S = start_K.index_select(0, tags_T[on_device(first_S)]) + end_K.index_select(0, tags_T[on_device(last_S)])
    result_S = scores_TK.new_zeros(len(length_S))
    result_S = result_S.index_add(0, on_device(sequence_T), scores_TK.gather(1, tags_T[:, None])[:, 0])
    result_S = result_S.index_add(0, on_device(sequence_T[inner_P]), transitions_KK.flatten().index_select(0, step_P))
    return result_S.index_add(0, on_device(filled_S), ends_S)


def _log_partition(scores_TK: torch.Tensor, lengths: Sequence[int], rules: Rules) -> torch.Tensor:
    """Log of the summed weights of all paths, `(S,)`: the forward recursion; 0 for a sequence of length 0."""
    transitions_KK, start_K, end_K = rules
    row_T, active_L, order_S = time_major(lengths)
    result_S = scores_TK.new_zeros(len(order_S))
    if not len(active_L):
        return result_S
    device = scores_TK.device
    steps = scores_TK.index_select(0, torch.from_numpy(row_T).to(device, non_blocking=True)).split(active_L.tolist())
    factor_KK = transitions_KK.exp()
    alpha_SK = steps[0] + start_K
    ended = []
    for step_SK in steps[1:]:
        if len(step_SK) < len(alpha_SK):
            ended.append(alpha_SK[len(step_SK) :])
            alpha_SK = alpha_SK[: len(step_SK)]
        # The maximum is a constant that cancels, so no gradient goes through it.
        top_S1 = alpha_SK.detach().amax(-1, keepdim=True)
        alpha_SK = ((alpha_SK - top_S1).exp() @ factor_KK).clamp(min=TINY).log() + (step_SK + top_S1)
    ended.append(alpha_SK)
    last_SK = torch.cat(ended[::-1])  # the longest first, as in order_S
    filled_S = torch.from_numpy(order_S[: len(last_SK)]).to(device, non_blocking=True)
    return result_S.index_copy(0, filled_S, (last_SK + end_K).logsumexp(-1))
