"""The files of a tokenizer: read from a folder, fetched from the hub, or made by transformers from an older format.

Decided here:
- Only the Rust tokenizer is used (`tokenizers`); transformers is imported for an encoder that has no `tokenizer.json`.
- Besides `tokenizer.json` only the files that name special tokens are read, as text, and written again as they were.
- No weights are fetched, and no code of an encoder is run.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import tokenizers

from manyheads.errors import EncoderError

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKENIZER = "tokenizer.json"
CONFIG = "tokenizer_config.json"
SPECIAL = "special_tokens_map.json"
NAMES = {
    "pad_token": ("[PAD]", "<pad>"),
    "unk_token": ("[UNK]", "<unk>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "mask_token": ("[MASK]", "<mask>"),
}
"""How transformers calls special tokens, and their usual spellings, for a tokenizer that comes without names."""

Found = tuple[tokenizers.Tokenizer, dict[str, str]]
"""The Rust tokenizer, and the texts of the files that name special tokens."""

_HUB_FILES = ["*.json", "*.txt", "*.model"]  # every format of tokenizer, and no weights


def in_folder(folder: Path) -> Found:
    """The tokenizer of a folder. Raises EncoderError when it has no `tokenizer.json`, or one that is damaged."""
    path = folder / TOKENIZER
    if not path.is_file():
        raise EncoderError(f"{folder} has no {TOKENIZER}; give the folder of an encoder with its tokenizer")
    files = {name: _checked(folder / name) for name in (CONFIG, SPECIAL) if (folder / name).is_file()}
    try:
        rust = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust library raises bare Exception
        raise EncoderError(f"{path} cannot be read by tokenizers {tokenizers.__version__}: {error}") from None
    return rust, files


def of_encoder(folder_or_id: str | Path, revision: str | None) -> Found:
    """The tokenizer of a local folder or of a hub id.

    Raises EncoderError when there is none, it cannot be reached, or it exists in Python code only.
    """
    folder = Path(folder_or_id)
    if not folder.is_dir():
        folder = _downloaded(str(folder_or_id), revision)
    return in_folder(folder) if (folder / TOKENIZER).is_file() else _converted(folder, str(folder_or_id))


def pad_names(files: Mapping[str, str]) -> list[str]:
    """Names that the padding token may have: those in the files, the configuration first, then the usual ones."""
    values = [json.loads(files[name]).get("pad_token") for name in (CONFIG, SPECIAL) if name in files]
    named = [value["content"] if isinstance(value, dict) else value for value in values if value]
    return [*named, *NAMES["pad_token"]]


def config_text(rust: tokenizers.Tokenizer, *, typed: bool) -> str:
    """A `tokenizer_config.json` for a tokenizer that came without: transformers reads `tokenizer.json` as it is.

    `typed`: the encoder is to be given token types.
    """
    names = {
        key: next((name for name in spellings if rust.token_to_id(name) is not None), None)
        for key, spellings in NAMES.items()
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", *(["token_type_ids"] if typed else []), "attention_mask"],
    }
    return json.dumps(config | {key: name for key, name in names.items() if name}, indent=2) + "\n"


def _checked(path: Path) -> str:
    """The text of a file that holds a JSON object. Raises EncoderError."""
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text)
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} is not JSON ({error}); copy the encoder again") from None
    if not isinstance(found, dict):
        raise EncoderError(f"{path} holds no JSON object; copy the encoder again")
    return text


def _downloaded(hub_id: str, revision: str | None) -> Path:
    """The tokenizer files of a hub id, in the hub's cache. Raises EncoderError."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=_HUB_FILES))
    except (OSError, ValueError) as error:
        at = f" at revision {revision}" if revision else ""
        raise EncoderError(
            f"{hub_id} is no local folder, and as a hub id{at} it cannot be had: {_reason(error)}"
        ) from None


def _converted(folder: Path, name: str) -> Found:
    """What transformers makes of a folder without `tokenizer.json`. Raises EncoderError."""
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:  # whatever a tokenizer class raises over its files
        raise EncoderError(f"{name} has no {TOKENIZER}, and transformers cannot make one: {_reason(error)}") from None
    rust = getattr(found, "backend_tokenizer", None)
    if not isinstance(rust, tokenizers.Tokenizer):
        raise EncoderError(
            f"the tokenizer of {name} ({type(found).__name__}) exists in Python code only and gives no character offsets; "
            f"choose an encoder with a {TOKENIZER}"
        )
    if len(found) <= len(found.all_special_ids):
        raise EncoderError(f"{name} has no tokenizer: neither {TOKENIZER} nor a vocabulary is there")
    with TemporaryDirectory() as saved:
        found.save_pretrained(saved)
        files = {
            file: (Path(saved) / file).read_text("utf-8") for file in (CONFIG, SPECIAL) if (Path(saved) / file).exists()
        }
    return rust, files


def _reason(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
