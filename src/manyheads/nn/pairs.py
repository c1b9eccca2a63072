"""A head on ordered pairs of spans.

A pair is read from the means of three linear maps of the encoder's states: over its head, over its tail, and over the words
between them. Their sum, with learned vectors for the types of both ends, for their distance and for other spans between them,
goes through a ReLU and a linear layer. So each token gets 3 R numbers in the encoder's pass, and pairs cost R
additions and a product of R by K, in numpy as in torch. No markers are put into the text, so no pair needs a pass of its own
(as in PURE's approximation, Zhong & Chen 2021, and in biaffine parsers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from manyheads.nn.heads import linear

if TYPE_CHECKING:
    from manyheads.text.pack import Segments


class PairHead(nn.Module):
    """Maps of each token for pairs of spans, and the constants with which they are scored.

    >>> from manyheads.text.pack import Segments
    >>> head = PairHead(width=8, rank=4, outputs=2, types=3, distances=5, crowds=9, dropout=0.1)
    >>> {name: tuple(value.shape) for name, value in head(torch.zeros(6, 8), Segments.of([6])).items()}["ends_TX"]
    (6, 12)
    """

    keeps_scale = True
    """It is not shrunk once solved: its last layer reads positive numbers, so that its biases balance its weights."""

    def __init__(
        self, width: int, *, rank: int, outputs: int, types: int, distances: int, crowds: int, dropout: float
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.ends = linear(width, 3 * rank)
        self.output = linear(rank, outputs)
        self.head_type_LR = nn.Parameter(torch.zeros(types, rank))
        self.tail_type_LR = nn.Parameter(torch.zeros(types, rank))
        self.distance_BR = nn.Parameter(torch.zeros(distances, rank))
        self.crowd_CR = nn.Parameter(torch.zeros(crowds, rank))

    def forward(self, hidden_TD: torch.Tensor, segments: Segments) -> dict[str, torch.Tensor]:
        """`ends_TX`: head, tail and between of each token, R numbers each; the others are constants."""
        return {
            "ends_TX": self.ends(self.dropout(hidden_TD)),
            "head_type_LR": self.head_type_LR, "tail_type_LR": self.tail_type_LR, "distance_BR": self.distance_BR,
            "crowd_CR": self.crowd_CR, "output_KR": self.output.weight, "bias_K": self.output.bias,
        }  # fmt: skip
