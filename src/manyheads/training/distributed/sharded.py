"""Encoder layers divided among processes with FSDP2 (`torch.distributed.fsdp.fully_shard`), for encoders too large for a GPU.

Weights, gradients and moments of the layers are divided (Rajbhandari et al. 2020; Zhao et al. 2023): 16 bytes a parameter
become 16 / N. A layer is gathered while it is computed.

Decided here:
- Embeddings and heads stay whole in every process, and their gradients are summed as in any run of several (`team.py`).
- A process waits for the others in every layer, forward and backward, so all must run through the layers equally often: a
  process with fewer packs than another reads a few tokens whose gradient is 0, and so does every loss that has none.
- Gradients are summed and divided after each pack, not once a step: until then they would have to be whole, in the memory
  that is to be saved.
- Process 0 evaluates alone and puts whole layers in place of the divided ones for it, which needs 4 bytes a parameter: the
  finished model has to fit on one device to be of use.
- Outside of steps all tensors are whole: a run can resume from a checkpoint with divided layers or without.
- Under bf16 autocast keeps a copy of a layer's weights from its forward to its backward pass, 2 bytes a parameter of the
  whole model; gradient checkpointing avoids it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from manyheads.nn.encoder import Encoder
from manyheads.training.distributed.team import Team
from manyheads.training.parts import Part

T = TypeVar("T")


class Sharded:
    """The layers of an encoder, divided among the processes of a team."""

    def __init__(self, encoder: Encoder, parts: Sequence[Part], optimizer: torch.optim.Optimizer, team: Team) -> None:
        """Divide the layers in place; every process has them with the same weights. A collective call.

        The layers get new parameters, and so do the optimizer, before its first step, and the attribute `parts`.
        """
        layers = encoder.layer_modules()
        names = {id(module): name for name, module in encoder.named_modules()}
        before = [p for layer in layers for p in layer.parameters()]
        self.team = team
        self.device = before[0].device
        self._encoder = encoder
        self._names = [names[id(layer)] for layer in layers]
        self._plain = [_emptied(copy.deepcopy(layer)) for layer in layers]
        mesh = init_device_mesh(self.device.type, (team.size,))
        for layer in layers:
            sharded = fully_shard(layer, mesh=mesh, reshard_after_forward=True)
            sharded.set_gradient_divide_factor(1.0)  # losses are divided by the whole step's denominators already
            sharded.set_force_sum_reduction_for_comms(enable=True)  # gloo has no other
        self._layers = layers
        self._root = _Root(layers)
        self._fsdp: FSDPModule = fully_shard(self._root, mesh=mesh)
        self._root(lambda: None)  # FSDP takes whatever runs first for the outermost module
        new = dict(zip(map(id, before), (p for layer in layers for p in layer.parameters()), strict=True))
        self.parts = [replace(part, parameters=tuple(new.get(id(p), p) for p in part.parameters)) for part in parts]
        for group in optimizer.param_groups:
            group["params"] = [new.get(id(p), p) for p in group["params"]]

    def evened(self, packs: Sequence[T], idle: Callable[[], T]) -> list[T]:
        """A step's packs, with `idle` ones up to the number of the process with the most.

        A collective call, at the beginning of each step.
        """
        self._fsdp.reset_iter_state()  # passes without a backward pass left their order of fetching layers
        counts = torch.zeros(self.team.size, dtype=torch.int32)
        counts[self.team.rank] = len(packs)
        missing = int(self.team.sum(counts).max()) - len(packs)
        return [*packs, *(idle() for _ in range(missing))]

    def passed(self, act: Callable[[], T]) -> tuple[T, torch.Tensor]:
        """The result of `act`, a pass through all layers, and a 0 whose gradient, also 0, goes back through all of them."""
        found: list[T] = []
        tops: list[torch.Tensor] = []
        hook = self._layers[-1].register_forward_hook(
            lambda _, __, out: tops.append(out[0] if isinstance(out, tuple) else out)
        )
        try:
            self._root(lambda: found.append(act()))
        finally:
            hook.remove()
        return found[0], tops[-1][..., :0].float().sum()  # not 0 times a value, which is NaN for infinity

    @contextmanager
    def whole(self) -> Iterator[None]:
        """A context in which process 0 has whole, plain layers in the encoder. A collective call."""
        divided = self.put_together()
        try:
            yield
        finally:
            if self.team.leads:
                self._put(divided)
                for plain in self._plain:
                    _emptied(plain)

    def put_together(self) -> list[nn.Module]:
        """Put plain layers into the encoder of process 0, for good; returns the divided layers. A collective call."""
        for layer, plain in zip(self._layers, self._plain, strict=True):
            values = gathered({name: p.detach() for name, p in layer.named_parameters()}, self.team.leads, self.device)
            if self.team.leads:
                plain.load_state_dict(values, strict=False, assign=True)
                plain.to(self.device).requires_grad_(requires_grad=False)
        if self.team.leads:
            self._put(self._plain)
        return self._layers

    def _put(self, layers: Sequence[nn.Module]) -> None:
        for name, layer in zip(self._names, layers, strict=True):
            self._encoder.set_submodule(name, layer)


class _Root(nn.Module):
    """The outermost module that FSDP needs: what runs in it shares streams, and each layer is fetched ahead."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, act: Callable[[], None]) -> None:
        """Return nothing: FSDP looks for gradients in outputs."""
        act()


def _emptied(layer: nn.Module) -> nn.Module:
    """A layer whose parameters take no memory."""
    shapes = {name: torch.empty_like(p, device="meta") for name, p in layer.named_parameters()}
    layer.load_state_dict(shapes, strict=False, assign=True)
    return layer


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether this process has only a part of a tensor."""
    return isinstance(tensor, DTensor)


def local(tensor: torch.Tensor) -> torch.Tensor:
    """This process's part of a tensor, sharing its memory; the tensor itself if it is not divided."""
    return tensor.to_local().detach() if isinstance(tensor, DTensor) else tensor


def divided_as(like: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """A copy of `whole` on the device of `like`, divided like it if it has its shape (a step count has not)."""
    if not isinstance(like, DTensor) or whole.shape != like.shape:
        return whole.to(like.device, copy=True)
    part = distribute_tensor(whole.to(like.device, copy=True), like.device_mesh, like.placements, src_data_rank=None)
    return joined(like, local(part).clone())  # not a view, which would keep all of it


def joined(like: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """The tensor, divided like `like`, of which this process has `part`; `part` itself where `like` is plain."""
    if not isinstance(like, DTensor):
        return part
    return DTensor.from_local(part.to(like.device), like.device_mesh, like.placements, run_check=False,
                              shape=like.shape, stride=like.stride())  # fmt: skip


def gathered(
    tensors: Mapping[str, torch.Tensor], leads: bool, device: torch.device | str = "cpu"
) -> dict[str, torch.Tensor]:
    """The tensors, with divided ones whole on a device in the process that leads and left out in the others.

    A collective call, with the same names in the same order. Only one tensor at a time is whole in the other processes.
    """
    found = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, DTensor):
            found[name] = tensor
            continue
        whole = tensor.full_tensor()
        if leads:
            found[name] = whole.to(device)
    return found


@torch.no_grad()
def clip_sharded(parameters: Sequence[nn.Parameter], most: float, team: Team) -> torch.Tensor:
    """Clip gradients, divided ones among them, to a global norm; returns the norm before that, as torch does."""
    gradients = [(is_sharded(p), local(p.grad)) for p in parameters if p.grad is not None]
    plain, parts = ([gradient for sharded, gradient in gradients if sharded is wanted] for wanted in (False, True))
    device = gradients[0][1].device
    squares = team.sum(torch.nn.utils.get_total_norm(parts).to(device) ** 2)
    norm = (squares + torch.nn.utils.get_total_norm(plain).to(device) ** 2).sqrt()
    factor = (most / (norm + 1e-6)).clamp(max=1.0)
    for _, gradient in gradients:
        gradient.mul_(factor)
    return norm
