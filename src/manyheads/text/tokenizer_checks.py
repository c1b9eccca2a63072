"""Checks of an untrusted tokenizer.

Files have a maximum size, regular expressions a form that ends in time (`patterns.py`), normalizers may not lengthen texts
much, and no id exceeds those of the encoder in the same folder.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.text.patterns import refusal
from manyheads.text.untrusted_files import checked_size, leaves_folder, read_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import tokenizers

MOST_BYTES = 48 << 20
"""Of a `tokenizer.json`; the largest of an encoder, mmBERT's, has 34 MB. A vocabulary takes 20 bytes of memory per byte."""
MOST_STRINGS = 2_000_000
"""In it: a vocabulary has one for each piece, and two more for each merge. mmBERT has 1.4 million."""
MOST_PADDING = 1 << 16
MOST_PIECES_BYTES = 6 << 20
"""Of the pieces of a Unigram model, stored as a tree with 150 bytes per letter. XLM-R's have 2 MB together."""
MOST_GROWTH = 64
"""Factor by which a normalizer may lengthen a text, and number of characters that it may prepend."""
MOST_SPECIALS = 16
"""Tokens that a post-processor adds to a pair of texts; RoBERTa adds four."""


def encoder_config(folder: Path) -> Mapping[str, Any]:
    """The `config.json` of the encoder in a tokenizer's folder; empty if there is none."""
    path = folder / "config.json"
    return read_object(path) if path.is_file() else {}


def check_file(folder: Path, path: Path) -> None:
    """Raise ValueError for a file that would take too much memory, or crash the process.

    Must run before the Rust library reads the file, because failed allocations there are not exceptions.
    """
    if leaves_folder(folder, path):
        raise ValueError("it is a link that leaves its folder; put the file itself there")
    checked_size(path, MOST_BYTES)
    data = path.read_bytes()
    known = encoder_config(folder).get("vocab_size")
    most = min(MOST_STRINGS, 100_000 + 4 * known) if isinstance(known, int) else MOST_STRINGS
    strings = data.count(b'"') // 2
    if strings > most:
        raise ValueError(f"it has {strings:,} strings, too many for a vocabulary of {known or MOST_STRINGS:,}")
    if len(data) <= MOST_PIECES_BYTES and b"recompiled" not in data and b"multiple" not in data:
        return
    definition = json.loads(data)
    model, padding = definition.get("model"), definition.get("padding")
    if isinstance(model, dict) and model.get("type") == "Unigram":
        total = sum(len(piece.encode()) for piece, _ in model["vocab"])
        if total > MOST_PIECES_BYTES:
            raise ValueError(f"its pieces have {total:,} bytes together, more than the limit of {MOST_PIECES_BYTES:,}")
    if isinstance(padding, dict) and not _is_usual(padding):
        raise ValueError(f"it pads to {padding.get('strategy')!r:.80}, more than any text needs")
    for part in _objects_in(definition.get("normalizer")):
        if "precompiled_charsmap" in part:
            _check_characters(part["precompiled_charsmap"])


def check_parts(rust: tokenizers.Tokenizer) -> None:
    """Raise ValueError for a regular expression that may not terminate, and for a normalizer that lengthens texts."""
    growth, before = 1, 0
    for part in _objects_in([_state(rust.normalizer), _state(rust.pre_tokenizer)]):
        pattern = part.get("Regex")
        reason = refusal(pattern) if isinstance(pattern, str) else None
        if reason:
            raise ValueError(f"its expression {pattern!r:.80} may take forever: it {reason}")
        growth *= max(1, len(part["content"])) if part.get("type") == "Replace" else 1
        before += len(part["prepend"]) if part.get("type") == "Prepend" else 0
    for part in _objects_in(_state(rust.post_processor)):
        entries = _objects_in([part.get("single"), part.get("pair")])
        named = {entry["SpecialToken"]["id"] for entry in entries if "SpecialToken" in entry}
        if part.get("type") == "TemplateProcessing" and not named <= set(part.get("special_tokens", ())):
            raise ValueError("its template has a special token that it does not define")
    if growth > MOST_GROWTH or before > MOST_GROWTH:
        raise ValueError(f"its normalizer makes texts more than {MOST_GROWTH} times longer")
    added = rust.num_special_tokens_to_add(is_pair=True)
    if added > MOST_SPECIALS:
        raise ValueError(f"it adds {added} special tokens to each pair of texts, more than the limit of {MOST_SPECIALS}")


def check_ids(rust: tokenizers.Tokenizer, encoder: Mapping[str, Any]) -> None:
    """Raise ValueError for ids and token types that an encoder of this configuration does not have.

    Raises whatever the Rust library does over a short text with a character that no vocabulary has.
    """
    unknown = getattr(rust.model, "unk_token", None)
    if unknown is not None and rust.token_to_id(unknown) is None:
        raise ValueError(f"its unknown token, {unknown!r:.80}, is not in its vocabulary")
    probe = rust.encode("a b 1 \U0010fffd", "a b 1")
    size, types = encoder.get("vocab_size"), encoder.get("type_vocab_size")
    highest = max([*rust.get_vocab(with_added_tokens=True).values(), *probe.ids], default=0)
    if isinstance(size, int) and highest >= size:
        raise ValueError(f"it has the id {highest}, but the encoder has {size} by its config.json")
    highest_type = max(probe.type_ids, default=0)
    if isinstance(types, int) and types > 1 and highest_type >= types:
        raise ValueError(f"it has the token type {highest_type}, but the encoder has {types} by its config.json")


def _is_usual(padding: Mapping[str, Any]) -> bool:
    """Whether padding is to a reasonable length."""
    strategy, multiple = padding.get("strategy"), padding.get("pad_to_multiple_of")
    fixed = strategy.get("Fixed", 0) if isinstance(strategy, dict) else 0
    return all(value is None or (isinstance(value, int) and value <= MOST_PADDING) for value in (fixed, multiple))


def _check_characters(text: object) -> None:
    """Raise ValueError unless a character map has the length that it declares: a tree of 32-bit numbers, then texts."""
    data = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    size = int.from_bytes(data[:4], "little")
    if size % 4 or not 0 < size <= len(data) - 4:
        raise ValueError("its precompiled map of characters is damaged")


def _state(part: Any) -> Any:
    """A part of the tokenizer as the JSON that it came from."""
    return {} if part is None else json.loads(part.__getstate__())  # its pickling support


def _objects_in(value: object) -> Iterator[dict[str, Any]]:
    """All objects in a JSON value."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
