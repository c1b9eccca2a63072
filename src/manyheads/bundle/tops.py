"""Private tops: tasks of a finished model get upper layers and a head of their own, and nothing else moves by a bit.

A top is what another model has that was trained from this one's encoder with its lower layers frozen. Tops of several tasks
may differ in depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manyheads.errors import BundleError
from manyheads.nn.encoder import PackedEncoder
from manyheads.nn.sharing import Branch, branched, names_from_layer

if TYPE_CHECKING:
    from manyheads.bundle.folder import Bundle
    from manyheads.model import MultiTaskModel
    from manyheads.nn.encoder import Encoder
    from manyheads.tasks.base import Task


@dataclass(frozen=True, slots=True)
class Top:
    """One task's."""

    bundle: Bundle
    """A model of this task that was trained from the shared encoder."""
    layers: int
    """How many, from the top, are the task's own; 0: its head alone, all of the encoder's: embeddings too."""


def with_tops(bundle: Bundle, tops: Mapping[str, Top]) -> tuple[MultiTaskModel, dict[str, Task[Any]]]:
    """A model that answers all tasks of a bundle, some by tops of their own; with the tasks as they are settled.

    Raises BundleError for a top that does not stand on this encoder, and for a bundle whose tasks own layers already.
    """
    import torch

    from manyheads.model import MultiTaskModel

    if bundle.model.branches or bundle.model.mixes:
        raise BundleError(f"{bundle.folder} has layers of single tasks already; tops can be given to a wholly shared encoder")
    encoder = bundle.model.encoder
    branches = [_branch(encoder, name, top) for name, top in tops.items() if top.layers]
    tasks = {name: tops[name].bundle.tasks[name] if name in tops else task for name, task in bundle.tasks.items()}
    model = MultiTaskModel(encoder, tasks, branches)
    with torch.no_grad():
        for name, head in model.heads.items():
            source = tops[name].bundle if name in tops else bundle
            head.load_state_dict(source.model.heads[name].state_dict())
    for name, top in tops.items():
        if not top.layers:
            _check_shared(encoder, top, frozenset(), name)
    return model.to(next(encoder.parameters()).device).eval(), tasks


def _branch(encoder: Encoder, name: str, top: Top) -> Branch:
    """A branch with the upper layers of a top."""
    start = encoder.depth - top.layers
    if start and not isinstance(encoder, PackedEncoder):
        raise BundleError(f"the encoder's positions run beside all of its layers, so the top of '{name}' must be all of it")
    owned = names_from_layer(encoder, start)
    _check_shared(encoder, top, owned, name)
    branch = Branch(name, (name,), start, branched(encoder, owned.__contains__))
    theirs = dict(top.bundle.model.encoder.named_parameters())
    for key, value in branch.encoder.named_parameters():
        if key in owned:
            value.data.copy_(theirs[key].data)
    return branch


def _check_shared(encoder: Encoder, top: Top, owned: frozenset[str], name: str) -> None:
    """Raise BundleError unless everything that a top does not own is the shared encoder's."""
    import torch

    theirs = dict(top.bundle.model.encoder.named_parameters())
    ours = dict(encoder.named_parameters())
    if set(ours) != set(theirs) or any(
        not torch.equal(value, theirs[key].to(value.device)) for key, value in ours.items() if key not in owned
    ):
        raise BundleError(f"{top.bundle.folder}: the layers of '{name}' below its top are not those of the shared encoder; "
                          "train it from the encoder of that model")  # fmt: skip

