"""Steps that do not fit into the device's memory are computed again in smaller packs."""

from __future__ import annotations

import torch

from manyheads.errors import TrainingError
from manyheads.training.batches import Batcher, StepBatch
from manyheads.training.distributed.team import Team
from manyheads.training.gradients import Gradients


class PackLimit:
    """Computes gradients, in smaller packs from the first step on that runs out of memory."""

    def __init__(self, gradients: Gradients, batcher: Batcher, team: Team, notes: list[str]) -> None:
        """`notes` gets a line for the user when packs become smaller."""
        self.gradients = gradients
        self.batcher = batcher
        self.team = team
        self.notes = notes
        self.max_tokens: int | None = None
        """Of a pack; None until memory has run out. Part of a run's state."""

    def compute(self, step: int, batch: StepBatch) -> tuple[StepBatch, dict[str, torch.Tensor]]:
        """Leave the gradient of a step in `.grad`: the packs that fitted, and the mean loss of each task.

        Raises TrainingError when no packs fit.
        """
        if self.max_tokens is not None and any(pack.pack.tokens > self.max_tokens for pack in batch):
            batch = self.batcher.packed(batch.draw, self.max_tokens)
        losses = self._try(step, batch)
        if losses is None:
            batch = self._smaller(step, batch)
            losses = self._try(step, batch)
        if losses is None:
            raise TrainingError(f"step {step}: packs of {self.max_tokens:,} tokens do not fit into memory either; "
                                "lower training.max_tokens_per_pack further")  # fmt: skip
        return batch, losses

    def _try(self, step: int, batch: StepBatch) -> dict[str, torch.Tensor] | None:
        """The gradient of a step; None when memory runs out.

        The second try is not in the `except` of the first: while an error is handled, it holds all that was computed.
        """
        try:
            return self.gradients.of(step, batch)
        except torch.OutOfMemoryError:
            if self.team.size > 1:  # the other processes are already adding up
                raise TrainingError(f"step {step} does not fit into the memory of process {self.team.rank}; set "
                                    "training.max_tokens_per_pack, or lower it") from None  # fmt: skip
            return None

    def _smaller(self, step: int, batch: StepBatch) -> StepBatch:
        """The step in packs at most half as large. Raises TrainingError when they cannot be."""
        self.gradients.clear()
        torch.cuda.empty_cache()
        largest = max(pack.pack.tokens for pack in batch)
        self.max_tokens = largest // 2
        smaller = self.batcher.packed(batch.draw, self.max_tokens)
        if max(pack.pack.tokens for pack in smaller) >= largest:
            raise TrainingError(f"step {step}: a pack of {largest:,} tokens, one example, does not fit into the device's "
                                "memory; lower encoder.max_length, or set training.gradient_checkpointing")  # fmt: skip
        self.notes.append(f"step {step}: a pack of {largest:,} tokens did not fit into the device's memory; from now on "
                          f"packs have at most {self.max_tokens:,}. Set training.max_tokens_per_pack to that")  # fmt: skip
        return smaller
