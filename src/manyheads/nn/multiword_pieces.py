"""Scores of words from those of subword pieces that may cover several words. numpy for answers, torch for training.

A piece of byte-level BPE or Unigram may cover several words (`-19`, `).`, a whole Chinese sentence; SuperBPE calls such
pieces superwords), and encoders see pieces. Decided here:
- The first word of a piece has the piece's own scores.
- The others continue it: the larger of a label's scores for B and I goes to I, which is right for a head that never saw such
  a word. A learned term is added: `(inner_TR * places_MR[place]) @ inner_RK`, a linear map of the hidden state of rank R
  for each place in a piece, which starts at zero. So two words of one piece may have any two tags.
- It is computed for those words only; without any, training and answers are unaffected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    import torch

PLACES = 63
"""Distinct places of words after the first in a piece; words past them share the last place."""
RANK = 32
"""R, at most the width of the encoder: numbers per token that a pass outputs beside its scores."""
INNER: Mapping[str, Literal["token", "constant"]] = {
    "inner_TR": "token",
    "places_MR": "constant",
    "inner_RK": "constant",
}
"""Further outputs of a head, and their levels."""


def word_scores(
    scores_LK: npt.NDArray[np.float32],
    output: Mapping[str, npt.NDArray[np.float32]],
    piece_W: npt.NDArray[np.int64],
    place_W: npt.NDArray[np.int64],
    begins: Sequence[int] | None = None,
) -> npt.NDArray[np.float32]:
    """Scores `(W, K)` of words, by their pieces and places in them.

    `begins`: the columns of `B-` tags, each followed by its `I-`; by default every other one after `O`.
    """
    scores_WK = scores_LK[piece_W]
    inner_I = np.flatnonzero(place_W)
    if not len(inner_I):
        return scores_WK
    begin_B = np.arange(1, scores_WK.shape[1], 2) if begins is None else np.array(begins, np.int64)
    pairs_IB2 = np.sort(scores_WK[inner_I[:, None, None], np.stack([begin_B, begin_B + 1], -1)], axis=-1)
    scores_WK[inner_I[:, None], begin_B], scores_WK[inner_I[:, None], begin_B + 1] = pairs_IB2[..., 0], pairs_IB2[..., 1]
    if "inner_TR" in output:
        place_I = np.minimum(place_W[inner_I], len(output["places_MR"])) - 1
        hidden_IR = output["inner_TR"][piece_W[inner_I]] * output["places_MR"][place_I]
        scores_WK[inner_I] += hidden_IR @ output["inner_RK"]
    return scores_WK


def word_scores_in_torch(
    scores_TK: torch.Tensor,
    output: Mapping[str, torch.Tensor],
    piece_P: torch.Tensor,
    inner_I: torch.Tensor,
    place_I: torch.Tensor,
    begins: Sequence[int] | None = None,
) -> torch.Tensor:
    """`word_scores` in torch, `(P, K)`. `inner_I`: indices of words after the first in their piece; `place_I`: from 1."""
    import torch

    scores_PK = scores_TK[piece_P]
    if "inner_TR" not in output:
        return scores_PK
    own_IK = scores_PK[inner_I]
    begin_B = torch.tensor(range(1, own_IK.shape[1], 2) if begins is None else begins, device=own_IK.device)
    begin_IB, inside_IB = own_IK.index_select(1, begin_B), own_IK.index_select(1, begin_B + 1)
    continued_IK = own_IK.index_copy(1, begin_B, torch.minimum(begin_IB, inside_IB))
    continued_IK = continued_IK.index_copy(1, begin_B + 1, torch.maximum(begin_IB, inside_IB))
    places_MR = output["places_MR"]
    hidden_IR = output["inner_TR"][piece_P[inner_I]] * places_MR[place_I.clamp(max=len(places_MR)) - 1]
    learned_IK = hidden_IR.to(output["inner_RK"].dtype) @ output["inner_RK"]
    return scores_PK.index_copy(0, inner_I, (continued_IK + learned_IK).to(scores_PK.dtype))
