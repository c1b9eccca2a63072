"""The encoder in a model folder: base weights, weights that tasks own, adapters.

A folder may leave the base weights out and name their location; they must then have the sha256 they had in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.bundle.manifest import ADAPTERS, BRANCHES, ENCODER, MANIFEST, SHARED
from manyheads.bundle.sharing import Base, Owner, Sharing
from manyheads.errors import BundleError, EncoderError

if TYPE_CHECKING:
    import torch

    from manyheads.model import MultiTaskModel
    from manyheads.nn.encoder import Encoder
    from manyheads.nn.lora import Adapter
    from manyheads.nn.sharing import Branch


@dataclass(frozen=True, slots=True)
class UnmergedAdapters:
    """Adapters that are saved beside the base weights instead of merged into them."""

    by_branch: Mapping[str, Adapter]
    """By branch name, or `shared`."""
    weights: Mapping[str, torch.Tensor]
    """Weights of the shared encoder before the adapter was merged into them, by parameter name."""
    base: Base | None
    """If set, the base weights are left out of the folder."""


def saved_sharing(model: MultiTaskModel, adapters: UnmergedAdapters | None, folder: Path) -> Sharing:
    """The sharing of a model that is saved to a folder."""
    base = adapters.base if adapters else None
    return Sharing(
        bool(model.mixes),
        {branch.name: Owner(branch.tasks, branch.start) for branch in model.branches},
        tuple(sorted(adapters.by_branch)) if adapters else (),
        base.relative_to(folder) if base else None,
    )


def write_base(encoder: Encoder, folder: Path, adapters: UnmergedAdapters | None) -> None:
    """Write the encoder with its weights from before merging; only its configuration if the base is stored elsewhere."""
    from manyheads.nn.pretrained import save_encoder

    if adapters is not None and adapters.base is not None:
        for stale in folder.glob("*.safetensors"):  # left by an interrupted run, they would be taken for the base
            stale.unlink()
        encoder.config.save_pretrained(folder)
        return
    base = adapters.weights if adapters else {}
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
    """Parameters that branches own, as `BRANCH/parameter`."""
    from manyheads.nn.sharing import own_parameters

    return {
        f"{branch.name}/{name}": value.detach()
        for branch in model.branches
        for name, value in own_parameters(branch.encoder, model.encoder).items()
    }


def base_folder(folder: Path, base: Base | None) -> str:
    """Location of the encoder's weights. Raises BundleError for a base that is not found, or has changed since training.

    Tries the folder's own encoder/, then the path relative to the folder, then the usual places for encoders.
    """
    from manyheads.nn.resolve_encoder import resolve_encoder

    own = folder / ENCODER
    if base is None:
        return str(own)
    beside = folder / base.name
    near = own if any(own.glob("*.safetensors")) else beside if (beside / "config.json").is_file() else base.name
    try:
        found = resolve_encoder(str(near), base.revision).path_or_id
    except EncoderError as error:
        raise BundleError(f"{folder} holds adapters without the weights of their base '{base.name}': {error}. "
                          f"Put the .safetensors files of the base into {own}") from None  # fmt: skip
    if Base.of(base.name, base.revision, Path(found)).files != base.files:
        raise BundleError(f"{folder} holds adapters for '{base.name}', but the weights in {found} are others (their sha256 "
                          f"differs); put the .safetensors files of the encoder it was trained on into {own}")  # fmt: skip
    return found


def read_branches(folder: Path, sharing: Sharing, encoder: Encoder) -> list[Branch]:
    """Branches with their own weights. Adapters are merged right away, the shared one into the encoder."""
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
        _copy_into(branch, own, encoder, folder / BRANCHES)
        if name in sharing.adapters:
            read_adapter(branch.encoder, folder / ADAPTERS / name)
        made.append(branch)
    if owned:
        raise BundleError(f"{folder / BRANCHES} has weights of '{next(iter(owned))}', which {MANIFEST} does not name")
    if not made and SHARED in sharing.adapters:
        read_adapter(encoder, folder / ADAPTERS / SHARED)
    return made


def _owned_in(folder: Path, sharing: Sharing) -> dict[str, dict[str, torch.Tensor]]:
    """Weights of each branch that owns more than adapters. Raises BundleError if they are missing."""
    expected = set(sharing.branches) - set(sharing.adapters)
    owned: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in (read_weights(folder / BRANCHES) if expected else {}).items():
        name, _, parameter = key.partition("/")
        owned.setdefault(name, {})[parameter] = value
    missing = sorted(expected - set(owned))
    if missing:
        raise BundleError(f"{folder / BRANCHES} has no weights of '{missing[0]}'; the model folder is damaged")
    return owned


def _copy_into(branch: Branch, own: Mapping[str, Any], encoder: Encoder, file: Path) -> None:
    """Copy weights into a branch. Raises BundleError for weights that do not belong above the shared layers."""
    from manyheads.nn.sharing import names_from_layer

    known = dict(branch.encoder.named_parameters())
    above = names_from_layer(encoder, branch.start)
    for parameter, value in own.items():
        if parameter not in above or known[parameter].shape != value.shape:
            raise BundleError(f"{file} does not fit the encoder at {branch.name}/{parameter}; it is damaged")
        known[parameter].data.copy_(value)


def read_weights(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file. Raises BundleError if it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found: dict[str, torch.Tensor] = load_file(file)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise BundleError(f"{file} cannot be read ({error}); the model folder is damaged") from None
    return found
