"""Layers of which each process holds a part: FSDP2 (`torch.distributed.fsdp.fully_shard`) for encoders that outgrow one GPU.

Weights, gradients and moments of the encoder's layers are divided among the processes (Rajbhandari et al. 2020; Zhao et al.
2023): 16 bytes a parameter become 16 / N. A layer is put together for as long as it is computed.

Decided here:
- Embeddings and heads stay whole in every process, and their gradients are added up as in any run of several (`team.py`).
- A process waits for the others in every layer, forward and backward. So all run through the layers equally often: a process
  with fewer packs than another reads a few tokens whose gradient is 0, and so does every loss that has none.
- Gradients are summed up and divided among the processes after each pack, not once a step: until then they would have to be
  whole, in the memory that is to be spared.
- Process 0 evaluates alone, as ever, and puts whole layers in place of the divided ones for it, which needs 4 bytes a
  parameter: the model that comes of the run has to fit on one device to be used at all.
- Outside of steps all tensors are whole: a run can go on from a checkpoint with divided layers or without.
- Under bf16 autocast keeps a copy of a layer's weights from its forward to its backward pass, 2 bytes a parameter of the
  whole model; gradient checkpointing spares it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from manyheads.text.pack import Pack, Segments
from manyheads.training.batches import Batch

if TYPE_CHECKING:
    from manyheads.nn.encoder import Encoder
    from manyheads.training.parts import Part
    from manyheads.training.team import Team

T = TypeVar("T")

IDLE_TOKENS = 2
"""Of a pack that is read to keep the others company."""


class Sharded:
    """The layers of an encoder, divided among the processes of a team."""

    def __init__(self, encoder: Encoder, parts: Sequence[Part], optimizer: torch.optim.Optimizer, team: Team) -> None:
        """Divides the layers in place, which every process has with the same weights. All processes must make one.

        The layers get other parameters by it: so does the optimizer, before its first step, and so do the `parts` that
        are found here afterwards.
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
            sharded.set_force_sum_reduction_for_comms(enable=True)  # gloo knows no other
        self._layers = layers
        self._root = _Root(layers)
        self._fsdp: FSDPModule = fully_shard(self._root, mesh=mesh)
        self._root(lambda: None)  # FSDP takes whatever runs first for the outermost module
        heirs = dict(zip(map(id, before), (p for layer in layers for p in layer.parameters()), strict=True))
        self.parts = [replace(part, parameters=tuple(heirs.get(id(p), p) for p in part.parameters)) for part in parts]
        for group in optimizer.param_groups:
            group["params"] = [heirs.get(id(p), p) for p in group["params"]]

    def evened(self, packs: Sequence[Batch]) -> list[Batch]:
        """A step's packs, as many as the process with the most has. All must ask, at the beginning of each step."""
        self._fsdp.reset_iter_state()  # what passes without a backward pass left: the order to fetch layers in
        counts = torch.zeros(self.team.size, dtype=torch.int32)
        counts[self.team.rank] = len(packs)
        missing = int(self.team.add_up(counts).max()) - len(packs)
        return [*packs, *[_idle()] * missing]

    def passed(self, act: Callable[[], T]) -> tuple[T, torch.Tensor]:
        """What `act`, a pass through all layers, comes to; and a 0 whose gradient, 0 too, goes back through all of them."""
        found: list[T] = []
        tops: list[torch.Tensor] = []
        listening = self._layers[-1].register_forward_hook(
            lambda _, __, out: tops.append(out[0] if isinstance(out, tuple) else out)
        )
        try:
            self._root(lambda: found.append(act()))
        finally:
            listening.remove()
        return found[0], tops[-1][..., :0].float().sum()  # not 0 times something, which is not 0 for infinity

    @contextmanager
    def whole(self) -> Iterator[None]:
        """A context in which the process that leads has plain layers in the encoder, whole. All must enter it."""
        divided = self.put_together()
        try:
            yield
        finally:
            if self.team.leads:
                self._put(divided)
                for plain in self._plain:
                    _emptied(plain)

    def put_together(self) -> list[nn.Module]:
        """Put plain layers into the encoder of the process that leads, for good. All must ask. The divided layers."""
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
    """The outermost module, as FSDP wants one: what runs in it shares streams, and each layer is fetched ahead."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, act: Callable[[], None]) -> None:
        """Give back nothing: FSDP looks for gradients in what it is given."""
        act()


def _emptied(layer: nn.Module) -> nn.Module:
    """A layer whose parameters take no memory."""
    shapes = {name: torch.empty_like(p, device="meta") for name, p in layer.named_parameters()}
    layer.load_state_dict(shapes, strict=False, assign=True)
    return layer


def _idle() -> Batch:
    """A pack that no task reads."""
    nothing_T = torch.zeros(IDLE_TOKENS, dtype=torch.int64)
    return Batch(Pack(nothing_T, torch.arange(IDLE_TOKENS), nothing_T, Segments.of([IDLE_TOKENS])), {}, {}, {}, {})


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether a process has only a part of it."""
    return isinstance(tensor, DTensor)


def local(tensor: torch.Tensor) -> torch.Tensor:
    """The part of a tensor that this process has, sharing its memory; all of one that is not divided."""
    return tensor.to_local().detach() if isinstance(tensor, DTensor) else tensor


def divided_as(like: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """A copy of a tensor on the device of another one, and divided like it if it has its shape (a count of steps has not)."""
    if not isinstance(like, DTensor) or whole.shape != like.shape:
        return whole.to(like.device, copy=True)
    part = distribute_tensor(whole.to(like.device, copy=True), like.device_mesh, like.placements, src_data_rank=None)
    return joined(like, local(part).clone())  # not a view, which would keep all of it


def joined(like: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """The tensor, divided as another one is, of which this process has the part `part`; `part` itself for plain ones."""
    if not isinstance(like, DTensor):
        return part
    return DTensor.from_local(part.to(like.device), like.device_mesh, like.placements, run_check=False,
                              shape=like.shape, stride=like.stride())  # fmt: skip


def gathered(
    tensors: Mapping[str, torch.Tensor], leads: bool, device: torch.device | str = "cpu"
) -> dict[str, torch.Tensor]:
    """The tensors with divided ones put together on a device in the process that leads; others get none of those.

    All must ask, for the same names in the same order. One at a time is whole where it is not wanted.
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
def clipped(parameters: Sequence[nn.Parameter], most: float, team: Team) -> torch.Tensor:
    """Clip gradients to a global norm, those of divided parameters among them; the norm before that, as in torch's own."""
    gradients = [(is_sharded(p), local(p.grad)) for p in parameters if p.grad is not None]
    plain, parts = ([gradient for sharded, gradient in gradients if sharded is wanted] for wanted in (False, True))
    device = gradients[0][1].device
    squares = team.add_up(torch.nn.utils.get_total_norm(parts).to(device) ** 2)
    norm = (squares + torch.nn.utils.get_total_norm(plain).to(device) ** 2).sqrt()
    factor = (most / (norm + 1e-6)).clamp(max=1.0)
    for _, gradient in gradients:
        gradient.mul_(factor)
    return norm
