"""Limits on requests and on the queue. Exceeding one is an error that says what was seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from manyheads.data.strict_json import is_deeper
from manyheads.errors import RowError

MAX_KEYS = 100
"""Keys of a row. Errors about a row list its keys."""
CHARACTERS_PER_TOKEN = 3
"""Estimate: 4 or 5 in English text, fewer in names of chemicals."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a server.

    >>> Limits(deadline_s=10).check_row({"text": "Aspirin lowered fever."})
    """

    body_bytes: int = 10_000_000
    all_bodies_bytes: int = 200_000_000
    """Of all requests being read or answered. A parsed body takes about three times its bytes."""
    body_timeout_s: float = 30.0
    rows: int = 1_000
    """Per request."""
    characters: int = 1_000_000
    """Per text: about 250,000 tokens."""
    word_characters: int = 20_000
    """Characters without white space: the time to tokenize a word grows with the square of its length."""
    levels: int = 50
    """Nesting of lists and objects in a row: an id may be any JSON, and is written back."""
    queue_tokens: int = 1_000_000
    """Estimated tokens that may wait, about 3 MB of text; on a CPU the deadline is the tighter limit."""
    overload_wait_s: float = 1.0
    """During an overload, requests that would wait longer are refused: another server can take them, and the queue
    recovers within this time."""
    deadline_s: float = 30.0
    """From the arrival of a request to the start of its last row. Requests that cannot meet it are refused on arrival."""
    batch_tokens: int = 1_024
    """Estimated tokens of a pass. More barely raises throughput (docs/benchmarks.md) and delays the rows in it."""
    pass_s: float = 0.1
    """A pass holds at most what a worker processes in this time, since its rows are answered together. On slow cores this
    is worth 20 % of the rate at which 99 % are answered within 250 ms, in a simulation (docs/decisions.md)."""
    fill_wait_s: float = 0.002
    """How long a pass that is not full waits for more rows."""
    hang_s: float = 60.0
    """A worker is killed when a pass takes ten times its expected time plus this."""
    min_score: float = 0.0
    """Default for requests without `min_score`."""

    def check_row(self, row: Mapping[str, Any]) -> None:
        """Raise RowError for a row that is too long or too deep, or holds invalid text."""
        if is_deeper(row, self.levels):
            raise RowError(f"lists or objects are nested in more than {self.levels} levels; send text and id alone")
        if len(row) > MAX_KEYS:
            raise RowError(f"has {len(row):,} keys; send 'text', 'question' and 'id' alone")
        for key, value in row.items():
            for text in _texts(value):
                self._check_text(key, text)

    def _check_text(self, key: str, text: str) -> None:
        name = f"'{key[:40]}'"
        if len(text) > self.characters:
            raise RowError(f"{name} has {len(text):,} characters, the limit is {self.characters:,}; split it")
        if len(text) > self.word_characters and max(map(len, text.split()), default=0) > self.word_characters:
            raise RowError(f"{name} has more than {self.word_characters:,} characters without white space; is it text?")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise RowError(f"{name} holds half of a surrogate pair, which is no character; fix the text") from None


def estimated_tokens(row: Mapping[str, Any]) -> int:
    """Tokens of a row, estimated from the characters of its texts, special tokens included.

    >>> estimated_tokens({"id": 1, "text": "Aspirin lowered fever."})
    10
    """
    characters = sum(len(text) + 1 for key, value in row.items() if key != "id" for text in _texts(value))
    return 3 + characters // CHARACTERS_PER_TOKEN


def _texts(value: Any) -> Iterator[str]:
    """A text, or words joined as the model reads them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield " ".join(word for word in value if isinstance(word, str))
