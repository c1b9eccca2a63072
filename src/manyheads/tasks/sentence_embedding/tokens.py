"""Embeddings that keep the tokens of a text apart: a weight for each (`vectors: sparse`), or a vector (`vectors: multi`).

    sparse   a weight of at least 0 for each token of the vocabulary that the text contains, the highest of its places; texts
             are compared by the product of their weights (the lexical weights of BGE-M3, Chen et al. 2024)
    multi    a projected vector of length 1 for each token; the similarity is the mean, over the tokens of the query, of the
             highest cosine with a token of the passage (late interaction, Khattab & Zaharia 2020, ColBERT)

Decided here:
- A weight is a linear function of the token's hidden state. Weights for words that a text lacks need a layer as wide as the
  vocabulary (SPLADE), which costs more than a small encoder (docs/decisions.md).
- Weights begin near 1, so the head starts as the number of common tokens, and every weight has a gradient.
- Special tokens are left out. A token in the overlap of two windows counts once, in the first.
- Both learn from positives and hard negatives, with all other passages of the batch as negatives.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

import numpy as np
from annotated_types import Ge, Gt

from manyheads.errors import DataError
from manyheads.metrics.vectors import Floats, lexical_similarity, mean_max_similarity, unit_rows
from manyheads.tasks.base import AnswerForm, Array, DataStatistics, Encodings, Item, Level, Loss, Output
from manyheads.tasks.sentence_embedding.example import Pair
from manyheads.tasks.sentence_embedding.pairs import PairTask
from manyheads.tasks.sentence_embedding.training import pair_rows
from manyheads.tasks.settings import Doc
from manyheads.text.pack import Encoding

if TYPE_CHECKING:
    import torch
    from torch import nn

SelfT = TypeVar("SelfT", bound="TokenEmbedding")


@dataclass(frozen=True, kw_only=True)
class TokenEmbedding(PairTask):
    """What both have in common."""

    def fit(self: SelfT, statistics: DataStatistics) -> SelfT:
        """The same task. Raises DataError for pairs with scores or labels."""
        if others := sorted(statistics.flags - {"positives", "triplets"}):
            raise DataError(f"task '{self.name}': training rows are {' and '.join(others)} pairs; sparse and multiple "
                            "vectors learn from text_a, text_b without a score or label")  # fmt: skip
        return self

    def targets(self, examples: Sequence[Pair], encodings: Encodings) -> dict[str, Array]:
        """Rows of the texts as for dense vectors, and `place_XL`: the tokens of each text in the pack, -1 after the last.

        `word_XL` numbers the distinct tokens of the batch.
        """
        places, ids, start = [], [], 0
        for source in (source for asked in encodings for source in asked):
            id_T, kept = np.concatenate([window.ids_L for window in source]), _kept(source)
            places.append(start + kept)
            ids.append(id_T[kept])
            start += len(id_T)
        place_XL = np.full((len(places), max([1, *map(len, places)])), -1, np.int64)
        for x, place_L in enumerate(places):
            place_XL[x, : len(place_L)] = place_L
        word_XL = np.zeros_like(place_XL)
        words, word_XL[place_XL >= 0] = np.unique(np.concatenate(ids), return_inverse=True)
        rows = pair_rows(self, examples, encodings)
        return {**rows, "place_XL": place_XL, "word_XL": word_XL, "word_W": words}

    def similarities(self, output: Output, targets: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Similarity of each first text with each candidate, and which candidates equal the right one, `(B, C)` each."""
        import torch

        candidate_C, same_X = torch.cat([targets["b_B"], targets["negative_N"]]), targets["identity_X"]
        return self.batch_similarity(output, targets, candidate_C), same_X[targets["b_B"]][:, None] == same_X[candidate_C]

    @abstractmethod
    def batch_similarity(
        self, output: Output, targets: Mapping[str, torch.Tensor], candidate_C: torch.Tensor
    ) -> torch.Tensor:
        """Similarity of each first text with each candidate, `(B, C)`."""


@dataclass(frozen=True, kw_only=True)
class SparseEmbedding(TokenEmbedding):
    """A weight for each token of a text."""

    chosen_by: ClassVar[Mapping[str, Any]] = {"vectors": "sparse"}
    answer_form: ClassVar[AnswerForm] = "weights"
    pipeline_tag: ClassVar[str | None] = "feature-extraction"

    vectors: Annotated[Literal["sparse"], Doc("weights of the tokens of a text")]
    top_k: Annotated[int, Ge(1), Doc("most weights of a text that are answered, the highest")] = 256

    @property
    def outputs(self) -> Mapping[str, Level]:
        """Weights before they are cut at 0."""
        return {"weight_T1": "token"}

    def build_head(self, width: int) -> nn.Module:
        """A linear layer with one output, near 1 at first."""
        from torch.nn.init import ones_

        from manyheads.nn.heads import TokenHead

        head = TokenHead(width, 1, 0.0, key="weight_T1")
        ones_(head.output.bias)
        return head

    def batch_similarity(
        self, output: Output, targets: Mapping[str, torch.Tensor], candidate_C: torch.Tensor
    ) -> torch.Tensor:
        """Products of the weights."""
        import torch

        from manyheads.nn.pair_losses import lexical_scores

        place_XL, words = targets["place_XL"], len(targets["word_W"])
        kept_XL = place_XL >= 0
        row_X1 = torch.arange(len(place_XL), device=place_XL.device)[:, None]
        cell_XL = row_X1 * words + targets["word_XL"]
        weight_XL = output["weight_T1"][:, 0].relu()[place_XL.clamp(min=0)] * kept_XL
        weight_XW = lexical_scores(weight_XL.flatten(), cell_XL.flatten(), len(place_XL), words)
        return weight_XW[targets["a_B"]] @ weight_XW[candidate_C].T

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """Cross entropy of the right passage among all of the batch; chance is the log of their number."""
        from manyheads.nn.pair_losses import own_candidate

        score_BC, duplicate_BC = self.similarities(output, targets)
        return Loss(own_candidate(score_BC, duplicate_BC), float(np.log(max(2, score_BC.shape[1]))))

    def decode(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        """`{"indices", "values"}`: ids of the tokenizer, rising, and their weights above 0."""
        return [self._weights(item) for item in items]

    def _weights(self, item: Item) -> dict[str, Any]:
        kept = _kept(item.encodings)
        ids, place = np.unique(np.concatenate([window.ids_L for window in item.encodings])[kept], return_inverse=True)
        weight_V = np.zeros(len(ids), np.float32)
        np.maximum.at(weight_V, place, np.concatenate([output["weight_T1"][:, 0] for output in item.outputs])[kept])
        chosen = np.sort(np.argsort(-weight_V, kind="stable")[: self.top_k])
        chosen = chosen[weight_V[chosen] > 0]
        return {"indices": ids[chosen].tolist(), "values": weight_V[chosen].tolist()}

    def similarity(self, queries: Sequence[Any], candidates: Sequence[Any]) -> Floats:
        """Products of the weights."""
        return lexical_similarity(queries, candidates)


@dataclass(frozen=True, kw_only=True)
class MultiVectorEmbedding(TokenEmbedding):
    """A vector for each token of a text."""

    chosen_by: ClassVar[Mapping[str, Any]] = {"vectors": "multi"}
    answer_form: ClassVar[AnswerForm] = "vectors"
    pipeline_tag: ClassVar[str | None] = "feature-extraction"

    vectors: Annotated[Literal["multi"], Doc("a vector for each token of a text")]
    projection: Annotated[int, Gt(0), Doc("width of the vectors")] = 128
    scale: Annotated[float, Gt(0), Doc("on similarities")] = 20.0

    @property
    def outputs(self) -> Mapping[str, Level]:
        """Vectors before normalisation."""
        return {"vector_TR": "token"}

    def build_head(self, width: int) -> nn.Module:
        """A linear layer on each token."""
        from manyheads.nn.heads import TokenHead

        return TokenHead(width, self.projection, 0.0, key="vector_TR")

    def batch_similarity(
        self, output: Output, targets: Mapping[str, torch.Tensor], candidate_C: torch.Tensor
    ) -> torch.Tensor:
        """Late interaction."""
        from manyheads.nn.pair_losses import mean_max_similarity as similarity

        place_XL = targets["place_XL"]
        return similarity(output["vector_TR"], place_XL[targets["a_B"]], place_XL[candidate_C])

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """Cross entropy of the right passage among all of the batch; the chance loss is `scale`, as for dense vectors."""
        from manyheads.nn.pair_losses import own_candidate

        score_BC, duplicate_BC = self.similarities(output, targets)
        return Loss(own_candidate(score_BC * self.scale, duplicate_BC), self.scale)

    def decode(self, items: Sequence[Item]) -> list[np.ndarray]:
        """A vector of length 1 for each token, `(n, R)` float32; none for a text without tokens."""
        found = []
        for item in items:
            vector_TR = np.concatenate([output["vector_TR"] for output in item.outputs])[_kept(item.encodings)]
            found.append(unit_rows(vector_TR))
        return found

    def answer_keys(self, answer: np.ndarray) -> dict[str, Any]:
        """The vectors as lists of numbers."""
        return {self.name: answer.tolist()}

    def similarity(self, queries: Sequence[np.ndarray], candidates: Sequence[np.ndarray]) -> Floats:
        """Late interaction."""
        return mean_max_similarity(queries, candidates)


def _kept(windows: Sequence[Encoding]) -> Array:
    """Places of the tokens of a text in its windows laid end to end, each once and without special ones."""
    kept: list[Array] = []
    start = seen = 0
    for window in windows:
        inside = np.flatnonzero(window.part_L >= 0)
        new = inside[max(0, seen - window.first_token[0]) :]
        kept.append(start + new)
        seen = max(seen, window.first_token[0] + len(inside))
        start += len(window)
    return np.concatenate(kept)
