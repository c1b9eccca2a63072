"""The encoder in a model folder: its base weights, what tasks own of them, and adapters.

A folder may leave the base weights out and name where they are; they must then have the sha256 they had in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.bundle.manifest import ADAPTERS, BRANCHES, ENCODER, MANIFEST, SHARED, Base, Owner, Sharing
from manyheads.errors import BundleError, EncoderError

if TYPE_CHECKING:
    import torch

    from manyheads.model import MultiTaskModel
    from manyheads.nn.encoder import Encoder
    from manyheads.nn.lora import Adapter
    from manyheads.nn.sharing import Branch


@dataclass(frozen=True, slots=True)
class Apart:
    """Adapters that are written beside the base weights instead of merged into them."""

    adapters: Mapping[str, Adapter]
    """By the branch that each belongs to, or `shared`."""
    weights: Mapping[str, torch.Tensor]
    """Weights of the shared encoder as they were before the adapter was merged, by their names in its model."""
    base: Base | None
    """Set: the base weights are left out of the folder."""


def sharing_in(model: MultiTaskModel, apart: Apart | None, folder: Path) -> Sharing:
    """The sharing of a model that is saved to a folder."""
    base = apart.base if apart else None
    return Sharing(
        bool(model.mixes),
        {branch.name: Owner(branch.tasks, branch.start) for branch in model.branches},
        tuple(sorted(apart.adapters)) if apart else (),
        base.seen_from(folder) if base else None,
    )


def write_base(encoder: Encoder, folder: Path, apart: Apart | None) -> None:
    """The encoder with its base weights in the place of merged ones; its configuration alone where they are elsewhere."""
    from manyheads.nn.encoder import save_encoder

    if apart is not None and apart.base is not None:
        for stale in folder.glob("*.safetensors"):  # of a run that was broken off: they would be taken for the base
            stale.unlink()
        encoder.config.save_pretrained(folder)
        return
    base = apart.weights if apart else {}
    merged = {name: encoder.model.get_parameter(name) for name in base}
    kept = {name: parameter.data for name, parameter in merged.items()}
    for name, parameter in merged.items():
        parameter.data = base[name]
    try:
        save_encoder(encoder, folder)
    finally:
        for name, parameter in merged.items():
            parameter.data = kept[name]


def owned_weights(model: MultiTaskModel) -> dict[str, torch.Tensor]:
    """What each branch owns, as `BRANCH/parameter`."""
    from manyheads.nn.sharing import own_parameters

    return {
        f"{branch.name}/{name}": value.detach()
        for branch in model.branches
        for name, value in own_parameters(branch.encoder, model.encoder).items()
    }


def base_folder(folder: Path, base: Base | None) -> str:
    """Where the encoder's weights are. Raises BundleError when a base elsewhere is not there, or not the one it was.

    Tried in this order: the folder's own encoder/, the path from the folder, and all that encoders are found in.
    """
    from manyheads.nn.locate import locate_encoder

    own = folder / ENCODER
    if base is None:
        return str(own)
    beside = folder / base.name
    near = own if any(own.glob("*.safetensors")) else beside if (beside / "config.json").is_file() else base.name
    try:
        found = locate_encoder(str(near), base.revision).path_or_id
    except EncoderError as error:
        raise BundleError(f"{folder} holds adapters without the weights of their base '{base.name}': {error}. "
                          f"Put the .safetensors files of the base into {own}") from None  # fmt: skip
    if set(base.files) != {path.name for path in Path(found).glob("*.safetensors")} or (
        Base.of(base.name, base.revision, Path(found)).files != base.files
    ):
        raise BundleError(f"{folder} holds adapters for '{base.name}', but the weights in {found} are others (their sha256 "
                          f"differs); put the .safetensors files of the encoder it was trained on into {own}")  # fmt: skip
    return found


def read_branches(folder: Path, sharing: Sharing, encoder: Encoder) -> list[Branch]:
    """Branches with their own weights. Adapters are merged as they are read, the shared one into the encoder."""
    from manyheads.nn.lora import read_adapter
    from manyheads.nn.sharing import Branch, branched

    owned = _owned_in(folder, sharing)
    made = []
    for name, owner in sharing.branches.items():
        own = owned.pop(name, {})
        if owner.start >= encoder.depth:
            raise BundleError(f"{folder / MANIFEST}: branch '{name}' starts at layer {owner.start}, but the encoder has "
                              f"{encoder.depth} layers; the model folder is damaged")  # fmt: skip
        branch = Branch(name, owner.tasks, owner.start, branched(encoder, own.__contains__))
        _put_in(branch, own, encoder, folder / BRANCHES)
        if name in sharing.adapters:
            read_adapter(branch.encoder, folder / ADAPTERS / name)
        made.append(branch)
    if owned:
        raise BundleError(f"{folder / BRANCHES} has weights of '{next(iter(owned))}', which {MANIFEST} does not name")
    if not made and SHARED in sharing.adapters:
        read_adapter(encoder, folder / ADAPTERS / SHARED)
    return made


def _owned_in(folder: Path, sharing: Sharing) -> dict[str, dict[str, torch.Tensor]]:
    """The weights of each branch that has some of its own besides adapters. Raises BundleError when one has none."""
    own_some = set(sharing.branches) - set(sharing.adapters)
    owned: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in (read_weights(folder / BRANCHES) if own_some else {}).items():
        name, _, parameter = key.partition("/")
        owned.setdefault(name, {})[parameter] = value
    lacking = sorted(own_some - set(owned))
    if lacking:
        raise BundleError(f"{folder / BRANCHES} has no weights of '{lacking[0]}'; the model folder is damaged")
    return owned


def _put_in(branch: Branch, own: Mapping[str, Any], encoder: Encoder, file: Path) -> None:
    """Copy weights into a branch. Raises BundleError for one that has no place above the shared layers."""
    from manyheads.nn.sharing import names_from_layer

    known = dict(branch.encoder.named_parameters())
    above = names_from_layer(encoder, branch.start)
    for parameter, value in own.items():
        if parameter not in above or known[parameter].shape != value.shape:
            raise BundleError(
                f"{file} does not fit the encoder at {branch.name}/{parameter}; the model folder is damaged"
            )
        known[parameter].data.copy_(value)


def read_weights(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file. Raises BundleError when it is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found: dict[str, torch.Tensor] = load_file(file)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise BundleError(f"{file} cannot be read ({error}); the model folder is damaged") from None
    return found
