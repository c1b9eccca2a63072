"""Texts to windows of tokens with character offsets.

Design:
- Texts are encoded without special tokens, which a template (`template.py`) adds to each window (`windows.py`). So one code
  path serves BERT, RoBERTa, XLM-R, MPNet, DeBERTa and others, and a text is tokenized once however many windows it takes.
- Arrays of a whole batch are built at once and windows are views of them: no Python runs per token. On 5,000 sentences of
  26 tokens, three quarters of the time is the Rust tokenizer's own (370,000 tokens per second on two cores).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import regex

from manyheads.errors import UsageError
from manyheads.text import tokenizer_files
from manyheads.text.pack import Encoding
from manyheads.text.template import probed
from manyheads.text.windows import windows
from manyheads.text.words import tidy_offsets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    import tokenizers

    from manyheads.text.pack import Ints, Source
    from manyheads.text.template import Range
    from manyheads.text.windows import Window

    Place = tuple[int, int | None]
    """Which text is `first`, and which is `second`."""

_SURROGATE = regex.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Concatenated tokens of distinct texts; those of text i are `bounds[i]:bounds[i + 1]`."""

    bounds: list[int]
    ids: Ints
    start: Ints
    end: Ints


@final
class Tokenizer:
    """The tokenizer of an encoder. Can be pickled, and used by several threads.

    Truncation and padding of `rust` are switched off. `files` are the texts of the files that name special tokens
    (`tokenizer_config.json`, `special_tokens_map.json`). Raises EncoderError if the tokenizer does not put `first` before
    `second`, or finds no tokens.
    """

    def __init__(self, rust: tokenizers.Tokenizer, files: Mapping[str, str] | None = None) -> None:
        self._files = dict(files or {})
        padding = rust.padding
        rust.no_truncation()
        rust.no_padding()
        self._rust = rust
        self._single = probed(rust, pair=False)
        self._pair = probed(rust, pair=True)
        named = map(rust.token_to_id, tokenizer_files.pad_names(self._files))
        stored: int = padding["pad_id"] if padding else 0
        self.pad_id: int = next((found for found in named if found is not None), stored)
        """Id of the padding token; 0 if there is none."""

    @staticmethod
    def load(folder: str | Path) -> Tokenizer:
        """The tokenizer of a local folder. Raises EncoderError if its `tokenizer.json` is missing or damaged."""
        return Tokenizer(*tokenizer_files.in_folder(Path(folder)))

    @staticmethod
    def from_encoder(folder_or_id: str | Path, revision: str | None = None) -> Tokenizer:
        """The tokenizer of a local folder or of a hub id.

        Raises EncoderError if there is none, it cannot be reached, or it exists only as Python code.
        """
        return Tokenizer(*tokenizer_files.of_encoder(folder_or_id, revision))

    def save(self, folder: str | Path) -> None:
        """Write the files that `load` and transformers' AutoTokenizer need into an existing or new folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / tokenizer_files.TOKENIZER).write_text(self._rust.to_str(pretty=False), encoding="utf-8")
        config = tokenizer_files.config_text(self._rust, typed=any(self._pair.types))
        for name, text in ({tokenizer_files.CONFIG: config} | self._files).items():
            (folder / name).write_text(text, encoding="utf-8")

    @property
    def definition(self) -> str:
        """Everything that determines its output, as the text of a `tokenizer.json`."""
        return self._rust.to_str(pretty=False)

    def spelled(self, ids: Ints) -> list[str]:
        """The tokens with these ids as the vocabulary spells them, such as `##ing` or `Ġthe`."""
        return [self._rust.id_to_token(int(i)) or "" for i in ids]

    def special_tokens(self, pair: bool) -> int:
        """The number of special tokens in each window of a pair, or of a single text."""
        return len(self._pair if pair else self._single)

    def encode(self, sources: Sequence[Source], max_length: int) -> list[list[Encoding]]:
        """The windows of each source, at least one, none longer than `max_length` tokens.

        An empty or blank text has no tokens. Of a pair, `second` is read in windows; `first` too if it takes more than
        half of the room, both in parallel. Overlaps are limited to half a window. A lone surrogate is read as U+FFFD.
        Raises UsageError if `max_length` leaves no room for a token of each part.
        """
        texts, places = _distinct(sources)
        tokens = self._tokens(texts)
        bounds = tokens.bounds
        counts = [end - start for start, end in pairwise(bounds)]
        plans = self._plans(sources, places, counts, max_length)
        # The pool of tokens ends with the special ones; a window is a row of ranges of the pool.
        single, pair = self._single.ranges(bounds[-1]), self._pair.ranges(bounds[-1] + len(self._single))
        rows: list[Range] = []
        for plan, (first, second) in zip(plans, places, strict=True):
            prefix, middle, suffix, types = single if second is None else pair
            for start, count, start_second, count_second in plan:
                rows += prefix
                rows.append((bounds[first] + start, count, 0, types[0]))
                if second is not None:
                    rows += middle
                    rows.append((bounds[second] + start_second, count_second, 1, types[1]))
                rows += suffix
        arrays = _gathered(rows, tokens, [*self._single.ids, *self._pair.ids])
        neighbours = [
            [_neighbours(tokens.start, bounds[first], bounds[first + 1], *window[:2]) for window in plan]
            for plan, (first, _) in zip(plans, places, strict=True)
        ]
        return _encodings(arrays, self._lengths(plans, places), plans, neighbours)

    def lengths(self, sources: Sequence[Source], max_length: int) -> list[list[int]]:
        """Tokens in each window that `encode` would give, in three quarters of its time. Raises UsageError likewise."""
        texts, places = _distinct(sources)
        counts = [0, *map(len, self._rust.encode_batch_fast(texts[1:], add_special_tokens=False))]
        return self._lengths(self._plans(sources, places, counts, max_length), places)

    def _lengths(self, plans: Sequence[Sequence[Window]], places: Sequence[Place]) -> list[list[int]]:
        specials = len(self._single), len(self._pair)
        return [
            [specials[second is not None] + window[1] + window[3] for window in plan]
            for plan, (_, second) in zip(plans, places, strict=True)
        ]

    def _plans(
        self, sources: Sequence[Source], places: Sequence[Place], counts: Sequence[int], max_length: int
    ) -> list[list[Window]]:
        """The windows of each source."""
        rooms = {pair: self._room(pair, max_length) for pair in {second is not None for _, second in places}}
        return [
            windows(counts[first], 0 if second is None else counts[second], rooms[second is not None], source.stride)
            for source, (first, second) in zip(sources, places, strict=True)
        ]

    def _room(self, pair: bool, max_length: int) -> int:
        """Room in a window for tokens that are not special."""
        special, least = self.special_tokens(pair), 2 if pair else 1
        if max_length < special + least:
            what = "a pair of texts" if pair else "a text"
            raise UsageError(
                f"max_length is {max_length} tokens, but a window of {what} has {special} special ones; "
                f"give at least {special + least}"
            )
        return max_length - special

    def _tokens(self, texts: Sequence[str]) -> _Tokens:
        """Tokens of texts, without special tokens; the first text is empty."""
        found = self._rust.encode_batch(texts[1:], add_special_tokens=False)
        counts = [0, *map(len, found)]
        bounds = [0, *accumulate(counts)]
        ids = np.fromiter(chain.from_iterable(one.ids for one in found), np.int32, bounds[-1])
        pairs = chain.from_iterable(chain.from_iterable(one.offsets for one in found))
        offsets = np.fromiter(pairs, np.int32, 2 * bounds[-1]).reshape(-1, 2)
        return _Tokens(bounds, ids, *tidy_offsets(texts, counts, offsets[:, 0], offsets[:, 1]))


def _distinct(sources: Sequence[Source]) -> tuple[list[str], list[Place]]:
    """The distinct texts, the empty one first, and which of them each source reads."""
    index = {"": 0}

    def place(text: str) -> int:
        if not text.isascii():
            text = _SURROGATE.sub("\ufffd", text)
        return index.setdefault("" if text.isspace() else text, len(index))

    places = [(place(s.first), None if s.second is None else place(s.second)) for s in sources]
    return list(index), places


def _gathered(rows: list[Range], tokens: _Tokens, special: list[int]) -> list[npt.NDArray[Any]]:
    """Arrays of all windows, concatenated: the fields of Encoding."""
    begin_R, length_R, part_R, type_R = np.array(rows, np.int64).reshape(-1, 4).T
    ends_R = np.cumsum(length_R)
    place = np.repeat(begin_R - ends_R + length_R, length_R) + np.arange(ends_R[-1] if len(rows) else 0)
    nothing = np.zeros(len(special), np.int32)
    return [
        np.concatenate([tokens.ids, np.array(special, np.int32)])[place],
        np.repeat(type_R.astype(np.int32), length_R),
        np.concatenate([tokens.start, nothing])[place],
        np.concatenate([tokens.end, nothing])[place],
        np.repeat(part_R.astype(np.int8), length_R),
    ]


def _neighbours(starts: Ints, begin: int, end: int, first: int, count: int) -> tuple[int, int]:
    """Offsets of the tokens before and after a window over the tokens `begin:end` of a text; -1 for none."""
    left, right = begin + first, begin + first + count
    return (int(starts[left - 1]) if left > begin else -1, int(starts[right]) if right < end else -1)


def _encodings(
    arrays: list[npt.NDArray[Any]],
    lengths: Sequence[Sequence[int]],
    plans: Sequence[Sequence[Window]],
    neighbours: Sequence[Sequence[tuple[int, int]]],
) -> list[list[Encoding]]:
    """Windows as views of the arrays."""
    result, begin = [], 0
    for source, plan, around in zip(lengths, plans, neighbours, strict=True):
        encodings = []
        for number, (length, window, sides) in enumerate(zip(source, plan, around, strict=True)):
            ids, types, starts, ends, parts = (array[begin : begin + length] for array in arrays)
            encodings.append(Encoding(ids, types, starts, ends, parts, number, (window[0], window[2]), *sides))
            begin += length
        result.append(encodings)
    return result
