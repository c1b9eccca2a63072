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
    layers: Sequence[slice] = (slice(None),),
) -> npt.NDArray[np.float32]:
    """Scores `(W, K)` of words, by their pieces and places in them.

    `layers`: the columns of each sequence of tags, `O`, then `B-` and `I-` of each label.
    """
    scores_WK = scores_LK[piece_W]
    inner_I = np.flatnonzero(place_W)
    if not len(inner_I):
        return scores_WK
    own_IK = scores_WK[inner_I]
    for columns in layers:
        pairs = own_IK[:, columns][:, 1:]
        pairs[:] = np.sort(pairs.reshape(len(inner_I), -1, 2), axis=-1).reshape(pairs.shape)
    scores_WK[inner_I] = own_IK
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
    layers: Sequence[slice] = (slice(None),),
) -> torch.Tensor:
    """`word_scores` in torch, `(P, K)`. `inner_I`: indices of words after the first in their piece; `place_I`: from 1."""
    import torch

    scores_PK = scores_TK[piece_P]
    if "inner_TR" not in output:
        return scores_PK
    parts = []
    for own_IC in (scores_PK[inner_I][:, columns] for columns in layers):
        begin, inside = own_IC[:, 1::2], own_IC[:, 2::2]
        pairs = torch.stack([torch.minimum(begin, inside), torch.maximum(begin, inside)], -1)
        parts += [own_IC[:, :1], pairs.flatten(1)]
    continued_IK = torch.cat(parts, 1)
    places_MR = output["places_MR"]
    hidden_IR = output["inner_TR"][piece_P[inner_I]] * places_MR[place_I.clamp(max=len(places_MR)) - 1]
    learned_IK = hidden_IR.to(output["inner_RK"].dtype) @ output["inner_RK"]
    return scores_PK.index_copy(0, inner_I, (continued_IK + learned_IK).to(scores_PK.dtype))
