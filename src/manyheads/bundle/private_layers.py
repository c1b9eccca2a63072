"""Private upper layers for tasks of a finished model, taken with the head from another model. The rest stays bit for bit.

The other model must have been trained from this one's encoder with its lower layers frozen. Tasks may differ in the number of
private layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manyheads.errors import BundleError
from manyheads.nn.encoder import PackedEncoder
from manyheads.nn.sharing import Branch, branch_with, names_from_layer

if TYPE_CHECKING:
    from manyheads.bundle.folder import Bundle
    from manyheads.model import MultiTaskModel
    from manyheads.nn.encoder import Encoder
    from manyheads.tasks.base import Task


@dataclass(frozen=True, slots=True)
class PrivateLayers:
    """The private layers of one task."""

    bundle: Bundle
    """The model with these layers, trained on this task from the shared encoder."""
    layers: int
    """Number of private layers, from the top. 0: the head alone; all layers: the embeddings too."""


def with_private_layers(
    bundle: Bundle, private: Mapping[str, PrivateLayers]
) -> tuple[MultiTaskModel, dict[str, Task[Any]]]:
    """A model for all tasks of a bundle, some of them with private layers; and the tasks with their final settings.

    Raises BundleError for layers that were not trained on this encoder, and for a bundle whose tasks own layers already.
    """
    import torch

    from manyheads.model import MultiTaskModel

    if bundle.model.branches or bundle.model.mixes:
        raise BundleError(f"{bundle.folder} has private layers already; others need a fully shared encoder")
    encoder = bundle.model.encoder
    branches = [branch for name, own in private.items() if (branch := _branch(encoder, name, own)) is not None]
    tasks = {name: private[name].bundle.tasks[name] if name in private else task for name, task in bundle.tasks.items()}
    model = MultiTaskModel(encoder, tasks, branches)
    with torch.no_grad():
        for name, head in model.heads.items():
            source = private[name].bundle if name in private else bundle
            head.load_state_dict(source.model.heads[name].state_dict())
    return model.to(next(encoder.parameters()).device).eval(), tasks


def _branch(encoder: Encoder, name: str, own: PrivateLayers) -> Branch | None:
    """A branch with the private layers of a task, if it has some. Raises BundleError unless the rest equals the encoder."""
    import torch

    start = encoder.depth - own.layers
    if own.layers and start and not isinstance(encoder, PackedEncoder):
        raise BundleError(f"all layers of the encoder share position biases, so '{name}' can only own all of them")
    owned = names_from_layer(encoder, start) if own.layers else frozenset()
    ours, theirs = (dict(one.named_parameters()) for one in (encoder, own.bundle.model.encoder))
    if set(ours) != set(theirs) or any(
        not torch.equal(value, theirs[key].to(value.device)) for key, value in ours.items() if key not in owned
    ):
        raise BundleError(f"{own.bundle.folder}: the layers below the private ones of '{name}' differ from the shared "
                          "encoder; train it from the encoder of that model")  # fmt: skip
    if not owned:
        return None
    return Branch(name, (name,), start, branch_with(encoder, {key: theirs[key] for key in owned}))
