"""Single words (columns, `tokens`) joined to the text that a person would have written.

A head reads the joined text, so it must look like the texts that users send. Rules:
- `space_after` takes precedence, if a file has it (SpaceAfter=No of CoNLL-U).
- Scripts written without spaces get none: Han, kana and their punctuation, also next to other letters if they are at least
  half of the sentence; Thai, Lao, Khmer and Myanmar among themselves.
- Closing punctuation follows its word, opening punctuation and currency signs precede theirs, `%` follows a number, double
  quotes open and close alternately, and English, French and Italian words split at an apostrophe are joined again.
- Everything else gets a space, also where both ways are common: hyphens, slashes, single quotes. An emoticon such as `:)`
  is a word.

BERT's tokens of CoNLL-2003 are the same as with a space between all words; those of XLM-R and byte BPE are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import regex

from manyheads.errors import RowError

Offsets = tuple[tuple[int, int], ...]

LONGEST = 12
"""Words of this length or more never attach to their neighbours."""
_FOLLOWING = (
    (regex.compile(r"[.!?…]+|\p{Terminal_Punctuation}|\p{Pe}+[.,;]?"), "always"),
    (regex.compile(r"[%‰]"), "digit"),
    (regex.compile(r"n['’]t|['’](?:s|re|ve|ll|d|m)", regex.I), "letter"),
)
"""Words that follow the word before them without a space, and how that word must end."""
_PRECEDING = (
    (regex.compile(r"[\p{Ps}¿¡]+"), "always"),
    (regex.compile(r"(?:US)?[$€£¥]"), "digit"),
    (regex.compile(r"(?:[cdjlmnst]|qu|jusqu|lorsqu|puisqu|quelqu|un|[dns]ell|[dns]?all|sull)['’]", regex.I), "letter"),
)
"""Words that the next word follows without a space, and how that word must begin."""
_QUOTES = frozenset('"“”„«»')
_EAST = regex.compile(
    r"[[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{scx=Bopomofo}\u3000-\u303F\uFF01-\uFF65]--\p{ASCII}]", regex.V1
)
_SOUTH_EAST = regex.compile(r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
_HANGUL = regex.compile(r"\p{Hangul}")


class _Spacing(NamedTuple):
    """How a word attaches to its neighbours."""

    follows: str
    """How the word before must end to attach: `letter`, `digit`, `always` or `never`."""
    precedes: str
    """How the next word must begin to attach."""
    first: str
    """Kind of its first character: `east`, `south`, `hangul`, `letter`, `digit` or empty."""
    last: str


def joined(tokens: Any, space_after: Any = None) -> tuple[str, Offsets]:
    """The text of these words, and the offsets of each.

    `space_after`: whether a space follows each word; None applies the rules above. Raises RowError for an empty or blank
    word, and for a `space_after` without one boolean per word.

    >>> joined(["Do", "n't", "go", "(", "now", ")", "."])[0]
    "Don't go (now)."
    """
    if not isinstance(tokens, Sequence) or isinstance(tokens, str) or not tokens:
        raise RowError(f"'tokens' must be a list of at least one word, seen {tokens!r}")
    for token in tokens:
        if not isinstance(token, str) or not token.strip():
            raise RowError(f"'tokens' holds {token!r}, which is not a word")
    spaces = _spaces(tokens)
    if space_after is not None:
        if not isinstance(space_after, Sequence) or len(space_after) != len(tokens):
            raise RowError(
                f"'space_after' must be a list of {len(tokens)} booleans, one per token, seen {space_after!r:.80}"
            )
        if not all(isinstance(given, bool | None) for given in space_after):
            raise RowError(f"'space_after' must hold true or false for each token, seen {space_after!r:.80}")
        spaces = [own if given is None else given for own, given in zip(spaces, space_after, strict=True)]
    parts, offsets, start = [], [], 0
    for token, space in zip(tokens, spaces, strict=True):
        offsets.append((start, start + len(token)))
        parts.append(token + " " if space else token)
        start += len(token) + space
    parts[-1] = tokens[-1]
    return "".join(parts), tuple(offsets)


def between(one: str, two: str) -> str:
    """The separator of two sentences in a text: empty in Chinese and Japanese, else a space."""
    return "" if one and two and _kind(one[-1]) == _kind(two[0]) == "east" else " "


def _spaces(tokens: Sequence[str]) -> list[bool]:
    """For each word whether a space follows it."""
    spacings = [_spacing(token) for token in tokens]
    spaces = [
        precedes not in ("always", first) and follows not in ("always", last)
        for (_, precedes, _, last), (follows, _, first, _) in pairwise(spacings)
    ]
    kinds = {spacing.first for spacing in spacings}
    if "east" in kinds or "south" in kinds:
        eastern = 2 * sum(spacing.first == "east" for spacing in spacings) >= len(spacings)
        for place, (one, two) in enumerate(pairwise(spacings)):
            spaces[place] &= not _without_space(one.last, two.first, eastern)
    if not _QUOTES.isdisjoint(tokens):
        for place, opens in _quotes(tokens).items():
            if opens and place < len(spaces):
                spaces[place] = False
            elif place and not opens:
                spaces[place - 1] = False
    return [*spaces, False]


def _without_space(one: str, two: str, eastern: bool) -> bool:
    if "east" in (one, two):
        return one == two or (eastern and "hangul" not in (one, two))
    return one == two == "south"


def _quotes(tokens: Sequence[str]) -> dict[int, bool]:
    """Places of double quotes, and whether each opens; ambiguous ones are left out."""
    marks = [(place, token) for place, token in enumerate(tokens) if token in _QUOTES]
    seen = [mark for _, mark in marks]
    paired = seen.count('"') % 2 == 0
    only_ends = not {"“", "„"} & set(seen) and seen.count("”") % 2 == 0
    inward = "»" in seen and "«" in seen[seen.index("»") :] and seen.index("»") < seen.index("«")  # German »so«
    found: dict[int, bool] = {}
    turn, low = False, False
    for place, mark in marks:
        if mark == '"':
            turn = not turn
            if paired or place in (0, len(tokens) - 1):
                found[place] = turn if paired else place == 0
        elif mark == "”":
            turn = not turn
            found[place] = turn and only_ends
        elif mark == "“":
            found[place], low = not low, False
        elif mark == "„":
            found[place] = low = True
        else:
            found[place] = (mark == "«") != inward
    return found


@lru_cache(maxsize=1 << 16)
def _spacing(token: str) -> _Spacing:
    follows = precedes = "never"
    if len(token) < LONGEST and not token.isalnum():
        follows = next((ends for pattern, ends in _FOLLOWING if pattern.fullmatch(token)), "never")
        precedes = next((begins for pattern, begins in _PRECEDING if pattern.fullmatch(token)), "never")
    return _Spacing(follows, precedes, _kind(token[0]), _kind(token[-1]))


@lru_cache(maxsize=1 << 12)
def _kind(character: str) -> str:
    if character.isdigit():
        return "digit"
    if character.isascii():
        return "letter" if character.isalpha() else ""
    if _EAST.match(character):
        return "east"
    if _SOUTH_EAST.match(character):
        return "south"
    if _HANGUL.match(character):
        return "hangul"
    return "letter" if character.isalpha() else ""
