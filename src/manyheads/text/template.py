"""Where a tokenizer puts special tokens, and the token types it assigns.

Both are found by encoding a probe with the tokenizer's own post-processor, once, instead of knowing families of encoders.
Texts are then encoded without special tokens, which the template adds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from manyheads.errors import EncoderError

if TYPE_CHECKING:
    import tokenizers

Range = tuple[int, int, int, int]
"""First token in a pool of tokens, number of tokens, part, token type."""

_PROBES = ("a", "the", "1", "a b c", "一")


@dataclass(frozen=True, slots=True)
class Template:
    """Special tokens `(id, type)` before, between and after the parts, and the token types of the parts."""

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

    def ranges(self, place: int) -> tuple[list[Range], list[Range], list[Range], tuple[int, int]]:
        """Prefix, middle and suffix as ranges of one token each, for ids at `place` in the pool; and `types`."""
        typed = (*self.prefix, *self.middle, *self.suffix)
        ranges = [(place + i, 1, -1, kind) for i, (_, kind) in enumerate(typed)]
        behind = len(self.prefix) + len(self.middle)
        return ranges[: len(self.prefix)], ranges[len(self.prefix) : behind], ranges[behind:], self.types


def probed(rust: tokenizers.Tokenizer, pair: bool) -> Template:
    """The template of a tokenizer's own post-processor. Raises EncoderError."""
    probe = next((text for text in _PROBES if len(rust.encode(text, add_special_tokens=False))), None)
    if probe is None:
        raise EncoderError(f"the tokenizer finds no token in {', '.join(map(repr, _PROBES))}; it is not usable")
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
    return Template(
        prefix=tuple(typed[:first]),
        middle=tuple(typed[first + count : second]),
        suffix=tuple(typed[behind:]),
        types=(typed[first][1], typed[second][1] if pair else 0),
    )
