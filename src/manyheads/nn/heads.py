"""Heads on the hidden states of a pack. None knows a task; tasks choose among them.

Every head is `head(hidden_TD, segments) -> {name: tensor}`; a name ends in its tensor's shape. Decided here: linear layers
start as in BERT (normal with deviation 0.02, zero bias), drawn from torch's generator; every parameter of a head takes
part in its outputs, so none is ever without a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from manyheads.nn.crf import CRF
from manyheads.nn.multiword_pieces import RANK
from manyheads.nn.pooling import Pooling, pool

if TYPE_CHECKING:
    from manyheads.text.pack import Segments

DEVIATION = 0.02
"""Standard deviation of initial weights. Devlin et al. 2019."""


class InnerWords(nn.Module):
    """Learned scores of the words after the first of a piece that covers several (`nn/multiword_pieces.py`).

    Draws its weights from a fork of torch's generator, so the other weights of a model are the same with and without it.
    """

    def __init__(self, width: int, outputs: int, places: int) -> None:
        super().__init__()
        rank = min(width, RANK)
        with torch.random.fork_rng(devices=()):
            self.down = linear(width, rank)
            self.inner_RK = nn.Parameter(normal(rank, outputs))
        self.places_MR = nn.Parameter(torch.zeros(places, rank))

    def forward(self, hidden_TD: torch.Tensor) -> dict[str, torch.Tensor]:
        """`{"inner_TR", "places_MR", "inner_RK"}`."""
        return {"inner_TR": self.down(hidden_TD), "places_MR": self.places_MR, "inner_RK": self.inner_RK}


class TokenHead(nn.Module):
    """Dropout and a linear layer on each token: `logits_TK`; with `places` also the outputs of `InnerWords`.

    >>> from manyheads.text.pack import Segments
    >>> head = TokenHead(width=8, outputs=3, dropout=0.1)
    >>> head(torch.zeros(5, 8), Segments.of([2, 3]))["logits_TK"].shape
    torch.Size([5, 3])
    """

    def __init__(self, width: int, outputs: int, dropout: float, places: int = 0, key: str = "logits_TK") -> None:
        """`key`: the name of the output."""
        super().__init__()
        self.key = key
        self.dropout = nn.Dropout(dropout)
        self.output = linear(width, outputs)
        self.inner = InnerWords(width, outputs, places) if places else None

    def forward(self, hidden_TD: torch.Tensor, segments: Segments) -> dict[str, torch.Tensor]:
        """`{"logits_TK"}`, and the outputs of `InnerWords`."""
        hidden_TD = self.dropout(hidden_TD)
        inner = {} if self.inner is None else self.inner(hidden_TD)
        return {self.key: self.output(hidden_TD), **inner}


class CRFTokenHead(nn.Module):
    """Dropout, a linear layer on each token, and a CRF over the IOB2 tags `labels`. Lample et al. 2016.

    The outputs include the transition scores with penalties, so that they suffice for decoding.
    """

    def __init__(
        self, width: int, labels: Sequence[str], dropout: float, places: int = 0, tags_per_sequence: int | None = None
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.output = linear(width, len(labels))
        self.crf = CRF(labels, tags_per_sequence)
        self.inner = InnerWords(width, len(labels), places) if places else None

    def forward(self, hidden_TD: torch.Tensor, segments: Segments) -> dict[str, torch.Tensor]:
        """`{"emissions_TK", "transitions_KK", "start_K", "end_K"}`, and the outputs of `InnerWords`."""
        transitions_KK, start_K, end_K = self.crf()
        hidden_TD = self.dropout(hidden_TD)
        inner = {} if self.inner is None else self.inner(hidden_TD)
        rules = {"transitions_KK": transitions_KK, "start_K": start_K, "end_K": end_K}
        return {"emissions_TK": self.output(hidden_TD), **rules, **inner}


class PooledHead(nn.Module):
    """Pooling, dropout and a linear layer on each sequence; `hidden` adds a tanh layer of that width before it.

    With a hidden layer and `cls` this is the classification head of RoBERTa (Liu et al. 2019).
    """

    def __init__(self, width: int, outputs: int, *, pooling: Pooling, dropout: float, hidden: int | None) -> None:
        super().__init__()
        self.pooling = pooling
        layers: list[nn.Module] = [nn.Dropout(dropout)]
        if hidden is not None:
            layers += [linear(width, hidden), nn.Tanh(), nn.Dropout(dropout)]
        layers.append(linear(width if hidden is None else hidden, outputs))
        self.layers = nn.Sequential(*layers)

    def forward(self, hidden_TD: torch.Tensor, segments: Segments) -> dict[str, torch.Tensor]:
        """`{"logits_SK"}`."""
        return {"logits_SK": self.layers(pool(hidden_TD, segments, self.pooling))}


class SpanHead(nn.Module):
    """Dropout and two scores on each token, for an answer that starts or ends there. Devlin et al. 2019."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.output = linear(width, 2)

    def forward(self, hidden_TD: torch.Tensor, segments: Segments) -> dict[str, torch.Tensor]:
        """`{"start_T", "end_T"}`."""
        start_T, end_T = self.output(self.dropout(hidden_TD)).unbind(-1)
        return {"start_T": start_T, "end_T": end_T}


class EmbeddingHead(nn.Module):
    """Pooling, an optional projection (linear, or its tanh), an optional LayerNorm: a vector per sequence, of any length.

    With `nli_labels` it also owns the classifier of `pair_losses.nli_softmax`, which only training uses.
    """

    def __init__(
        self,
        width: int,
        *,
        pooling: Pooling,
        projection: int | None,
        layer_norm: bool,
        activation: Literal["identity", "tanh"] = "identity",
        nli_labels: int = 0,
    ) -> None:
        super().__init__()
        self.pooling = pooling
        size = width if projection is None else projection
        self.projection = nn.Identity() if projection is None else linear(width, projection)
        self.activation = nn.Tanh() if activation == "tanh" else nn.Identity()
        self.norm = nn.LayerNorm(size) if layer_norm else nn.Identity()
        self.nli_weight = nn.Parameter(normal(nli_labels, 3, size) * DEVIATION) if nli_labels else None

    def forward(self, hidden_TD: torch.Tensor, segments: Segments) -> dict[str, torch.Tensor]:
        """`{"vector_SD"}`, and `"nli_weight"` `(K, 3, D)` if there are NLI labels."""
        pooled_SD = pool(hidden_TD, segments, self.pooling)
        outputs = {"vector_SD": self.norm(self.activation(self.projection(pooled_SD)))}
        if self.nli_weight is not None:
            outputs["nli_weight"] = self.nli_weight
        return outputs


class NamedLabelsHead(nn.Module):
    """Vectors to compare with those of descriptions of labels, and scores of the labels that training data shows.

    Pooling, dropout, and a square linear layer that begins as the identity: `vector_SD`. The scores `fitted_SK` are linear in
    the direction of the pooled vector, and begin at 0; `scale_1` multiplies cosines. In training, scores are held out: for
    half of the sequences, half of them are 0, so that vectors learn to stand alone, as they do for labels that are not among
    the K.
    """

    GAIN = 200.0
    """On the input of the scores, which have to grow from 0 at the rate of a head. Alone, on frozen vectors of 8 rows of each
    of 75 intents, their accuracy is 71 after 30 steps with 1, 85 with 200, 86 with 400; after 120 steps 84, 89 and 88."""

    def __init__(self, width: int, labels: int, *, pooling: Pooling, dropout: float, scale: float) -> None:
        super().__init__()
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.projection = identity(width)
        self.fitted = nn.Linear(width, labels)
        nn.init.zeros_(self.fitted.weight)
        nn.init.zeros_(self.fitted.bias)
        self.log_scale_1 = nn.Parameter(torch.tensor([math.log(scale)]))
        self.held_out = nn.Dropout(0.5)

    def forward(self, hidden_TD: torch.Tensor, segments: Segments) -> dict[str, torch.Tensor]:
        """`{"vector_SD", "fitted_SK", "scale_1"}`."""
        pooled_SD = self.dropout(pool(hidden_TD, segments, self.pooling))
        fitted_SK = self.fitted(self.GAIN * nn.functional.normalize(pooled_SD, dim=1))
        if self.training:
            every_SK, every_S1 = (self.held_out(torch.ones_like(part)) for part in (fitted_SK, fitted_SK[:, :1]))
            fitted_SK = fitted_SK * torch.maximum(every_SK, every_S1).sign()
        return {"vector_SD": self.projection(pooled_SD), "fitted_SK": fitted_SK, "scale_1": self.log_scale_1.exp()}


class EdgedTags(nn.Module):
    """A head `tags`, and logits of the first and of a further word of an entity of any type, beside 0 for other words."""

    def __init__(self, tags: nn.Module, width: int, dropout: float) -> None:
        super().__init__()
        self.tags = tags
        self.dropout = nn.Dropout(dropout)
        self.edges = linear(width, 2)

    @property
    def parts(self) -> tuple[nn.Module, nn.Module]:
        """What scores by itself (`training/head_problem.py`)."""
        return self.tags, self.edges

    def forward(self, hidden_TD: torch.Tensor, segments: Segments) -> dict[str, torch.Tensor]:
        """The outputs of `tags`, and `{"edge_T2"}`."""
        return {**self.tags(hidden_TD, segments), "edge_T2": self.edges(self.dropout(hidden_TD))}


class NamedEntitiesHead(nn.Module):
    """Tags of known labels, edges of any entities, and vectors of tokens to compare with those of descriptions.

    `vector_TX`, a square linear layer that begins as the identity, is compared with `name_SD`, the mean of a sequence, of
    descriptions, once `centre_X` is taken off its direction. `scale_1` multiplies cosines; `none_1` is the logit of no label.
    """

    GAIN = 5.0
    """On `centre_X`, which has to follow a mean of vectors from 0 at the rate of a head."""

    def __init__(self, tags: nn.Module, width: int, *, dropout: float, scale: float) -> None:
        """`scale` of cosines as it begins."""
        super().__init__()
        self.solved = EdgedTags(tags, width, dropout)
        """What is solved on the frozen encoder (`training/head_problem.py`); the loss of the rest is not convex."""
        self.dropout = nn.Dropout(dropout)
        self.projection = identity(width)
        self.log_scale_1 = nn.Parameter(torch.tensor([math.log(scale)]))
        self.none_1 = nn.Parameter(torch.zeros(1))
        self.centre_X = nn.Parameter(torch.zeros(width))

    def forward(self, hidden_TD: torch.Tensor, segments: Segments) -> dict[str, torch.Tensor]:
        """The outputs of `EdgedTags`, and `{"vector_TX", "name_SD", "scale_1", "none_1", "centre_X"}`."""
        return {
            **self.solved(hidden_TD, segments),
            "vector_TX": self.projection(self.dropout(hidden_TD)),
            "name_SD": pool(hidden_TD, segments, "mean"),
            "scale_1": self.log_scale_1.exp(),
            "none_1": self.none_1 * 1.0,
            "centre_X": self.centre_X * self.GAIN,
        }


class ProjectedTokens(nn.Module):
    """Dropout and a square linear layer on each token, which begins as the identity: `vector_TX`."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.output = identity(width)

    def forward(self, hidden_TD: torch.Tensor, segments: Segments) -> dict[str, torch.Tensor]:
        """`{"vector_TX"}`."""
        return {"vector_TX": self.output(self.dropout(hidden_TD))}


def linear(width: int, outputs: int) -> nn.Linear:
    """A linear layer with weights as in BERT, and no bias at first."""
    layer = nn.Linear(width, outputs)
    if not layer.weight.is_meta:
        nn.init.normal_(layer.weight, std=DEVIATION)
    nn.init.zeros_(layer.bias)
    return layer


def normal(*shape: int) -> torch.Tensor:
    """Normal numbers. On the meta device, where there are none, nothing is drawn: torch would import its compiler, 1 s."""
    empty = torch.empty(shape)
    return empty if empty.is_meta else empty.normal_()


def identity(width: int) -> nn.Linear:
    """A square linear layer that begins as the identity."""
    layer = nn.Linear(width, width)
    nn.init.eye_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
