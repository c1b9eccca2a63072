"""The model: one encoder and a head for each task. One encoder pass answers every head that is asked.

Tasks may own the upper part of the encoder (`Branch`): then the shared bottom runs once, on everything, and each branch
on the sequences of its own tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from manyheads.nn.sharing import Branch, ScalarMix, climb
from manyheads.text.pack import Pack

if TYPE_CHECKING:
    import torch

    from manyheads.nn.encoder import Encoder
    from manyheads.tasks.base import Task

Range = tuple[int, int]
Reads = Mapping[str, Range]
"""For each task that is asked, the range of sequences (first, one past the last) that its head reads."""


class MultiTaskModel(nn.Module):
    """An encoder with named heads, and branches where tasks own layers."""

    def __init__(
        self,
        encoder: Encoder,
        tasks: Mapping[str, Task[Any]],
        branches: Sequence[Branch] = (),
        *,
        layer_mix: bool = False,
    ) -> None:
        """Heads are built by their tasks, initialised from torch's generator in the order of `tasks`.

        With `layer_mix` each head reads a learned mix of all layers instead of the last one.
        """
        super().__init__()
        self.encoder = encoder
        self.branches = tuple(branches)
        self.branch_encoders = nn.ModuleDict({branch.name: branch.encoder for branch in branches})
        self.heads = nn.ModuleDict({name: task.build_head(encoder.width) for name, task in tasks.items()})
        self.mixes = nn.ModuleDict({name: ScalarMix(encoder.depth + 1) for name in tasks} if layer_mix else {})
        self._branch_of = {task: branch for branch in branches for task in branch.tasks}
        self.fork = min((branch.start for branch in branches), default=encoder.depth)
        """The first layer that is not shared by all tasks."""

    def forward(self, pack: Pack, reads: Reads) -> dict[str, dict[str, torch.Tensor]]:
        """Outputs of the heads in `reads`, each on its own sequences; what tasks share is computed once."""
        outputs: dict[str, dict[str, torch.Tensor]] = {}
        for name, states in self._states(pack, reads).items():
            hidden_TD = self.mixes[name](states) if name in self.mixes else states[-1]
            outputs[name] = self.heads[name](hidden_TD, pack.segments.part(*reads[name]))
        return outputs

    def branch_of(self, task: str) -> Branch | None:
        """The branch of a task; None for the shared encoder itself."""
        return self._branch_of.get(task)

    def _states(self, pack: Pack, reads: Reads) -> dict[str, list[torch.Tensor]]:
        """For each task the hidden states of its sequences: all of them for a mix, else the last."""
        if not self.branches and not self.mixes:
            hidden_TD = self.encoder(pack)
            return {name: [pack.segments.cut(hidden_TD, *asked)] for name, asked in reads.items()}
        keep = bool(self.mixes)
        shared = self._walk(self.encoder, pack, 0, self.fork, None, keep) if self.fork else []
        tops: dict[tuple[str | None, Range], list[torch.Tensor]] = {}
        found = {}
        for name, asked in reads.items():
            branch = self._branch_of.get(name)
            key = (branch.name if branch else None, asked)
            if key not in tops:
                encoder = branch.encoder if branch else self.encoder
                below = [pack.segments.cut(state_TD, *asked) for state_TD in shared]
                tops[key] = self._walk(encoder, pack.part(*asked), self.fork, encoder.depth, below, keep)
            found[name] = tops[key]
        return found

    @staticmethod
    def _walk(
        encoder: Encoder, pack: Pack, start: int, stop: int, below: list[torch.Tensor] | None, keep: bool
    ) -> list[torch.Tensor]:
        """States of layers up to `stop`, from those below `start`, or from the embeddings when there are none."""
        if not below and stop == encoder.depth and not keep:
            return [cast("torch.Tensor", encoder(pack))]
        states = below or [encoder.embed(pack)]
        return climb(states, lambda hidden, first, last: encoder.layers(hidden, pack, first, last), start, stop, keep)
