"""Conversion of word tags to spans and back; pure functions.

Design:
- Without a scheme, tags are read as the CoNLL scorer reads them (conlleval, Tjong Kim Sang, CoNLL-2000), whatever their
  scheme: a span ends before `O`, `B`, `S` or another label, or after `E` or `S`; an `I` or `E` that follows no span of its
  label opens one. This one rule reads IO, IOB1, IOB2, IOBES and BILOU, and sequences that break their scheme, in training,
  answers and the scoring of any system's files.
- With a scheme, only spans tagged exactly as the scheme would tag them count (seqeval's strict mode).
- `Span` counts words. Character spans are plain tuples `(start, end, label)`, so that type checkers distinguish them.
- `U` and `L` (BILOU) are read as `S` and `E`. A bare `B` or `I` has the label `_`, as in seqeval.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from manyheads.errors import RowError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from manyheads.text.words import Words

T = TypeVar("T")
Scheme = Literal["IO", "IOB1", "IOB2", "IOBES", "BILOU"]
CharSpan = tuple[int, int, str]
"""`(start, end, label)` in code points, end exclusive."""

UNLABELLED = "_"
_PREFIXES = "BIESUL"
_LETTERS: dict[Scheme, tuple[str, str, str, str]] = {
    "IO": ("I", "I", "I", "I"),
    "IOB1": ("I", "I", "I", "I"),
    "IOB2": ("B", "I", "I", "B"),
    "IOBES": ("B", "I", "E", "S"),
    "BILOU": ("B", "I", "L", "U"),
}
"""Letters of the first, inner and last word of a span, and of a span of one word."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A labelled run of words, end exclusive."""

    start: int
    end: int
    label: str


def check_tag(tag: object) -> str | None:
    """The error of an invalid tag, as a sentence; None for a valid one."""
    if not isinstance(tag, str):
        return f"tag {tag!r} is not a string; tags are O, or a letter and a label as in B-PER"
    if tag == "O" or (len(tag) == 1 and tag in _PREFIXES):
        return None
    prefix, dash, label = tag.partition("-")
    if dash and len(prefix) == 1 and prefix in _PREFIXES:
        return None if label else f"tag {tag!r} has no label; write it as in {prefix}-PER"
    return (f"tag {tag!r} is none of O, B-, I-, E-, S-, U-, L- with a label; check that the last column holds the tags (name "
            "another as in columns: {tags: 3}); a label alone is written as in I-PER")  # fmt: skip


def spans_of_tags(tags: Sequence[str], scheme: Scheme | None = None) -> list[Span]:
    """Spans in reading order; with a scheme, without those that break it. Raises RowError for an invalid tag.

    >>> spans_of_tags(["B-PER", "I-PER", "O", "B-LOC"])
    [Span(start=0, end=2, label='PER'), Span(start=3, end=4, label='LOC')]
    """
    spans: list[Span] = []
    start, open_label = -1, ""
    for place, tag in enumerate(tags):
        letter, label = _parts(tag)
        if start >= 0 and (letter in "OBS" or label != open_label):
            spans.append(Span(start, place, open_label))
            start = -1
        if letter == "O":
            continue
        if start < 0:
            start, open_label = place, label
        if letter in "ES":
            spans.append(Span(start, place + 1, open_label))
            start = -1
    if start >= 0:
        spans.append(Span(start, len(tags), open_label))
    if scheme is None:
        return spans
    seen = [_parts(tag) for tag in tags]
    written = [_parts(tag) for tag in tags_of_spans(spans, len(tags), scheme)]
    return [span for span in spans if seen[span.start : span.end] == written[span.start : span.end]]


def tags_of_spans(spans: Iterable[Span], length: int, scheme: Scheme = "IOB2") -> list[str]:
    """Tags of `length` words. Reading them gives the spans back, except that `IO` joins neighbours of one label.

    Raises ValueError if spans overlap, are empty, or lie outside.
    """
    first, inner, last, single = _LETTERS[scheme]
    tags = ["O"] * length
    before = Span(0, 0, "")
    for span in sorted(spans):
        if not before.end <= span.start < span.end <= length:
            raise ValueError(f"{span} is empty, overlaps {before}, or lies outside of {length} words")
        opening = "B" if scheme == "IOB1" and before.end == span.start and before.label == span.label else None
        tags[span.start : span.end] = [f"{inner}-{span.label}"] * (span.end - span.start)
        tags[span.end - 1] = f"{last}-{span.label}"
        tags[span.start] = f"{opening or (first if span.end - span.start > 1 else single)}-{span.label}"
        before = span
    return tags


def to_iob2(tags: Sequence[str]) -> list[str]:
    """Convert tags of any scheme to IOB2. Raises RowError for an invalid tag."""
    return tags_of_spans(spans_of_tags(tags), len(tags))


def scheme_of(sequences: Iterable[Sequence[str]]) -> Scheme:
    """The scheme that fits the tags of a dataset: `BILOU`, `IOBES`, `IOB1` or `IOB2`; IOB2 if several do.

    IOB1 writes `B-` only between neighbours of one label, so tags without any `B-` (IO) are read as IOB1. Raises RowError
    for an invalid tag.
    """
    letters: set[str] = set()
    opened_by_inner = needless = False
    for tags in sequences:
        previous = "O", ""
        for tag in tags:
            letter, label = current = _parts(tag)
            letters.add(tag[0])
            follows = previous[0] in "BI" and previous[1] == label
            opened_by_inner |= letter == "I" and not follows
            needless |= letter == "B" and not follows
            previous = current
    if letters & {"U", "L"}:
        return "BILOU"
    if letters & {"E", "S"}:
        return "IOBES"
    return "IOB1" if opened_by_inner and not needless else "IOB2"


def longest_apart(spans: Iterable[T], edges: Callable[[T], tuple[int, int]]) -> list[T]:
    """Spans that do not overlap, in reading order: of those that do the longest, of equally long ones the first.

    `edges`: start and end of a span, end exclusive.

    >>> longest_apart([(0, 4, "A"), (2, 9, "B"), (9, 10, "C")], edges=lambda span: span[:2])
    [(2, 9, 'B'), (9, 10, 'C')]
    """
    taken: list[tuple[int, int]] = []
    kept: list[T] = []
    placed = ((edges(span), span) for span in spans)
    for (start, end), span in sorted(placed, key=lambda pair: pair[0][0] - pair[0][1]):  # stable
        place = bisect_left(taken, (end, end))
        if not place or taken[place - 1][1] <= start:
            taken.insert(place, (start, end))
            kept.insert(place, span)
    return kept


def edges_of(span: CharSpan) -> tuple[int, int]:
    """Start and end."""
    return span[:2]


def overlapping(spans: Iterable[CharSpan]) -> tuple[CharSpan, CharSpan] | None:
    """The first two spans that overlap, in reading order; None if none do."""
    reach: CharSpan | None = None
    for span in sorted(spans):
        if reach is not None and span[0] < reach[1]:
            return reach, span
        if reach is None or span[1] > reach[1]:
            reach = span
    return None


def tags_of_char_spans(words: Words, spans: Sequence[CharSpan]) -> tuple[list[str], list[bool]]:
    """IOB2 tags of words, and for each span whether it begins and ends exactly where its words do.

    A span covers all words that it shares a character with; a word shared by two spans belongs to the earlier one. A span
    left without words gets no tag, and is not aligned.
    """
    offsets = words.tolist() if isinstance(words, np.ndarray) else words
    tags, aligned = ["O"] * len(offsets), [False] * len(spans)
    if not spans:
        return tags, aligned
    starts, ends = [word[0] for word in offsets], [word[1] for word in offsets]
    taken = 0
    for i in sorted(range(len(spans)), key=spans.__getitem__):
        start, end, label = spans[i]
        first, stop = max(bisect_right(ends, start), taken), bisect_left(starts, end)
        if start >= end or first >= stop:
            continue
        tags[first:stop] = [f"B-{label}", *[f"I-{label}"] * (stop - first - 1)]
        aligned[i] = starts[first] == start and ends[stop - 1] == end
        taken = stop
    return tags, aligned


@lru_cache(maxsize=4096)
def _parts(tag: str) -> tuple[str, str]:
    """Letter (with S for U and E for L) and label. Raises RowError."""
    problem = check_tag(tag)
    if problem:
        raise RowError(problem)
    if tag == "O":
        return "O", ""
    letter = {"U": "S", "L": "E"}.get(tag[0], tag[0])
    return letter, tag[2:] or UNLABELLED
