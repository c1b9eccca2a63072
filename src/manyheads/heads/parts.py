"""One model made of heads of several models over the same encoder. Every head keeps its weights, bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manyheads.errors import UsageError
from manyheads.nn.encoder import PackedEncoder
from manyheads.nn.sharing import Branch, branch_with, names_from_layer, own_parameters

if TYPE_CHECKING:

    from manyheads.bundle import Bundle
    from manyheads.model import MultiTaskModel
    from manyheads.nn.encoder import Encoder
    from manyheads.tasks.base import Task


@dataclass(frozen=True, slots=True)
class Part:
    """Some tasks of a model folder."""

    bundle: Bundle
    names: Mapping[str, str]
    """The tasks taken, and their names in the new model."""
    owns: frozenset[str] = frozenset()
    """Parameters of the encoder that this model trained for its tasks; all others must equal the trunk's."""

    @staticmethod
    def of(bundle: Bundle, names: Iterable[str] | None = None) -> Part:
        """Tasks of a bundle under their own names; None: all of them."""
        return Part(bundle, {name: name for name in (bundle.tasks if names is None else names)})


def assemble(trunk: Bundle, parts: Sequence[Part]) -> tuple[MultiTaskModel, dict[str, Task[Any]]]:
    """A model with the encoder of `trunk` and the tasks of all parts.

    Raises UsageError for a name that two parts share, and for a part with another encoder, tokenizer or window length.
    """
    import torch

    from manyheads.model import MultiTaskModel

    encoder = trunk.model.encoder
    _check_names(parts)
    for part in parts:
        _check_trunk(trunk, part)
    branches = [branch for part in parts for branch in _branches(encoder, part)]
    tasks = {new: part.bundle.tasks[old].renamed(part.names) for part in parts for old, new in part.names.items()}
    for name, task in tasks.items():
        if task.depends_on is not None and task.depends_on not in tasks:
            raise UsageError(f"task '{name}' is about the entities that '{task.depends_on}' finds, and would be left without "
                             f"them; drop '{name}' too")  # fmt: skip
    model = MultiTaskModel(encoder, tasks, branches, layer_mix=bool(trunk.model.mixes))
    with torch.no_grad():
        for part in parts:
            for old, new in part.names.items():
                source = part.bundle.model
                model.heads[new].load_state_dict(source.heads[old].state_dict())
                if new in model.mixes:
                    model.mixes[new].load_state_dict(source.mixes[old].state_dict())
    return model.to(next(encoder.parameters()).device).eval(), tasks


def _check_names(parts: Sequence[Part]) -> None:
    taken: dict[str, Part] = {}
    for part in parts:
        for name in part.names.values():
            if name in taken:
                raise UsageError(f"both {taken[name].bundle.folder} and {part.bundle.folder} have a task '{name}'; use "
                                 "`manyheads rename` first")  # fmt: skip
            taken[name] = part


def _check_trunk(trunk: Bundle, part: Part) -> None:
    """Raise UsageError unless a part stands on the trunk's encoder."""
    other = part.bundle
    if other is trunk:
        return
    changed = changed_parameters(trunk.model.encoder, other.model.encoder)
    if changed is None or not changed <= part.owns:
        which = "is of another architecture" if changed is None else f"has other weights ({min(changed - part.owns)})"
        raise UsageError(f"the encoder of {other.folder} {which} than that of {trunk.folder}; only heads trained on the "
                         "same frozen encoder can be in one model")  # fmt: skip
    for what, ours, theirs in (
        ("windows", trunk.max_length, other.max_length),
        ("a tokenizer", trunk.tokenizer.definition, other.tokenizer.definition),
        ("layer mixes", bool(trunk.model.mixes), bool(other.model.mixes)),
    ):
        if ours != theirs:
            seen = f" ({theirs} and {ours} tokens)" if what == "windows" else ""
            raise UsageError(f"{other.folder} and {trunk.folder} differ in {what}{seen}; only models that read texts alike "
                             "can be one")  # fmt: skip


def changed_parameters(one: Encoder, other: Encoder) -> frozenset[str] | None:
    """Names of the parameters that differ in any bit; None for encoders of different architectures."""
    import torch

    ours, theirs = dict(one.named_parameters()), dict(other.named_parameters())
    if type(one) is not type(other) or {n: p.shape for n, p in ours.items()} != {n: p.shape for n, p in theirs.items()}:
        return None
    return frozenset(name for name, value in ours.items() if not torch.equal(value, theirs[name].to(value.device)))


def _branches(encoder: Encoder, part: Part) -> list[Branch]:
    """The private layers of a part, on the trunk's encoder."""
    model, made = part.bundle.model, []
    for branch in model.branches:
        members = tuple(part.names[name] for name in branch.tasks if name in part.names)
        if not members:
            continue
        name = members[0] if len(members) == 1 else branch.name
        own = own_parameters(branch.encoder, model.encoder)
        made.append(Branch(name, members, branch.start, branch_with(encoder, own)))
    rest = tuple(new for old, new in part.names.items() if model.branch_of(old) is None)
    if part.owns and rest:
        own = {name: value for name, value in model.encoder.named_parameters() if name in part.owns}
        start = first_layer(encoder, part.owns)
        if start and not isinstance(encoder, PackedEncoder):
            raise UsageError(f"all layers of the encoder share position biases, so '{rest[0]}' can only own all of them")
        made.append(Branch(rest[0], rest, start, branch_with(encoder, own)))
    return made


def first_layer(encoder: Encoder, owned: frozenset[str]) -> int:
    """The highest layer below which the encoder owns none of these parameters."""
    return next((k for k in range(encoder.depth - 1, 0, -1) if owned <= names_from_layer(encoder, k)), 0)
