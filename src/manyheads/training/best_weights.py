"""The best weights of a run so far: of the model, and of single tasks that stop early. Kept on the CPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from manyheads.training.distributed.sharded import divided_as, joined, local
from manyheads.training.parts import Part
from manyheads.training.state import check_shapes, copies, put_back

Weights = list[torch.Tensor]


class BestWeights:
    """Copies of everything that trains, at the best evaluation, and of the own weights of tasks at theirs."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], parts: Iterable[Part], tasks: Iterable[str]) -> None:
        """`parameters`: what trains, by name. `tasks`: those whose own best weights may be kept."""
        self.parameters = parameters
        self.model: Weights | None = None
        self.heads: dict[str, Weights] = {}
        places = {task: {id(p) for part in parts if part.tasks == (task,) for p in part.parameters} for task in tasks}
        self._own = {task: {name: p for name, p in parameters.items() if id(p) in ids} for task, ids in places.items()}

    def keep(self) -> None:
        """The weights of the model are the best now."""
        self.model = copies(self.parameters.values())

    def restore(self) -> None:
        """Give the model its best weights, if some are kept."""
        if self.model is not None:
            put_back(self.parameters.values(), self.model)

    def keep_head(self, task: str) -> None:
        """The task's own weights are its best now."""
        self.heads[task] = copies(self._own[task].values())

    def restore_head(self, task: str) -> None:
        """Give a task its own best weights."""
        put_back(self._own[task].values(), self.heads[task])

    def tensors(self) -> dict[str, torch.Tensor]:
        """For a checkpoint: the model's by name, those of tasks as `TASK/NAME`. Divided parameters stay divided."""
        found = self.joined(self.model) if self.model is not None else {}
        for task, values in self.heads.items():
            found |= {f"{task}/{name}": value for name, value in zip(self._own[task], values, strict=True)}
        return found

    def check(self, saved: Mapping[str, torch.Tensor]) -> None:
        """Raise CheckpointError unless such tensors fit this model."""
        model, heads = self._sorted(saved)
        if model:
            check_shapes("best weights", self.parameters, model)
        for task, found in heads.items():
            check_shapes(f"best weights of {task}", self._own[task], found)

    def load(self, saved: Mapping[str, torch.Tensor]) -> None:
        """Take back the tensors of a checkpoint that `check` has passed."""
        model, heads = self._sorted(saved)
        self.model = [value.cpu() for value in self.divided(model)] if model else None
        self.heads = {task: [found[name] for name in self._own[task]] for task, found in heads.items()}

    def joined(self, parts: Weights) -> dict[str, torch.Tensor]:
        """Values of all parameters by name, divided ones as divided tensors. Empty for no values."""
        names = zip(self.parameters.items(), parts, strict=True) if parts else ()
        return {name: joined(parameter, part) for (name, parameter), part in names}

    def divided(self, whole: Mapping[str, torch.Tensor]) -> Weights:
        """Copies of this process's parts of values, in the order of the parameters."""
        return [local(divided_as(parameter, whole[name])) for name, parameter in self.parameters.items()]

    def _sorted(
        self, saved: Mapping[str, torch.Tensor]
    ) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, torch.Tensor]]]:
        """Those of the model, and those of each task that has some."""
        model, heads = {}, dict[str, dict[str, "torch.Tensor"]]()
        for key, value in saved.items():
            task, slash, name = key.partition("/")
            if not slash:
                model[key] = value
            elif task in self._own and name in self._own[task]:
                heads.setdefault(task, {})[name] = value
        return model, heads
