"""Signs of an unsuitable tokenizer: unknown tokens, and a cased vocabulary behind a lower-casing normalizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manyheads.text.pack import Source
    from manyheads.text.tokenizer import Tokenizer

CASED_SHARE = 0.05
"""Of pieces with capital letters: an uncased vocabulary has none, a cased one of BERT has a third."""
MANY_UNKNOWN = 0.02
"""Of tokens: 0.0 % in BERT's own English, most of them in a text in another script."""


def unknown_token_share(tokenizer: Tokenizer, sources: Sequence[Source], max_length: int) -> float:
    """The share of unknown tokens in texts; 0 for a tokenizer without an unknown token."""
    unknown = _unknown_id(json.loads(tokenizer.definition)["model"])
    ids = [window.ids_L for windows in tokenizer.encode(sources, max_length) for window in windows]
    total = sum(map(len, ids))
    if unknown is None or not total:
        return 0.0
    return float(sum(int((window == unknown).sum()) for window in ids) / total)


def cased_vocabulary_warning(tokenizer: Tokenizer) -> str | None:
    """A warning if texts are lower-cased but many pieces of the vocabulary have capitals, and so never match."""
    definition = json.loads(tokenizer.definition)
    vocabulary = definition["model"].get("vocab", {})
    pieces = list(vocabulary) if isinstance(vocabulary, dict) else [piece for piece, _ in vocabulary]
    special = {token["content"] for token in definition.get("added_tokens", [])}
    cased = sum(piece != piece.lower() for piece in pieces if piece not in special)
    if not _lowers(definition.get("normalizer")) or cased <= CASED_SHARE * len(pieces):
        return None
    return (f"the tokenizer lower-cases texts, but {cased:,} of its {len(pieces):,} pieces have capitals and can never "
            "match; the vocabulary is cased: set do_lower_case to false in the tokenizer's configuration")  # fmt: skip


def _lowers(normalizer: Any) -> bool:
    if not isinstance(normalizer, dict):
        return False
    inner = normalizer.get("normalizers", [])
    return normalizer.get("type") == "Lowercase" or bool(normalizer.get("lowercase")) or any(map(_lowers, inner))


def _unknown_id(model: dict[str, Any]) -> int | None:
    if model.get("type") == "Unigram":
        return model.get("unk_id")
    vocabulary, name = model.get("vocab"), model.get("unk_token")
    return vocabulary.get(name) if isinstance(vocabulary, dict) and name is not None else None
