"""What a request may be, and how much may wait. A limit that is passed is told of at once, with what was seen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from manyheads.errors import RowError

CHARACTERS_A_TOKEN = 3
"""To estimate tokens before they are counted: 4 or 5 in English text, fewer in names of chemicals."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a server."""

    body_bytes: int = 10_000_000
    rows: int = 1_000
    """In one request."""
    characters: int = 1_000_000
    """Of a text: some 250,000 tokens."""
    unbroken: int = 20_000
    """Characters without white space: tokenising a word takes time that grows with the square of its length."""
    queue_tokens: int = 200_000
    """Estimated tokens that may wait. At 5,000 a second that is 40 s."""
    deadline_s: float = 30.0
    """From the arrival of a request to its answer."""
    batch_tokens: int = 1_024
    """Estimated tokens of a pass. More hardly raises tokens a second (docs/benchmarks.md), and its rows wait for it."""
    wait_s: float = 0.002
    """How long a pass that is not full waits for company."""

    def check_row(self, row: Mapping[str, Any]) -> None:
        """Raise RowError for a row that is too long."""
        for key in ("text", "question"):
            value = row.get(key)
            if not isinstance(value, str):
                continue
            if len(value) > self.characters:
                raise RowError(
                    f"'{key}' has {len(value):,} characters, at most {self.characters:,} are read; divide it"
                )
            if len(value) > self.unbroken and re.search(rf"\S{{{self.unbroken + 1}}}", value):
                raise RowError(f"'{key}' has more than {self.unbroken:,} characters without a white space; is it text?")


def estimated_tokens(row: Mapping[str, Any]) -> int:
    """Of a row: its texts' characters over three, and the special tokens."""
    return 3 + sum(len(value) for value in row.values() if isinstance(value, str)) // CHARACTERS_A_TOKEN
