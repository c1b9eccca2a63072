"""The model: one encoder and a head for each task. One encoder pass answers every head that is asked.

Tasks may own the upper part of the encoder (`Branch`): then the shared bottom runs once, on everything, and each branch
on the sequences of its own tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from manyheads.errors import UsageError
from manyheads.nn.dropout import replace_dropouts
from manyheads.nn.pooling import mean_pool
from manyheads.nn.sharing import Branch, ScalarMix, climb
from manyheads.text.pack import Pack, Segments

if TYPE_CHECKING:
    from manyheads.nn.encoder import Encoder
    from manyheads.tasks.base import Task

POOLED = "pooled_SD"
"""Mean vectors of sequences among the outputs of a head, where `MultiTaskModel.pools` asks for them."""
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
        Raises UsageError for a name of a task or branch that torch does not take.
        """
        super().__init__()
        _check_names([*tasks, *(branch.name for branch in branches)])
        self.encoder = encoder
        self.branches = tuple(branches)
        self.branch_encoders = nn.ModuleDict({branch.name: branch.encoder for branch in branches})
        self.heads = nn.ModuleDict({name: task.build_head(encoder.width) for name, task in tasks.items()})
        replace_dropouts(self.heads)
        self.mixes = nn.ModuleDict({name: ScalarMix(encoder.depth + 1) for name in tasks} if layer_mix else {})
        self._branch_of = {task: branch for branch in branches for task in branch.tasks}
        self.pools = False
        """Whether outputs in training hold the mean vector of each sequence, `pooled_SD`, beside those of the head."""
        self.fork = min((branch.start for branch in branches), default=encoder.depth)
        """The first layer that is not shared by all tasks."""

    def forward(self, pack: Pack, reads: Reads) -> dict[str, dict[str, torch.Tensor]]:
        """Outputs of the heads in `reads`, each on its own sequences; what tasks share is computed once."""
        if self.branches or self.mixes:
            return self.above(self.below(pack, self.fork), pack, reads, self.fork)
        hidden_TD = self.encoder(pack)
        segments = pack.segments
        return {
            name: self._head(name, segments.cut(hidden_TD, *asked), segments.part(*asked))
            for name, asked in reads.items()
        }

    def _head(self, name: str, hidden_TD: torch.Tensor, segments: Segments) -> dict[str, torch.Tensor]:
        """Outputs of a head. On a CPU heads compute in float32 always.

        They read as many tokens as their task has, and oneDNN compiles products in bf16 for every new number of them: that
        took longer than the product, and what it kept grew by 0.1 MB a text.
        """
        outputs = self._read(name, hidden_TD, segments)
        return {**outputs, POOLED: mean_pool(hidden_TD, segments)} if self.pools and self.training else outputs

    def _read(self, name: str, hidden_TD: torch.Tensor, segments: Segments) -> dict[str, torch.Tensor]:
        """Outputs of a head alone."""
        head = self.heads[name]
        if hidden_TD.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return cast("dict[str, torch.Tensor]", head(hidden_TD.float(), segments))
        return cast("dict[str, torch.Tensor]", head(hidden_TD, segments))

    def branch_of(self, task: str) -> Branch | None:
        """The branch of a task; None for the shared encoder itself."""
        return self._branch_of.get(task)

    def below(self, pack: Pack, layer: int) -> list[torch.Tensor]:
        """Shared hidden states `(T, D)` under a layer that is not above `fork`: every one for a mix, else the last alone.

        None at all under layer 0 where embeddings are a task's own.
        """
        return self._walk(self.encoder, pack, [], 0, layer) if layer else []

    def above(
        self, states: Sequence[torch.Tensor], pack: Pack, reads: Reads, layer: int
    ) -> dict[str, dict[str, torch.Tensor]]:
        """Outputs of the heads from the states that `below` gave under a layer. What two tasks share is computed once."""
        outputs = {}
        everything = (min(first for first, _ in reads.values()), max(stop for _, stop in reads.values()))
        shared: dict[Range, tuple[int, list[torch.Tensor]]] = {}  # how far the shared layers have run on a range
        for (owner, part_range), names in sorted(self._runs(reads).items(), key=lambda run: self._start(run[0][0])):
            first, stop = part_range
            branch = self._branch_of.get(owner)
            if part_range == everything:  # the pack, with its tail if it has one: shapes stay those that are compiled
                base, under, part = 0, list(states), pack
            else:
                base, under = first, [pack.segments.cut(state_TD, first, stop) for state_TD in states]
                part = pack.part(first, stop)
            reached, under = shared.get(part_range, (layer, under))
            start = max(reached, self._start(owner))
            under = self._walk(self.encoder, part, under, reached, start) if start > reached else under
            shared[part_range] = (start, under)
            tops = self._walk(branch.encoder, part, under, start, self.encoder.depth) if branch else under
            for name in names:
                asked = (reads[name][0] - base, reads[name][1] - base)
                mine = [part.segments.cut(top_TD, *asked) for top_TD in tops]
                hidden_TD = self.mixes[name](mine) if name in self.mixes else mine[-1]
                outputs[name] = self._head(name, hidden_TD, part.segments.part(*asked))
        return {name: outputs[name] for name in reads}

    def _start(self, owner: str) -> int:
        """The first layer that a task does not share; the encoder's depth for one without a branch."""
        branch = self._branch_of.get(owner)
        return branch.start if branch else self.encoder.depth

    def _runs(self, reads: Reads) -> dict[tuple[str, Range], list[str]]:
        """What is run above the shared layers: for an encoder and a range, its tasks. Ranges that adjoin run together.

        An encoder goes by the name of one of its tasks.
        """
        owned: dict[str, list[str]] = {}
        for name in reads:
            branch = self._branch_of.get(name)
            owned.setdefault(branch.tasks[0] if branch else "", []).append(name)
        runs: dict[tuple[str, Range], list[str]] = {}
        for owner, names in owned.items():
            ranges = sorted({reads[name] for name in names})
            adjoin = all(one[1] == two[0] for one, two in pairwise(ranges))
            whole = (ranges[0][0], ranges[-1][1])
            for name in names:
                runs.setdefault((owner, whole if adjoin else reads[name]), []).append(name)
        return runs

    def _walk(
        self, encoder: Encoder, pack: Pack, states: list[torch.Tensor], start: int, stop: int
    ) -> list[torch.Tensor]:
        """States of layers up to `stop`, from those under `start`, or from the embeddings when there are none."""
        keep = bool(self.mixes)
        if not states and stop == encoder.depth and not keep:
            return [cast("torch.Tensor", encoder(pack))]
        states = states or [encoder.embed(pack)]
        return climb(states, lambda hidden, first, last: encoder.layers(hidden, pack, first, last), start, stop, keep)


def _check_names(names: Iterable[str]) -> None:
    """torch finds heads by attribute, so a head cannot be called `type` or `values`."""
    own = nn.ModuleDict()
    taken = [name for name in names if hasattr(own, name)]
    if taken:
        raise UsageError(
            f"a task or group cannot be called '{taken[0]}', which means something to torch; choose another name"
        )
