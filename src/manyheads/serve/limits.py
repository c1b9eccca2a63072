"""What a request may be, and how much may wait. A limit that is passed is told of at once, with what was seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from manyheads.data.strict_json import is_deeper
from manyheads.errors import RowError

MOST_KEYS = 100
"""Of a row. What is wrong with a row is said with its keys."""
CHARACTERS_A_TOKEN = 3
"""To estimate tokens before they are counted: 4 or 5 in English text, fewer in names of chemicals."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a server."""

    body_bytes: int = 10_000_000
    bodies_bytes: int = 200_000_000
    """Of all requests that are being read or answered. What is made of a body takes some three times its bytes."""
    body_s: float = 30.0
    """For a body to arrive."""
    rows: int = 1_000
    """In one request."""
    characters: int = 1_000_000
    """Of a text: some 250,000 tokens."""
    unbroken: int = 20_000
    """Characters without white space: tokenising a word takes time that grows with the square of its length."""
    levels: int = 50
    """Of lists and objects in one another, in a row: an id may be anything, and is written again."""
    queue_tokens: int = 1_000_000
    """Estimated tokens that may wait, some 3 MB of text; the deadline is the narrower limit on a CPU."""
    patience_s: float = 1.0
    """In an overload nothing is added while it would wait longer: what is refused at once can be asked of another server,
    and after an overload all is as before within this time."""
    deadline_s: float = 30.0
    """From the arrival of a request until its last row is begun. What cannot be is refused when it arrives."""
    batch_tokens: int = 1_024
    """Estimated tokens of a pass. More hardly raises tokens a second (docs/benchmarks.md), and its rows wait for it."""
    pass_s: float = 0.1
    """A pass is not filled beyond what a worker reads in this time: its rows wait for the last of them. On slow cores this
    is worth 20 % of the rate at which 99 % are answered within 250 ms, in a simulation (docs/decisions.md)."""
    wait_s: float = 0.002
    """How long a pass that is not full waits for company."""
    hang_s: float = 60.0
    """A worker is ended when a pass takes ten times what it should, and this."""
    min_score: float = 0.0
    """What has a lower score is left out of answers, where a request says nothing of it."""

    def check_row(self, row: Mapping[str, Any]) -> None:
        """Raise RowError for a row that is too long or deep, or holds what is no text."""
        if is_deeper(row, self.levels):
            raise RowError(f"lists or objects are nested in more than {self.levels} levels; send text and id alone")
        if len(row) > MOST_KEYS:
            raise RowError(f"has {len(row):,} keys; send 'text', 'question' and 'id' alone")
        for key, value in row.items():
            for text in _texts(value):
                self._check_text(key, text)

    def _check_text(self, key: str, text: str) -> None:
        if len(text) > self.characters:
            raise RowError(
                f"'{key[:40]}' has {len(text):,} characters, at most {self.characters:,} are read; divide it"
            )
        if len(text) > self.unbroken and max(map(len, text.split()), default=0) > self.unbroken:
            raise RowError(f"'{key[:40]}' has more than {self.unbroken:,} characters without white space; is it text?")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise RowError(
                f"'{key[:40]}' holds half of a surrogate pair, which is no character; mend the text"
            ) from None


def estimated_tokens(row: Mapping[str, Any]) -> int:
    """Of a row: its texts' characters over three, and the special tokens."""
    return 3 + sum(len(text) + 1 for key, value in row.items() if key != "id" for text in _texts(value)) // (
        CHARACTERS_A_TOKEN
    )


def _texts(value: Any) -> Iterator[str]:
    """A text, or words, joined as they will be read."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield " ".join(word for word in value if isinstance(word, str))
