"""The model: one encoder and a head for each task; one encoder pass serves all heads.

Tasks may own the upper layers of the encoder (`Branch`): the shared bottom then runs once, on everything, and each branch
on the sequences of its own tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from manyheads.errors import UsageError
from manyheads.nn.cpu.dropout import replace_dropouts
from manyheads.nn.pooling import mean_pool
from manyheads.nn.sharing import Branch, ScalarMix
from manyheads.text.pack import Pack, Segments

if TYPE_CHECKING:
    from manyheads.nn.encoder import Encoder
    from manyheads.tasks.base import Task

POOLED = "pooled_SD"
"""Name of the mean vectors of sequences among the outputs of a head, where `MultiTaskModel.pools`."""
Range = tuple[int, int]
Reads = Mapping[str, Range]
"""For each task to run, the range of sequences (first, one past the last) that its head reads."""


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
        """Builds the heads in the order of `tasks`, initialised from torch's generator.

        With `layer_mix` each head reads a learned mix of all layers instead of the last one.
        Raises UsageError for a task or branch whose name torch reserves.
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
        self._finder = {
            name: other
            for name, task in tasks.items()
            if (other := task.depends_on) in tasks and other and self._branch_of.get(name) is self._branch_of.get(other)
        }
        self._tasks = dict(tasks)
        self.pools = False
        """Whether outputs in training include the mean vector of each sequence, `pooled_SD`."""
        self.fork = min((branch.start for branch in branches), default=encoder.depth)
        """First layer that is not shared by all tasks."""

    def forward(self, pack: Pack, reads: Reads) -> dict[str, dict[str, torch.Tensor]]:
        """Outputs of the heads in `reads`, each on its own sequences; layers that tasks share run once."""
        if self.branches or self.mixes:
            return self.above(self.below(pack, self.fork), pack, reads, self.fork)
        hidden_TD = self.encoder(pack)
        segments = pack.segments
        return {
            name: self._head(name, segments.cut(hidden_TD, *asked), segments.part(*asked))
            for name, asked in reads.items()
        }

    def _head(self, name: str, hidden_TD: torch.Tensor, segments: Segments) -> dict[str, torch.Tensor]:
        """Outputs of a head. On a CPU heads always compute in float32.

        Each task has another number of tokens, and oneDNN compiles products in bf16 for every new number: that took longer
        than the product, and its cache grew by 0.1 MB per text.
        """
        if hidden_TD.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                outputs: dict[str, torch.Tensor] = self.heads[name](hidden_TD.float(), segments)
        else:
            outputs = self.heads[name](hidden_TD, segments)
        if self.training and name in self._finder and not self.mixes:
            outputs = {**outputs, **self._marks(self._finder[name], hidden_TD, segments)}
        return {**outputs, POOLED: mean_pool(hidden_TD, segments)} if self.pools and self.training else outputs

    @torch.no_grad()
    def _marks(self, finder: str, hidden_TD: torch.Tensor, segments: Segments) -> dict[str, torch.Tensor]:
        """Spans that another head finds in these states, for the training of a head about them."""
        head = self.heads[finder]
        return dict(self._tasks[finder].marks(head(hidden_TD.to(next(head.parameters()).dtype), segments)))

    def branch_of(self, task: str) -> Branch | None:
        """The branch of a task; None for the shared encoder itself."""
        return self._branch_of.get(task)

    def hidden_states(self, pack: Pack, task: str | None = None) -> torch.Tensor:
        """Hidden states `(T, D)` that the head of a task reads; without a task, those of the last layer that all share.

        Raises UsageError if the tasks share no layer, and none is named.
        """
        states = self.below(pack, self.fork)
        if task is None:
            if not states:
                raise UsageError(f"the tasks share no layer of the encoder; name one of {', '.join(self.heads)}")
            return states[-1]
        branch = self._branch_of.get(task)
        tops = self._walk(branch.encoder if branch else self.encoder, pack, states, self.fork, self.encoder.depth)
        mixed: torch.Tensor = self.mixes[task](tops) if task in self.mixes else tops[-1]
        return mixed

    def below(self, pack: Pack, layer: int) -> list[torch.Tensor]:
        """Shared hidden states `(T, D)` below a layer, at most `fork`: all of them for layer mixes, else only the last.

        An empty list for layer 0, where tasks own their embeddings.
        """
        return self._walk(self.encoder, pack, [], 0, layer) if layer else []

    def above(
        self, states: Sequence[torch.Tensor], pack: Pack, reads: Reads, layer: int
    ) -> dict[str, dict[str, torch.Tensor]]:
        """Outputs of the heads from the states that `below` returned for a layer. Layers that two tasks share run once."""
        outputs = {}
        everything = (min(first for first, _ in reads.values()), max(stop for _, stop in reads.values()))
        shared: dict[Range, tuple[int, list[torch.Tensor]]] = {}  # shared layers run so far on a range
        for (owner, part_range), names in sorted(self._runs(reads).items(), key=lambda run: self._start(run[0][0])):
            first, stop = part_range
            branch = self._branch_of.get(owner)
            if part_range == everything:  # the whole pack with its tail: compiled shapes stay the same
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
        """First layer that a task does not share; the encoder's depth without a branch."""
        branch = self._branch_of.get(owner)
        return branch.start if branch else self.encoder.depth

    def _runs(self, reads: Reads) -> dict[tuple[str, Range], list[str]]:
        """The passes above the shared layers: tasks by encoder (named after one of its tasks) and range.

        Adjoining ranges run together.
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
        """States of layers up to `stop`, from those below `start`, or from the embeddings when there are none."""
        if not states and stop == encoder.depth and not self.mixes:
            return [encoder(pack)]
        states = states or [encoder.embed(pack)]
        if self.mixes:
            return [*states, *encoder.states(states[-1], pack, start, stop)]
        return [encoder.layers(states[-1], pack, start, stop)]


def _check_names(names: Iterable[str]) -> None:
    """torch stores heads as attributes, so a head cannot be called `type` or `values`."""
    own = nn.ModuleDict()
    taken = [name for name in names if hasattr(own, name)]
    if taken:
        raise UsageError(
            f"a task or group cannot be called '{taken[0]}', a name that torch reserves; choose another name"
        )
