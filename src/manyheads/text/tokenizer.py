"""Texts to windows of tokens with character offsets.

Decided here:
- Only the Rust tokenizer is used (`tokenizers`); transformers is imported for an encoder that has no `tokenizer.json`.
- Where special tokens stand, and their token types, is found by encoding a probe with the tokenizer's own post-processor;
  texts are then encoded without, and windows are put together here. So one code path serves BERT, RoBERTa, XLM-R, MPNet,
  DeBERTa and whatever else, and a text is tokenized once however many windows it takes.
- Nothing is cut. A source that is too long becomes windows of equal length; neighbours overlap by `stride` tokens, and the
  last ends flush with the text, so its overlap may be larger.
- Arrays of a whole batch are built at once and windows are views of them: no Python runs per token. On 5,000
  sentences of 26 tokens three quarters of the time is the Rust tokenizer's own (370,000 tokens a second on two cores).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, final

import numpy as np
import regex
import tokenizers

from manyheads.errors import EncoderError, UsageError
from manyheads.text.pack import Encoding
from manyheads.text.words import tidy_offsets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from manyheads.text.pack import Ints, Source

    Place = tuple[int, int | None]
    """Which text is `first`, and which `second`."""
    Window = tuple[int, int, int, int]
    """First token and number of tokens of `first`, and of `second`."""
    _Range = tuple[int, int, int, int]
    """First token in the pool, number of tokens, part, token type."""

TOKENIZER = "tokenizer.json"
CONFIG = "tokenizer_config.json"
SPECIAL = "special_tokens_map.json"
_NAMES = {
    "pad_token": ("[PAD]", "<pad>"),
    "unk_token": ("[UNK]", "<unk>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "mask_token": ("[MASK]", "<mask>"),
}
"""How transformers calls special tokens, and their usual spellings, for a tokenizer that comes without names."""

_HUB_FILES = ["*.json", "*.txt", "*.model"]  # every format of tokenizer, and no weights
_PROBES = ("a", "the", "1", "a b c", "一")
_SURROGATE = regex.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Tokens of distinct texts, end to end; those of text i are `bounds[i]:bounds[i + 1]`."""

    bounds: list[int]
    ids: Ints
    start: Ints
    end: Ints


@dataclass(frozen=True, slots=True)
class _Template:
    """Special tokens `(id, type)` before, between and behind the parts, and the token types of the parts."""

    prefix: tuple[tuple[int, int], ...]
    middle: tuple[tuple[int, int], ...]
    suffix: tuple[tuple[int, int], ...]
    types: tuple[int, int]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ids(self) -> list[int]:
        """All special tokens in order."""
        return [token for token, _ in (*self.prefix, *self.middle, *self.suffix)]

    def ranges(self, place: int) -> tuple[list[_Range], list[_Range], list[_Range], tuple[int, int]]:
        """Prefix, middle and suffix as ranges of one token each, for ids that stand at `place` in the pool; `types`."""
        typed = (*self.prefix, *self.middle, *self.suffix)
        ranges = [(place + i, 1, -1, kind) for i, (_, kind) in enumerate(typed)]
        behind = len(self.prefix) + len(self.middle)
        return ranges[: len(self.prefix)], ranges[len(self.prefix) : behind], ranges[behind:], self.types


@final
class Tokenizer:
    """A tokenizer of one encoder. Can be pickled, and used by several threads.

    `rust` is taken over: its truncation and padding are switched off. `files` are the texts of the files that name
    special tokens (`tokenizer_config.json`, `special_tokens_map.json`). Raises EncoderError when the tokenizer does not
    put `first` before `second`, or tokenizes nothing.
    """

    def __init__(self, rust: tokenizers.Tokenizer, files: Mapping[str, str] | None = None) -> None:
        self._files = dict(files or {})
        padding = rust.padding
        rust.no_truncation()
        rust.no_padding()
        self._rust = rust
        self._single = _probed(rust, pair=False)
        self._pair = _probed(rust, pair=True)
        named = (rust.token_to_id(name) for name in (*_pad_names(self._files), *_NAMES["pad_token"]))
        stored: int = padding["pad_id"] if padding else 0
        self.pad_id: int = next((found for found in named if found is not None), stored)
        """Id of the padding token; 0 for a tokenizer that has none."""

    @staticmethod
    def load(folder: str | Path) -> Tokenizer:
        """The tokenizer of a local folder. Raises EncoderError when it has no `tokenizer.json` or one that is damaged."""
        folder = Path(folder)
        path = folder / TOKENIZER
        if not path.is_file():
            raise EncoderError(f"{folder} has no {TOKENIZER}; give the folder of an encoder with its tokenizer")
        files = {name: _checked(folder / name) for name in (CONFIG, SPECIAL) if (folder / name).is_file()}
        try:
            rust = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust library raises bare Exception
            raise EncoderError(f"{path} cannot be read by tokenizers {tokenizers.__version__}: {error}") from None
        return Tokenizer(rust, files)

    @staticmethod
    def from_encoder(folder_or_id: str | Path, revision: str | None = None) -> Tokenizer:
        """The tokenizer of a local folder or of a hub id.

        Raises EncoderError when there is none, it cannot be reached, or it exists in Python code only.
        """
        folder = Path(folder_or_id)
        if not folder.is_dir():
            folder = _downloaded(str(folder_or_id), revision)
        if (folder / TOKENIZER).is_file():
            return Tokenizer.load(folder)
        return _converted(folder, str(folder_or_id))

    def save(self, folder: str | Path) -> None:
        """Write the files that `load` and transformers' AutoTokenizer need into an existing or new folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TOKENIZER).write_text(self._rust.to_str(pretty=False), encoding="utf-8")
        for name, text in ({CONFIG: self._config()} | self._files).items():
            (folder / name).write_text(text, encoding="utf-8")

    @property
    def vocabulary_size(self) -> int:
        """Number of ids, added tokens included."""
        return self._rust.get_vocab_size(with_added_tokens=True)

    def special_tokens(self, pair: bool) -> int:
        """How many special tokens each window of a pair (or of a single text) has."""
        return len(self._pair if pair else self._single)

    def encode(self, sources: Sequence[Source], max_length: int) -> list[list[Encoding]]:
        """The windows of each source, at least one, none longer than `max_length` tokens.

        A text that is empty or white space has no tokens. Of a pair, `second` is read in windows; `first` too where it
        takes more than half of the room, both in step. An overlap larger than half a window is reduced to that. A lone
        surrogate is read as U+FFFD. Raises UsageError when `max_length` leaves no room for a token of each part.
        """
        texts, places = _distinct(sources)
        tokens = self._tokens(texts)
        bounds = tokens.bounds
        counts = [end - start for start, end in pairwise(bounds)]
        plans = self._plans(sources, places, counts, max_length)
        # The pool of tokens ends with the special ones; a window is a row of ranges of the pool.
        single, pair = self._single.ranges(bounds[-1]), self._pair.ranges(bounds[-1] + len(self._single))
        rows: list[_Range] = []
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
        return _cut(arrays, self._lengths(plans, places))

    def lengths(self, sources: Sequence[Source], max_length: int) -> list[list[int]]:
        """Tokens in each window that `encode` would give, in three quarters of its time. Raises UsageError as it does."""
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
        """Tokens of a window that are not special."""
        special, least = self.special_tokens(pair), 2 if pair else 1
        if max_length < special + least:
            what = "a pair of texts" if pair else "a text"
            raise UsageError(
                f"max_length is {max_length} tokens, but a window of {what} has {special} special ones; "
                f"give at least {special + least}"
            )
        return max_length - special

    def _tokens(self, texts: Sequence[str]) -> _Tokens:
        """Tokens of texts, without special ones; the first text is the empty one."""
        found = self._rust.encode_batch(texts[1:], add_special_tokens=False)
        counts = [0, *map(len, found)]
        bounds = [0, *accumulate(counts)]
        ids = np.fromiter(chain.from_iterable(one.ids for one in found), np.int32, bounds[-1])
        pairs = chain.from_iterable(chain.from_iterable(one.offsets for one in found))
        offsets = np.fromiter(pairs, np.int32, 2 * bounds[-1]).reshape(-1, 2)
        return _Tokens(bounds, ids, *tidy_offsets(texts, counts, offsets[:, 0], offsets[:, 1]))

    def _config(self) -> str:
        """A `tokenizer_config.json` for a tokenizer that came without: transformers reads `tokenizer.json` as it is."""
        names = {
            key: next((name for name in spellings if self._rust.token_to_id(name) is not None), None)
            for key, spellings in _NAMES.items()
        }
        typed = ["token_type_ids"] if any(self._pair.types) else []
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_input_names": ["input_ids", *typed, "attention_mask"],
        }
        return json.dumps(config | {key: name for key, name in names.items() if name}, indent=2) + "\n"


def windows(first: int, second: int, room: int, stride: int) -> list[Window]:
    """Windows over `first` and `second` tokens (0 for a single text) with `room` for both, at least one of each.

    Raises UsageError for a negative overlap.
    """
    if first + second <= room:
        return [(0, first, 0, second)]
    if stride < 0:
        raise UsageError(f"windows cannot overlap by {stride} tokens; give 0 or more")
    half = room // 2
    if first <= half:
        rooms = first, room - first
    elif second <= room - half:
        rooms = room - second, second
    else:
        rooms = half, room - half
    parts = [(total, size, size - min(stride, size // 2)) for total, size in zip((first, second), rooms, strict=True)]
    needed = [1 - (size - total) // step if step else 1 for total, size, step in parts]
    count = max(needed)
    begins = [
        # A part that needs fewer windows spreads evenly over them: its overlaps only grow.
        [min(k * step, total - size) if own == count else k * (total - size) // (count - 1) for k in range(count)]
        for (total, size, step), own in zip(parts, needed, strict=True)
    ]
    return [(one, rooms[0], two, rooms[1]) for one, two in zip(*begins, strict=True)]


def owned(encodings: Sequence[Encoding], part: int) -> list[slice]:
    """For consecutive windows of one source, from the first, the token positions of each that are its own.

    Each token of the part belongs to exactly one window: the one where it has most tokens of the part on its shorter
    side, the earlier of equals. A slice is empty where all tokens belong to others (the question of a pair).
    """
    extents = [_extent(encoding, part) for encoding in encodings]
    result = [slice(begin, begin) for begin, _ in extents]
    own, start = 0, 0  # the window that owned last, and where in it its own tokens start
    for k, (begin, stop) in enumerate(extents):
        if k:
            shift = _shift(encodings[own], extents[own], encodings[k], (begin, stop))
            if not shift:
                continue
            # Windows are of one length R, so what lies nearer to a window's middle has more context there: of R + shift
            # tokens the earlier window has the first (R + shift + 1) // 2.
            border = (extents[own][1] - extents[own][0] + shift + 1) // 2
            result[own] = slice(extents[own][0] + start, extents[own][0] + border)
            own, start = k, border - shift
        result[k] = slice(begin + start, stop)
    return result


def _extent(encoding: Encoding, part: int) -> tuple[int, int]:
    """First position of a part in a window, and the one behind its last."""
    place = np.flatnonzero(encoding.part_L == part)
    return (int(place[0]), int(place[-1]) + 1) if len(place) else (0, 0)


def _shift(one: Encoding, extent: tuple[int, int], two: Encoding, other: tuple[int, int]) -> int:
    """By how many tokens a window starts behind an earlier one: the smallest shift at which both tell the same.

    An encoding does not say where in its source it stands. Equal tokens of equal offsets, pieces of one character, could
    be mistaken for one another where windows meet inside of it; some of these pieces then have no owner.
    """
    columns = [(e.ids_L[slice(*x)], e.start_L[slice(*x)], e.end_L[slice(*x)]) for e, x in ((one, extent), (two, other))]
    length = extent[1] - extent[0]
    if not length or other[1] == other[0]:
        return length
    same = np.logical_and.reduce([a == b[0] for a, b in zip(*columns, strict=True)])
    for shift in np.flatnonzero(same).tolist():
        if all(np.array_equal(a[shift:], b[: length - shift]) for a, b in zip(*columns, strict=True)):
            return int(shift)
    return length


def _distinct(sources: Sequence[Source]) -> tuple[list[str], list[Place]]:
    """The distinct texts, the empty one first, and for each source which of them it reads."""
    index = {"": 0}

    def place(text: str) -> int:
        if not text.isascii():
            text = _SURROGATE.sub("\ufffd", text)
        return index.setdefault("" if text.isspace() else text, len(index))

    places = [(place(s.first), None if s.second is None else place(s.second)) for s in sources]
    return list(index), places


def _gathered(rows: list[_Range], tokens: _Tokens, special: list[int]) -> list[npt.NDArray[Any]]:
    """Arrays of all windows end to end: the fields of Encoding."""
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


def _cut(arrays: list[npt.NDArray[Any]], lengths: Sequence[Sequence[int]]) -> list[list[Encoding]]:
    """Windows as views of the arrays."""
    ids, types, starts, ends, parts = arrays
    result, begin = [], 0
    for source in lengths:
        encodings = []
        for window, length in enumerate(source):
            here = slice(begin, begin + length)
            encodings.append(Encoding(ids[here], types[here], starts[here], ends[here], parts[here], window))
            begin += length
        result.append(encodings)
    return result


def _probed(rust: tokenizers.Tokenizer, pair: bool) -> _Template:
    """Where the tokenizer's own post-processor puts special tokens, and the types it gives. Raises EncoderError."""
    probe = next((text for text in _PROBES if len(rust.encode(text, add_special_tokens=False))), None)
    if probe is None:
        raise EncoderError(f"the tokenizer finds no token in {', '.join(map(repr, _PROBES))}; it cannot be used")
    count = len(rust.encode(probe, add_special_tokens=False))
    found = rust.encode(probe, probe if pair else None)
    typed, parts = list(zip(found.ids, found.type_ids, strict=True)), found.sequence_ids
    first = parts.index(0) if 0 in parts else 0
    second = parts.index(1) if 1 in parts else first + count
    behind = second + count if pair else second
    middle = [None] * (second - first - count)
    expected = [None] * first + [0] * count + middle + [1] * (behind - second) + [None] * (len(parts) - behind)
    if parts != expected:
        raise EncoderError("the tokenizer's post-processor does not put the first text before the second, each once")
    return _Template(
        prefix=tuple(typed[:first]),
        middle=tuple(typed[first + count : second]),
        suffix=tuple(typed[behind:]),
        types=(typed[first][1], typed[second][1] if pair else 0),
    )


def _checked(path: Path) -> str:
    """The text of a file that holds a JSON object. Raises EncoderError."""
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text)
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} is not JSON ({error}); copy the encoder again") from None
    if not isinstance(found, dict):
        raise EncoderError(f"{path} holds no JSON object; copy the encoder again")
    return text


def _pad_names(files: Mapping[str, str]) -> list[str]:
    """Names of the padding token in the files, the configuration first."""
    values = [json.loads(files[name]).get("pad_token") for name in (CONFIG, SPECIAL) if name in files]
    return [value["content"] if isinstance(value, dict) else value for value in values if value]


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


def _converted(folder: Path, name: str) -> Tokenizer:
    """What transformers makes of a folder without `tokenizer.json`. Raises EncoderError."""
    from transformers import AutoTokenizer

    try:
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
    return Tokenizer(rust, files)


def _reason(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
