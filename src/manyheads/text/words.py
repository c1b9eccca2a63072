"""Words of a text, independent of the tokenizer, and the offsets of tokens.

Design:
- A word is a run of letters, digits and their marks; every punctuation mark or symbol is a word of its own (`_` too), so
  that an entity can end before a bracket. BERT splits the same way, plus symbols such as `±` and `€`.
- In scripts written without spaces (Han, kana, Thai, Lao, Khmer, Myanmar) each letter with its marks is a word.
- An emoji with its skin tone, joined emoji and flag letters is one word. Invisible format characters (joiners, soft
  hyphens, direction marks) between two letters stay inside the word; elsewhere they separate, as controls do.
- A token's offsets exclude white space at both sides, and never end inside a grapheme: not before a combining mark, not
  inside a Hangul syllable or a joined emoji.
- Every word has a token that represents it, even if one piece covers several words (`first_pieces`). Texts are not split
  into words before tokenizing: all heads share one pass, over the tokens that the encoder was trained on.
"""

from __future__ import annotations

import functools
import re
import sys
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import regex

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from manyheads.text.pack import Encoding, Ints

    Words = Sequence[tuple[int, int]] | npt.NDArray[np.int64]
    """Offsets of words in reading order, as pairs or as an array (n, 2)."""

# scx, not sc: the prolonged sound mark of kana and the iteration marks are shared by scripts. ﾞ and ﾟ are half-width
# voicing marks, letters only by their category.
_MARK = r"[\p{M}\uFF9E\uFF9F]"
_ALONE = (
    r"[[\p{L}\p{Nl}--\uFF9E\uFF9F]&&"
    r"[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]]"
)
_RUN = rf"[[\p{{L}}\p{{N}}{_MARK}]--{_ALONE}]"
_EMOJI = r"\p{Extended_Pictographic}[\p{M}\p{Emoji_Modifier}\U000E0020-\U000E007F]*"
_WORD = regex.compile(
    rf"{_RUN}+(?:[\p{{Cf}}--\u200B]+{_RUN}+)*"  # the zero width space is the one format character that separates
    rf"|{_ALONE}{_MARK}*"
    r"|\p{Regional_Indicator}{2}"
    rf"|{_EMOJI}(?:\u200D{_EMOJI})*"
    rf"|[\p{{P}}\p{{S}}\p{{Co}}\p{{Cn}}]{_MARK}*",
    regex.V1,
)
_ASCII_WORD = re.compile(r"[0-9A-Za-z]+|[!-/:-@\[-`{-~]")  # the same words of an ASCII text, four times as fast

_WHITE, _TRAILING, _PICTURE = 1, 2, 4
_JOINER = 0x200D


def words(text: str) -> list[tuple[int, int]]:
    """Offsets of the words, in code points, in reading order; they contain no white space and never overlap.

    >>> words("(100 mg)")
    [(0, 1), (1, 4), (5, 7), (7, 8)]
    """
    pattern = _ASCII_WORD if text.isascii() else _WORD
    return [match.span() for match in pattern.finditer(text)]


def within(words: npt.NDArray[np.int64], encoding: Encoding, part: int = 0) -> slice:
    """The slice of the words (n, 2) that can have a token in a window."""
    starts = encoding.start_L[encoding.part_L == part]
    if not len(starts):
        return slice(0, len(words) if _is_bare(encoding) else 0)
    first = int(np.searchsorted(words[:, 1], starts[0], side="right")) if encoding.window else 0
    stop = len(words) if encoding.after < 0 else int(np.searchsorted(words[:, 0], encoding.after, side="right"))
    return slice(first, max(first, stop))


def first_pieces(words: Words, encoding: Encoding, part: int = 0) -> npt.NDArray[np.int64]:
    """For each of n words, the index of the token that represents it; -1 if that token is in another window.

    It is the first token that starts inside the word. If none does, because one piece covers several words or the
    tokenizer drops the word's characters, it is the last token before the word, or else the first of the text. In a text
    without tokens it is the first special token. So every word of a text has a token in at least one window. `part`: the
    part of the words (0 `first`, 1 `second`).
    """
    offsets_N2 = np.asarray(words, dtype=np.int64).reshape(-1, 2)
    place = np.flatnonzero(encoding.part_L == part)
    if not len(place):
        return np.full(len(offsets_N2), 0 if _is_bare(encoding) else -1, dtype=np.int64)
    begin, stop = int(place[0]), int(place[-1]) + 1
    starts = encoding.start_L[begin:stop]
    start_N, end_N = offsets_N2[:, 0], offsets_N2[:, 1]
    piece_N = np.searchsorted(starts, start_N)
    found_N = piece_N < len(starts)
    found_N &= starts[np.minimum(piece_N, len(starts) - 1)] < end_N
    if encoding.window:  # a word across the left edge of the window has its first piece in the window before
        edge = encoding.before if encoding.before >= 0 else int(starts[0]) - 1
        found_N &= (piece_N > 0) | (start_N > edge)
    if not found_N.all():
        last_N = np.searchsorted(starts, start_N, side="right") - 1
        near_N = (piece_N > 0) & (last_N >= 0)
        if not encoding.window:
            near_N |= last_N < 0
        if encoding.after >= 0:
            near_N &= end_N <= encoding.after
        piece_N = np.where(found_N, piece_N, np.maximum(last_N, 0))
        found_N |= near_N
    return np.where(found_N, piece_N + begin, -1)


def places_in_pieces(words: Words, piece_N: npt.NDArray[np.int64], encoding: Encoding) -> npt.NDArray[np.int64]:
    """For each of n words, the number of words before it in its piece: 0 for nearly all. `piece_N`: of `first_pieces`."""
    offsets_N2 = np.asarray(words, dtype=np.int64).reshape(-1, 2)
    seen = np.flatnonzero(piece_N >= 0)
    piece = piece_N[seen]
    place_N = np.zeros(len(piece_N), np.int64)
    covered = np.searchsorted(offsets_N2[:, 1], encoding.start_L[piece], side="right")
    owned = seen[np.searchsorted(piece, piece)] if len(seen) else seen
    place_N[seen] = seen - np.minimum(covered, owned)
    return place_N


def _is_bare(encoding: Encoding) -> bool:
    """Whether a window has special tokens only."""
    return len(encoding) > 0 and not (encoding.part_L >= 0).any()


def tidy_offsets(texts: Sequence[str], counts: Sequence[int], starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
    """Offsets without white space at either side, extended over trailing marks; starts and ends never decrease.

    `starts` and `ends` hold the tokens of all texts, concatenated, `counts[i]` of them of `texts[i]`, in code points of
    their own text. A token of white space gets an empty range within that white space, where no word starts.
    """
    whole = "".join(texts)
    if not whole or not len(starts):
        return starts, ends
    base_T = np.repeat(np.array([0, *accumulate(len(text) for text in texts)], np.int64)[:-1], counts)
    flags = _flags(whole)
    before, after = _edges(flags)
    start_T, end_T = starts + base_T, ends + base_T
    solid_T = after[start_T] < end_T
    # Some tokenizers give a blank token the empty range after its white space, where the next word starts.
    moved_T = (start_T == end_T) & (start_T > base_T) & ((flags[start_T - 1] & _WHITE) != 0)
    end_T = np.where(solid_T, before[end_T], start_T - moved_T)
    start_T = np.where(solid_T, after[start_T], start_T - moved_T)
    if (flags & _TRAILING).any() or (flags & _PICTURE).any():
        limit_T = base_T + np.repeat(np.array([len(text) for text in texts], np.int64), counts)
        end_T = np.where(solid_T, np.minimum(_after_marks(whole, flags)[end_T], limit_T), end_T)
    # Texts are concatenated, so the running maximum of one never affects the next.
    start_T, end_T = np.maximum.accumulate(start_T), np.maximum.accumulate(end_T)
    return (start_T - base_T).astype(np.int32), (end_T - base_T).astype(np.int32)


def _edges(flags: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each place 0..n: the end of the last solid character before it, and the first solid place at or after it."""
    count = len(flags)
    place = np.arange(count + 1)
    solid = np.append((flags & _WHITE) == 0, True)
    after = np.minimum.accumulate(np.where(solid, place, count)[::-1])[::-1]
    before = np.zeros(count + 1, np.int64)
    np.maximum.accumulate(np.where(solid[:-1], place[1:], 0), out=before[1:])
    return before, after


def _after_marks(whole: str, flags: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """For each place 0..n the first one at or after it where a token may end."""
    count = len(flags)
    inside = np.append((flags & _TRAILING) != 0, False)
    if "\u200d" in whole:
        joined = _code_points(whole)[1:-1] == _JOINER
        joined &= ((flags[:-2] & (_PICTURE | _TRAILING)) != 0) & ((flags[2:] & _PICTURE) != 0)
        inside[1:-2] |= joined  # before the joiner
        inside[2:-1] |= joined  # after it
    return np.minimum.accumulate(np.where(inside, count, np.arange(count + 1))[::-1])[::-1]


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _flags(text: str) -> npt.NDArray[np.uint8]:
    """Flags of each character: white space, a mark of the character before it, a picture."""
    if text.isascii():
        return _flag_table()[np.frombuffer(text.encode("ascii"), np.uint8)]
    return _flag_table()[_code_points(text)]


@functools.cache
def _flag_table() -> npt.NDArray[np.uint8]:
    """Flags of every code point: 1 MB, computed in about 50 ms for the first text.

    White space is that of `str.strip`. Marks are those of grapheme clusters (Unicode Annex 29) except the zero width
    non-joiner, which is invisible: combining and spacing marks, skin tones, flag tags, vowels and finals of Hangul jamo.
    """
    table = np.zeros(sys.maxunicode + 1, np.uint8)
    for low, high in ((0, 0x20000), (0xE0000, 0xE0200)):  # there are none elsewhere
        characters = "".join(map(chr, range(low, high)))
        for flag, pattern in (
            (_TRAILING, r"(?V1)[\p{M}\p{GCB=Extend}\p{GCB=V}\p{GCB=T}--\u200C]"),
            (_PICTURE, r"\p{Extended_Pictographic}"),
        ):
            table[[low + match.start() for match in regex.finditer(pattern, characters)]] |= flag
    table[[place for place in range(0x3001) if chr(place).isspace()]] |= _WHITE
    return table
