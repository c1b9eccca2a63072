"""The pack: all sequences of all tasks of a batch, concatenated without padding.

Legend of shapes, used in every tensor name of the library:
T tokens of a pack · S sequences of a pack · D width of the encoder · K labels · B rows · L length of a padded row.
A sequence is one window of one source; `bounds` holds S + 1 cumulative lengths: sequence s is `bounds[s]:bounds[s+1]`.

Where each new shape is compiled (layers on CUDA, bf16 matmuls on a CPU), a pack ends in a tail: sequences of zeros that pad
its tokens to a multiple of `STEADY`, or of `eighth_of` them, and that no head reads. Like all sequences they attend only to
themselves, so no result depends on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt
    import torch

    Ints = npt.NDArray[np.int32]


IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
"""Names of the tensors of a batch of padded rows, as in transformers."""
STEADY = 1024
"""Packs of a few steady shapes have a multiple of this: at 32,768 tokens per step 2 shapes, with 1.6 % padding."""
LEAST_STEP = 16
"""Step between the shapes of small packs, in tokens."""
ROUNDED = 64
"""The maximum length passed to a kernel is a multiple of this, so that its launch does not change with every step."""


@dataclass(frozen=True, slots=True)
class Source:
    """The input of the encoder: one text, or a pair. Equal sources share one encoder pass.

    `first` alone, or `first` and `second` in the tokenizer's pair form (for question answering: question, context).
    """

    first: str
    second: str | None = None
    stride: int = 64
    """Tokens by which neighbouring windows overlap when the source is longer than the encoder's maximum length."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """One window of a source: what one sequence of a pack is made of. All arrays have the window's length L."""

    ids_L: Ints
    type_L: Ints
    start_L: Ints
    """Offset of each token in its own text (code points); 0 for special tokens."""
    end_L: Ints
    """End offset, exclusive. Never covers white space at either side; covers trailing combining marks."""
    part_L: npt.NDArray[np.int8]
    """-1 for a special token, 0 for a token of `first`, 1 for one of `second`."""
    window: int
    """Number of the window in its source, from 0."""
    first_token: tuple[int, int] = (0, 0)
    """Where the window begins in each part, as an index into the tokens of the whole text."""
    before: int = -1
    """Offset of the token of `first` before this window; -1 if there is none."""
    after: int = -1
    """Offset of the token of `first` after this window; -1 if there is none."""

    def __len__(self) -> int:
        return len(self.ids_L)


@dataclass(frozen=True, slots=True)
class Segments:
    """Sequence boundaries in a (slice of a) pack. `lengths` are Python integers, so reading them never waits for a device."""

    lengths: tuple[int, ...]
    bounds_S1: torch.Tensor
    """S + 1 cumulative lengths, int32, on the device of the hidden states."""

    @property
    def max_length(self) -> int:
        """The longest sequence, in tokens."""
        return max(self.lengths, default=0)

    @property
    def bound_length(self) -> int:
        """An upper bound of the length: the longest sequence, rounded up to a multiple of `ROUNDED`."""
        return -(-self.max_length // ROUNDED) * ROUNDED

    def __len__(self) -> int:
        return len(self.lengths)

    @staticmethod
    def of(lengths: Sequence[int], device: torch.device | str = "cpu") -> Segments:
        """Segments of concatenated sequences."""
        import torch

        bounds = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
        return Segments(tuple(lengths), bounds)

    def part(self, first: int, stop: int) -> Segments:
        """Sequences `first` to `stop - 1`."""
        if first == 0 and stop == len(self.lengths):
            return self
        start = sum(self.lengths[:first])
        return Segments(self.lengths[first:stop], self.bounds_S1[first : stop + 1] - start)

    def cut(self, values_TX: torch.Tensor, first: int, stop: int) -> torch.Tensor:
        """The tokens of sequences `first` to `stop - 1`, without a copy."""
        if first == 0 and stop == len(self.lengths):
            return values_TX
        start = sum(self.lengths[:first])
        return values_TX[start : start + sum(self.lengths[first:stop])]

    def slices(self) -> Iterator[slice]:
        """The token range of each sequence."""
        start = 0
        for length in self.lengths:
            yield slice(start, start + length)
            start += length


@dataclass(frozen=True, slots=True)
class Pack:
    """Concatenated sequences of any tasks. All tensors are one-dimensional, and int64 except for the bounds."""

    ids_T: torch.Tensor
    position_T: torch.Tensor
    """Position inside its sequence, from 0; an encoder of the RoBERTa family adds its own offset."""
    type_T: torch.Tensor
    segments: Segments

    @staticmethod
    def of(encodings: Sequence[Encoding], multiple: int = 1) -> Pack:
        """Concatenate encodings, on the CPU, with a tail up to a `multiple` of tokens. Raises ValueError for none."""
        import torch

        if not encodings:
            raise ValueError("a pack needs at least one sequence")
        lengths = [len(e) for e in encodings]
        tail = tail_lengths(lengths, multiple)
        nothing_T = np.zeros(sum(tail), np.int64)
        lengths += tail
        return Pack(
            ids_T=torch.from_numpy(np.concatenate([*(e.ids_L for e in encodings), nothing_T]).astype(np.int64)),
            position_T=torch.from_numpy(np.concatenate([np.arange(length) for length in lengths]).astype(np.int64)),
            type_T=torch.from_numpy(np.concatenate([*(e.type_L for e in encodings), nothing_T]).astype(np.int64)),
            segments=Segments.of(lengths),
        )

    def part(self, first: int, stop: int) -> Pack:
        """The pack of sequences `first` to `stop - 1`, without a copy."""
        cut = self.segments.cut
        ids_T, position_T, type_T = (cut(x_T, first, stop) for x_T in (self.ids_T, self.position_T, self.type_T))
        return Pack(ids_T, position_T, type_T, self.segments.part(first, stop))

    def only(self, sequences: Sequence[int]) -> Pack:
        """The pack of some of its sequences, in the given order."""
        import torch

        lengths = list(self.segments.lengths)
        divided = (x_T.split_with_sizes(lengths) for x_T in (self.ids_T, self.position_T, self.type_T))
        ids_T, position_T, type_T = (torch.cat([parts[s] for s in sequences]) for parts in divided)
        return Pack(ids_T, position_T, type_T, Segments.of([lengths[s] for s in sequences], self.ids_T.device))

    @property
    def tokens(self) -> int:
        """Tokens that the encoder computes, including the tail."""
        return len(self.ids_T)

    def to(self, device: torch.device) -> Pack:
        """The same pack on a device. The copy is asynchronous; from pinned memory it overlaps with computation."""
        if self.ids_T.device == device:
            return self
        return self._each(lambda x: x.to(device, non_blocking=True))

    def pinned(self) -> Pack:
        """The same pack in pinned memory. Needs a CUDA device."""
        return self._each(lambda x: x.pin_memory())

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Pack:
        ids_T, position_T, type_T = map(change, (self.ids_T, self.position_T, self.type_T))
        return Pack(ids_T, position_T, type_T, Segments(self.segments.lengths, change(self.segments.bounds_S1)))


def eighth_of(tokens: int) -> int:
    """The multiple to which packs of about this many tokens are padded, for eight shapes between two powers of two.

    Padding is at most an eighth, 5 % on average; below 256 tokens at most 15 tokens.

    >>> eighth_of(1000)
    64
    """
    return max(LEAST_STEP, 1 << tokens.bit_length() >> 4)


def tail_lengths(lengths: Sequence[int], multiple: int) -> list[int]:
    """Lengths of sequences that pad a pack to a multiple of tokens, none longer than its longest.

    >>> tail_lengths([30, 50], 64)
    [48]
    """
    missing, longest = -sum(lengths) % multiple, max(lengths)
    whole, rest = divmod(missing, longest)
    return [longest] * whole + ([rest] if rest else [])
