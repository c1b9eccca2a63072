"""The files of a tokenizer: read from a folder, downloaded from the hub, or converted by transformers from an older format.

Only the Rust tokenizer is used (`tokenizers`); transformers is imported for encoders without `tokenizer.json`. Besides that
file only those that name special tokens are read, as text, and written back unchanged. No weights are downloaded, and no code
of an encoder is run. A tokenizer may be untrusted: `tokenizer_checks.py` checks it.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import tokenizers

from manyheads.errors import EncoderError
from manyheads.text.tokenizer_checks import check_file, check_ids, check_parts, encoder_config
from manyheads.text.untrusted_files import checked_size, is_text, leaves_folder, read_object

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
"""transformers' names of special tokens, and their usual spellings, for a tokenizer without names."""

MOST_OLDER_BYTES = 16 << 20
MOST_LINES = 1_000_000
"""Of a vocabulary in an older format; multilingual BERT has 120,000."""
MOST_SETTINGS_BYTES = 4 << 20
LONGEST_PIECE = 1000

Found = tuple[tokenizers.Tokenizer, dict[str, str]]
"""The Rust tokenizer, and the texts of the files that name special tokens."""

_HUB_FILES = ["*.json", "*.txt", "*.model"]  # every tokenizer format, and no weights


def in_folder(folder: Path) -> Found:
    """The tokenizer of a folder.

    Raises EncoderError if `tokenizer.json` is missing, damaged or unsafe, or has ids that the encoder in the same folder
    does not have.
    """
    path = folder / TOKENIZER
    if not path.is_file():
        raise EncoderError(f"{folder} has no {TOKENIZER}; give the folder of an encoder with its tokenizer")
    files = {name: _settings(folder / name) for name in (CONFIG, SPECIAL) if (folder / name).exists()}
    try:
        check_file(folder, path)
        rust = tokenizers.Tokenizer.from_file(str(path))
        check_parts(rust)
        check_ids(rust, encoder_config(folder))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the Rust library raises bare Exception, and panics are not even that
        raise EncoderError(
            f"{path} cannot be read by tokenizers {tokenizers.__version__}: {_reason(error)[:300]}"
        ) from None
    return rust, files


def of_encoder(folder_or_id: str | Path, revision: str | None) -> Found:
    """The tokenizer of a local folder or of a hub id.

    Raises EncoderError if there is none, it cannot be reached, or it exists only as Python code.
    """
    folder = Path(folder_or_id)
    if not folder.is_dir():
        folder = _downloaded(str(folder_or_id), revision)
    return in_folder(folder) if (folder / TOKENIZER).is_file() else _converted(folder, str(folder_or_id))


def pad_names(files: Mapping[str, str]) -> list[str]:
    """Possible names of the padding token: those in the files, the configuration first, then the usual ones."""
    values = [json.loads(files[name]).get("pad_token") for name in (CONFIG, SPECIAL) if name in files]
    named = [value["content"] if isinstance(value, dict) else value for value in values if value]  # see `_settings`
    return [*named, *NAMES["pad_token"]]


def config_text(rust: tokenizers.Tokenizer, *, typed: bool) -> str:
    """A `tokenizer_config.json` for a tokenizer without one, with which transformers reads `tokenizer.json` as it is.

    `typed`: the encoder takes token types.
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


def _settings(path: Path) -> str:
    """The text of a file that names special tokens. Raises EncoderError."""
    try:
        if leaves_folder(path.parent, path):
            raise ValueError("is a link that leaves its folder; put the file itself there")
        padding = read_object(path, MOST_SETTINGS_BYTES).get("pad_token")
        name = padding.get("content") if isinstance(padding, dict) else padding
        if padding is not None and not is_text(name, LONGEST_PIECE):
            raise ValueError("has a 'pad_token' that is not a text")
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} {error}; copy the encoder again") from None


def _downloaded(hub_id: str, revision: str | None) -> Path:
    """The tokenizer files of a hub id, in the hub's cache. Raises EncoderError."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=_HUB_FILES))
    except (OSError, ValueError) as error:
        at = f" at revision {revision}" if revision else ""
        raise EncoderError(
            f"{hub_id} is not a local folder, and cannot be loaded from the hub{at}: {_reason(error)}"
        ) from None


def _converted(folder: Path, name: str) -> Found:
    """The tokenizer that transformers makes of a folder without `tokenizer.json`. Raises EncoderError."""
    from transformers import AutoTokenizer

    try:
        _check_older(folder)
        found = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:  # tokenizer classes raise anything over their files
        raise EncoderError(f"{name} has no {TOKENIZER}, and transformers cannot make one: {_reason(error)}") from None
    rust = getattr(found, "backend_tokenizer", None)
    if not isinstance(rust, tokenizers.Tokenizer):
        raise EncoderError(
            f"the tokenizer of {name} ({type(found).__name__}) exists only as Python code and gives no character offsets; "
            f"choose an encoder with a {TOKENIZER}"
        )
    if len(found) <= len(found.all_special_ids):
        raise EncoderError(f"{name} has no tokenizer: there is neither {TOKENIZER} nor a vocabulary")
    with TemporaryDirectory() as saved:
        found.save_pretrained(saved)
        paths = [Path(saved) / name for name in (CONFIG, SPECIAL)]
        return rust, {path.name: path.read_text("utf-8") for path in paths if path.exists()}


def _check_older(folder: Path) -> None:
    """Raise ValueError for files of older formats that are too large for a tokenizer, or outside of the folder."""
    for path in [path for pattern in _HUB_FILES for path in sorted(folder.glob(pattern))]:
        if leaves_folder(folder, path):
            raise ValueError(f"{path.name} is a link that leaves its folder")
        checked_size(path, MOST_OLDER_BYTES)
        if path.suffix == ".txt" and path.read_bytes().count(b"\n") > MOST_LINES:
            raise ValueError(f"{path.name} has more than {MOST_LINES:,} lines")


def _reason(error: BaseException) -> str:
    """The first line of an error message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
