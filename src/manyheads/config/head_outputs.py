"""The weights of a head whose outputs change: old ones keep their rows, merged ones share one, new ones begin anew.

Decided here: the row of merged labels is the mean of theirs, and its bias is the mean plus log n. That is the tangent of the
log-sum-exp, the exact logit of "one of them", where their logits are equal. It is linear, as a row must be, and never above
the log-sum-exp (Jensen). Transitions of a CRF are means: its sums over paths already hold the log n of the emissions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manyheads.tasks.labels import renamed_outputs

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.base import Task


@dataclass(frozen=True, slots=True)
class Outputs:
    """Which outputs of an old head those of a new one continue."""

    sources: Sequence[Sequence[int]]
    """For each new output the places of the old ones it is made of; none for a new label."""
    before: int
    """Number of old outputs."""

    @staticmethod
    def of(old: Task[Any], new: Task[Any], became: Mapping[str, str | None]) -> Outputs:
        """From two tasks and the new names of labels."""
        places: dict[str, list[int]] = {name: [] for name in new.output_names}
        for place, name in enumerate(renamed_outputs(old, new, became)):
            if name is not None:
                places[name].append(place)
        return Outputs(list(places.values()), len(old.output_names))

    @property
    def same(self) -> bool:
        """Whether nothing changes."""
        return self.sources == [[place] for place in range(self.before)]

    def fill(self, value: torch.Tensor, before: torch.Tensor, *, bias: bool) -> bool:
        """Copy an old weight into a new one, in place; returns whether the shapes allow it.

        Axes as long as the outputs are matched. Entries of unmerged outputs are equal bit for bit.
        """
        import torch

        if value.shape == before.shape and self.same:
            value.copy_(before)
            return True
        if value.ndim != before.ndim:
            return False
        kept = [k for k, places in enumerate(self.sources) if places]
        axes, matched = [], False
        for axis, (mine, theirs) in enumerate(zip(value.shape, before.shape, strict=True)):
            if theirs == self.before and mine == len(self.sources):
                before = torch.cat([_mean(before, axis, self.sources[k]) for k in kept], axis)
                axes.append(torch.tensor(kept))
                matched = True
            elif mine == theirs:
                axes.append(torch.arange(mine))
            else:
                return False
        if bias and matched and before.ndim == 1:
            before = before + before.new_tensor([math.log(len(self.sources[k])) for k in kept])
        value[torch.meshgrid(*axes, indexing="ij")] = before
        return True


def _mean(weight: torch.Tensor, axis: int, places: Sequence[int]) -> torch.Tensor:
    """A slice of an axis, or the mean of several."""
    if len(places) == 1:
        return weight.narrow(axis, places[0], 1)
    return weight.index_select(axis, weight.new_tensor(places).long()).mean(axis, keepdim=True)
