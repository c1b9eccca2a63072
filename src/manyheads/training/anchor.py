"""An anchor to the encoder as it came, against forgetting: training may move a text's mean vector only for a reason.

Each sequence adds `weight * (1 - cosine)` between its mean-pooled hidden state and that of the untrained encoder, as feature
distillation does (learning without forgetting, Li & Hoiem 2016). A sentence encoder is often best at similarity before any
training, and other tasks on it would undo that. The weight falls to 0 at the end of the run: what the tasks want comes last.
It ends at once when each task whose head has no weights is `PASSED` above its score by the untrained encoder on validation
data: what is far behind already is not worth holding on to.

Decided here: vectors of the untrained encoder are computed once for each sequence and kept in memory in half precision,
768 bytes each for MiniLM; past `MOST_VECTORS` they are computed again.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cosine_similarity

from manyheads.nn.pooling import mean_pool
from manyheads.training.store import digests_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from manyheads.nn.encoder import Encoder
    from manyheads.text.pack import Pack

MOST_VECTORS = 1 << 19
PASSED = 0.05
"""Kept, 0.82 became 0.85 and without it 0.77, in four tasks; 0.45 became 0.70 at most (docs/decisions.md)."""


class Anchor:
    """Reference vectors of sequences, and how much they count at each step."""

    def __init__(self, encoder: Encoder, weight: float, steps: int, known: Collection[str] = ()) -> None:
        """Keeps a copy of the encoder as it is now. `weight`: at the first of so many steps, 0 after the last.

        `known`: the tasks that the untrained encoder may be good at.
        """
        self.encoder = copy.deepcopy(encoder).eval().requires_grad_(requires_grad=False)
        self.weight = weight
        self.steps = steps
        self.known = tuple(known)
        self.untrained: dict[str, float] = {}
        """Scores of the known tasks before the first step."""
        self.let_go: int | None = None
        """The step from which the weight is 0."""
        self._vectors: dict[bytes, torch.Tensor] = {}

    def weight_at(self, step: int) -> float:
        """Linear from `weight` to 0."""
        if self.let_go is not None and step >= self.let_go:
            return 0.0
        return self.weight * max(0.0, 1.0 - step / self.steps)

    def tell(self, scores: Mapping[str, float], step: int) -> bool:
        """Scores on validation data after so many steps; whether the encoder is let go because of them."""
        if step == 0:
            self.untrained = {name: scores[name] for name in self.known if name in scores}
        if self.let_go is not None or not self.untrained:
            return False
        if all(scores.get(name, before) > before + PASSED for name, before in self.untrained.items()):
            self.let_go = step
        return self.let_go is not None

    def state(self) -> dict[str, Any]:
        """What a resumed run has to know."""
        return {"untrained": self.untrained, "let_go": self.let_go}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        self.untrained = {str(name): float(score) for name, score in state["untrained"].items()}
        self.let_go = None if state["let_go"] is None else int(state["let_go"])

    def loss(self, pooled_SD: torch.Tensor, pack: Pack) -> torch.Tensor:
        """Mean of `1 - cosine` over the sequences of a pack, 0-dim. `pooled_SD`: their vectors in training."""
        reference_SD = self.references(pack).to(pooled_SD.device)
        return (1 - cosine_similarity(pooled_SD.float(), reference_SD, dim=-1)).mean()

    @torch.no_grad()
    def references(self, pack: Pack) -> torch.Tensor:
        """Vectors of the untrained encoder, `(S, D)` in float32."""
        names = digests_of(pack.to(torch.device("cpu")))
        missing = [s for s, name in enumerate(names) if name not in self._vectors]
        found: dict[int, torch.Tensor] = {}
        if missing:
            some = pack.only(missing)
            device = next(self.encoder.parameters()).device
            vectors_SD = mean_pool(self.encoder(some.to(device)), some.to(device).segments)
            found = dict(zip(missing, vectors_SD.half().cpu(), strict=True))
            for s, vector_D in found.items():
                if len(self._vectors) < MOST_VECTORS:
                    self._vectors[names[s]] = vector_D.clone()
        rows = [found[s] if s in found else self._vectors[name] for s, name in enumerate(names)]
        return torch.stack(rows).float()
