"""A trained model on batches of padded rows, with gradients: for users' own training loops, and for exported graphs.

`MultiTaskModel` itself runs, with transformers' models on padded batches as encoders. So shared and private layers, adapters
and layer mixes work as on packs, and shared layers run once.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from manyheads.model import MultiTaskModel
from manyheads.nn.batch_encoder import BatchEncoder, PaddedBatch, input_names
from manyheads.nn.pretrained import use_stock_modules
from manyheads.text.pack import IDS, MASK, TYPES

if TYPE_CHECKING:
    from manyheads.tasks.base import Task

Outputs = dict[str, dict[str, torch.Tensor]]
"""`{task: {output: tensor}}`; the leading axes are (S, L) for token outputs, (S,) for sequences, none for constants."""


class PaddedModel(nn.Module):
    """A model that takes padded rows and shares all parameters with the model it was made from.

    >>> import manyheads as mh
    >>> module = mh.load("runs/demo").torch_module
    >>> ids = torch.tensor([[2, 9, 8, 3], [2, 7, 3, 0]])
    >>> outputs = module(ids, (ids > 0).long())
    >>> outputs["section"]["logits_SK"].shape, outputs["entities"]["emissions_TK"].shape
    (torch.Size([2, 3]), torch.Size([2, 4, 5]))
    """

    def __init__(self, model: MultiTaskModel, tasks: Mapping[str, Task[Any]]) -> None:
        """`model`: a model on packs. The new module begins in evaluation mode; `train()` switches dropout on here alone."""
        super().__init__()
        self.model = padded(model, tasks)
        self._tasks = dict(tasks)
        self.input_names = input_names(self.model.encoder)
        """Names of the inputs that change the outputs; others are ignored."""
        self.eval()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> Outputs:
        """Outputs of all heads for rows `(S, L)`, padded on the right. Without a mask every token counts."""
        mask_SL = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        inputs = {IDS: input_ids, MASK: mask_SL}
        if token_type_ids is not None and TYPES in self.input_names:
            inputs[TYPES] = token_type_ids
        return padded_outputs(self.model, self._tasks, inputs)


def padded(model: MultiTaskModel, tasks: Mapping[str, Task[Any]]) -> MultiTaskModel:
    """The same model on padded batches. It shares the parameters; its modules and configurations are its own."""
    for stocked in (model.encoder, *(branch.encoder for branch in model.branches)):
        use_stock_modules(stocked)
    values = chain(model.parameters(), *(branch.encoder.parameters() for branch in model.branches))
    shared = {id(value): value for value in values}
    encoder, branches, heads, mixes = copy.deepcopy((model.encoder, model.branches, model.heads, model.mixes), shared)
    with torch.no_grad(), torch.random.fork_rng(devices=()):
        own = [replace(branch, encoder=BatchEncoder(branch.encoder.model)) for branch in branches]
        made = MultiTaskModel(BatchEncoder(encoder.model), tasks, own, layer_mix=bool(mixes))
    made.heads, made.mixes = heads, mixes
    return made


def padded_outputs(
    model: MultiTaskModel, tasks: Mapping[str, Task[Any]], inputs: Mapping[str, torch.Tensor]
) -> Outputs:
    """Outputs of all heads of a model from `padded`."""
    batch: Any = PaddedBatch.of(inputs)
    shape = inputs[MASK].shape
    found = model(batch, dict.fromkeys(tasks, (0, 1)))
    return {
        name: {
            key: found[name][key].view(*shape, *found[name][key].shape[1:]) if level == "token" else found[name][key]
            for key, level in task.outputs.items()
        }
        for name, task in tasks.items()
    }
