"""An anchor to the first encoder of a run, against forgetting: training may move a text's mean vector only for a reason.

Each sequence adds `weight * (1 - cosine)` between its mean-pooled hidden state and that of the first encoder, as feature
distillation does (learning without forgetting, Li & Hoiem 2016). A sentence encoder is often best at similarity before any
training, and other tasks on it would undo that. The weight falls to 0 at the end of the run, where the tasks come first.

The first encoder is the untrained one, or the one that `training.first_tasks` leave. In the first case the weight falls to 0
at once when each task whose head has no weights scores `PASSED` above the untrained encoder on validation data: an encoder
that training has left far behind is not worth keeping close to.

Decided here: vectors of the first encoder are computed once for each sequence and kept in memory in half precision,
768 bytes each for MiniLM; past `MOST_VECTORS` they are computed every time.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch.nn.functional import cosine_similarity

from manyheads.nn.encoder import Encoder
from manyheads.nn.pooling import mean_pool
from manyheads.text.pack import Pack
from manyheads.training.frozen_store import digests_of

MOST_VECTORS = 1 << 19
PASSED = 0.05
"""With the anchor, similarity among four tasks rose from 0.82 to 0.85 (without: 0.77), and from 0.45 to 0.70 at most
(docs/decisions.md)."""


class Anchor:
    """Reference vectors of sequences, and their weight at each step."""

    def __init__(self, encoder: Encoder, weight: float, steps: int, tasks: Collection[str] = ()) -> None:
        """Copies the encoder as it is now. `weight`: at the first of `steps` steps; it falls to 0 after the last.

        `tasks`: those at which the untrained encoder may be good.
        """
        self.encoder = copy.deepcopy(encoder).eval().requires_grad_(requires_grad=False)
        self.weight = weight
        self.steps = steps
        self.tasks = tuple(tasks)
        self.untrained: dict[str, float] = {}
        """Scores of `tasks` before the first step."""
        self.released: int | None = None
        """The step from which the weight is 0."""
        self._vectors: dict[bytes, torch.Tensor] = {}

    def follow(self, encoder: Encoder) -> None:
        """Keep close to this encoder instead, as it is now; scores no longer release it."""
        self.encoder.load_state_dict(encoder.state_dict())
        self._vectors.clear()
        self.tasks, self.untrained = (), {}

    def weight_at(self, step: int) -> float:
        """Linear from `weight` to 0."""
        if self.released is not None and step >= self.released:
            return 0.0
        return self.weight * max(0.0, 1.0 - step / self.steps)

    def observe(self, scores: Mapping[str, float], step: int) -> bool:
        """Note scores on validation data after `step` steps; whether they release the encoder."""
        if step == 0:
            self.untrained = {name: scores[name] for name in self.tasks if name in scores}
        if self.released is not None or not self.untrained:
            return False
        if all(scores.get(name, before) > before + PASSED for name, before in self.untrained.items()):
            self.released = step
        return self.released is not None

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"untrained": self.untrained, "let_go": self.released}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`."""
        self.untrained = {str(name): float(score) for name, score in state["untrained"].items()}
        self.released = None if state["let_go"] is None else int(state["let_go"])

    def loss(self, pooled_SD: torch.Tensor, pack: Pack) -> torch.Tensor:
        """Mean of `1 - cosine` over the sequences of a pack, 0-dim. `pooled_SD`: their vectors in training."""
        reference_SD = self.references(pack).to(pooled_SD.device)
        return (1 - cosine_similarity(pooled_SD.float(), reference_SD, dim=-1)).mean()

    @torch.no_grad()
    def references(self, pack: Pack) -> torch.Tensor:
        """Vectors of the first encoder, `(S, D)` in float32."""
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
