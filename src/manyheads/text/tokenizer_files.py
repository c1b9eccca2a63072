"""The files of a tokenizer: read from a folder, fetched from the hub, or made by transformers from an older format.

Decided here:
- Only the Rust tokenizer is used (`tokenizers`); transformers is imported for an encoder that has no `tokenizer.json`.
- Besides `tokenizer.json` only the files that name special tokens are read, as text, and written again as they were.
- No weights are fetched, and no code of an encoder is run.
- A tokenizer may come from a stranger: files have a largest size, expressions a form that ends in time (`patterns.py`), texts
  do not grow much, and no id is above those of the encoder beside it.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import tokenizers

from manyheads.errors import EncoderError
from manyheads.text.patterns import refusal
from manyheads.text.plain_files import is_text, leads_out, read_object, size_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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

MOST_BYTES = 48 << 20
"""Of a `tokenizer.json`; the largest of an encoder, mmBERT's, has 34 MB. A vocabulary takes 20 bytes of memory for each."""
MOST_STRINGS = 2_000_000
"""In it: a vocabulary has one for each piece, and two more where the pieces are merged. mmBERT has 1.4 million."""
MOST_PADDING = 1 << 16
MOST_OLDER_BYTES = 16 << 20
MOST_LINES = 1_000_000
"""Of a vocabulary of an older format; multilingual BERT has 120,000."""
MOST_PIECES_BYTES = 6 << 20
"""Of the pieces of a Unigram model, a tree with 150 bytes for each letter. XLM-R's have 2 MB together."""
MOST_SETTINGS_BYTES = 4 << 20
MOST_GROWTH = 64
"""Times that a normalizer may make a text longer, and characters that it may put before it."""
MOST_SPECIALS = 16
"""Tokens that a post-processor adds to a pair of texts; RoBERTa adds four."""
LONGEST_PIECE = 1000

Found = tuple[tokenizers.Tokenizer, dict[str, str]]
"""The Rust tokenizer, and the texts of the files that name special tokens."""

_HUB_FILES = ["*.json", "*.txt", "*.model"]  # every format of tokenizer, and no weights


def in_folder(folder: Path) -> Found:
    """The tokenizer of a folder.

    Raises EncoderError when it has no `tokenizer.json`, or one that is damaged, is not to be trusted, or has ids that the
    encoder whose `config.json` lies beside it does not know.
    """
    path = folder / TOKENIZER
    if not path.is_file():
        raise EncoderError(f"{folder} has no {TOKENIZER}; give the folder of an encoder with its tokenizer")
    files = {name: _settings(folder / name) for name in (CONFIG, SPECIAL) if (folder / name).exists()}
    try:
        _check_file(folder, path)
        rust = tokenizers.Tokenizer.from_file(str(path))
        _check_parts(rust)
        _check_ids(rust, _encoder_of(folder))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the Rust library raises bare Exception, and panics are not even that
        raise EncoderError(
            f"{path} cannot be read by tokenizers {tokenizers.__version__}: {_reason(error)[:300]}"
        ) from None
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
    named = [value["content"] if isinstance(value, dict) else value for value in values if value]  # `_settings` looked
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


def _settings(path: Path) -> str:
    """The text of a file that names special tokens. Raises EncoderError."""
    try:
        if leads_out(path.parent, path):
            raise ValueError("is a link that leaves its folder; put the file itself there")
        padding = read_object(path, MOST_SETTINGS_BYTES).get("pad_token")
        name = padding.get("content") if isinstance(padding, dict) else padding
        if padding is not None and not is_text(name, LONGEST_PIECE):
            raise ValueError("has a 'pad_token' that is no text")
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} {error}; copy the encoder again") from None


def _check_file(folder: Path, path: Path) -> None:
    """Raise ValueError for a file that would take more memory than a tokenizer needs, or that stops the whole process.

    All before the Rust library sees it: what it cannot allocate is no exception there.
    """
    if leads_out(folder, path):
        raise ValueError("it is a link that leaves its folder; put the file itself there")
    size_of(path, MOST_BYTES)
    data = path.read_bytes()
    known = _encoder_of(folder).get("vocab_size")
    most = min(MOST_STRINGS, 100_000 + 4 * known) if isinstance(known, int) else MOST_STRINGS
    strings = data.count(b'"') // 2
    if strings > most:
        raise ValueError(f"it has {strings:,} strings, too many for a vocabulary of {known or MOST_STRINGS:,}")
    if len(data) <= MOST_PIECES_BYTES and b"recompiled" not in data and b"multiple" not in data:
        return
    said = json.loads(data)
    model, padding = said.get("model"), said.get("padding")
    if isinstance(model, dict) and model.get("type") == "Unigram":
        total = sum(len(piece.encode()) for piece, _ in model["vocab"])
        if total > MOST_PIECES_BYTES:
            raise ValueError(f"its pieces have {total:,} bytes together, at most {MOST_PIECES_BYTES:,} are read")
    if isinstance(padding, dict) and not _is_usual(padding):
        raise ValueError(f"it pads to {padding.get('strategy')!r:.80}, which no text needs")
    for part in _parts(said.get("normalizer")):
        if "precompiled_charsmap" in part:
            _check_characters(part["precompiled_charsmap"])


def _is_usual(padding: Mapping[str, Any]) -> bool:
    """Whether padding is to a length that a text can have."""
    strategy, multiple = padding.get("strategy"), padding.get("pad_to_multiple_of")
    fixed = strategy.get("Fixed", 0) if isinstance(strategy, dict) else 0
    return all(value is None or (isinstance(value, int) and value <= MOST_PADDING) for value in (fixed, multiple))


def _check_characters(text: object) -> None:
    """Raise ValueError unless a map of characters is as long as it says: a tree of 32-bit numbers, then texts."""
    data = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    size = int.from_bytes(data[:4], "little")
    if size % 4 or not 0 < size <= len(data) - 4:
        raise ValueError("its precompiled map of characters is damaged")


def _encoder_of(folder: Path) -> Mapping[str, Any]:
    """What the `config.json` beside a tokenizer says of its encoder; nothing when there is none."""
    path = folder / "config.json"
    return read_object(path) if path.is_file() else {}


def _check_parts(rust: tokenizers.Tokenizer) -> None:
    """Raise ValueError for an expression that may never end, and for texts that grow."""
    growth, before = 1, 0
    for part in _parts([_state(rust.normalizer), _state(rust.pre_tokenizer)]):
        pattern = part.get("Regex")
        reason = refusal(pattern) if isinstance(pattern, str) else None
        if reason:
            raise ValueError(f"its expression {pattern!r:.80} may take for ever: it {reason}")
        growth *= max(1, len(part["content"])) if part.get("type") == "Replace" else 1
        before += len(part["prepend"]) if part.get("type") == "Prepend" else 0
    for part in _parts(_state(rust.post_processor)):
        named = {entry["SpecialToken"]["id"] for entry in _parts(part.get("single")) if "SpecialToken" in entry}
        named |= {entry["SpecialToken"]["id"] for entry in _parts(part.get("pair")) if "SpecialToken" in entry}
        if part.get("type") == "TemplateProcessing" and not named <= set(part.get("special_tokens", ())):
            raise ValueError("its template has a special token that it does not describe")
    if growth > MOST_GROWTH or before > MOST_GROWTH:
        raise ValueError(f"its normalizer makes texts more than {MOST_GROWTH} times longer")
    added = rust.num_special_tokens_to_add(is_pair=True)
    if added > MOST_SPECIALS:
        raise ValueError(f"it adds {added} special tokens to each pair of texts, at most {MOST_SPECIALS} are usual")


def _state(part: Any) -> Any:
    """A part of the tokenizer as the JSON that it came from."""
    return {} if part is None else json.loads(part.__getstate__())  # which is there for pickling


def _parts(value: object) -> Iterator[dict[str, Any]]:
    """All objects in a JSON value."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


def _check_ids(rust: tokenizers.Tokenizer, encoder: Mapping[str, Any]) -> None:
    """Raise ValueError for ids and token types that an encoder of this configuration does not have.

    Whatever the Rust library raises over a short text is raised too: one of its characters no vocabulary has.
    """
    unknown = getattr(rust.model, "unk_token", None)
    if unknown is not None and rust.token_to_id(unknown) is None:
        raise ValueError(f"its token for what is unknown, {unknown!r:.80}, is not in its vocabulary")
    probe = rust.encode("a b 1 \U0010fffd", "a b 1")
    size, types = encoder.get("vocab_size"), encoder.get("type_vocab_size")
    highest = max([*rust.get_vocab(with_added_tokens=True).values(), *probe.ids], default=0)
    if isinstance(size, int) and highest >= size:
        raise ValueError(f"it has the id {highest}, but config.json says that the encoder knows {size}")
    if isinstance(types, int) and types > 1 and max(probe.type_ids, default=0) >= types:
        raise ValueError(
            f"it has the token type {max(probe.type_ids)}, but config.json says that the encoder knows {types}"
        )


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
        _check_older(folder)
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


def _check_older(folder: Path) -> None:
    """Raise ValueError for files of older formats that are larger than a tokenizer needs, or lie elsewhere."""
    for path in [path for pattern in _HUB_FILES for path in sorted(folder.glob(pattern))]:
        if leads_out(folder, path):
            raise ValueError(f"{path.name} is a link that leaves its folder")
        size_of(path, MOST_OLDER_BYTES)
        if path.suffix == ".txt" and path.read_bytes().count(b"\n") > MOST_LINES:
            raise ValueError(f"{path.name} has more than {MOST_LINES:,} lines")


def _reason(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
