"""What an output format cannot hold: removed from each document, counted, and said. Nothing is dropped silently.

A format lists what it holds. Formats themselves count what depends on their details, such as line ends in PubTator.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from manyheads.data.formats.annotations import Relation, Span, with_ends
from manyheads.outputs.documents import Document
from manyheads.text.spans import longest_apart

SCORES, IDS, IDENTIFIERS, COLUMNS, GROUPS, WORDS, PIECES, OVERLAPS, NAMES, ATTRIBUTES, RELATIONS = (
    "scores", "ids", "identifiers", "columns", "documents", "words", "discontinuous spans", "overlapping spans",
    "ids of spans", "attributes", "relations",
)  # fmt: skip
"""What only some formats hold."""


@dataclass(slots=True)
class _Count:
    count: int
    where: str


class Losses:
    """Counts of what was not written, or was changed, each with the first place.

    >>> losses = Losses("brat standoff")
    >>> losses.add("scores not written", "a.jsonl:2", 3)
    >>> losses.lines()
    ['brat standoff: scores not written (3, the first at a.jsonl:2)']
    """

    def __init__(self, title: str) -> None:
        """`title`: of the format."""
        self._title = title
        self._counts: dict[str, _Count] = {}

    def add(self, what: str, where: str, count: int = 1) -> None:
        """Count something, in the plural; a count of 0 changes nothing."""
        if count:
            found = self._counts.setdefault(what, _Count(0, where))
            found.count += count

    def clear(self) -> None:
        """Forget all counts."""
        self._counts.clear()

    def lines(self) -> list[str]:
        """A sentence for each kind of loss."""
        return [
            f"{self._title}: {what} ({found.count:,}, the first at {found.where})"
            for what, found in self._counts.items()
        ]


def fitted(document: Document, holds: Collection[str], losses: Losses) -> Document:
    """The document without what a format cannot hold, which is counted."""
    where = document.where
    for part in document.lost:
        losses.add(f"{part.what} not written", part.where)
    spans, relations = document.spans, document.relations
    if spans is not None:
        spans = _fitted_spans(spans, holds, losses, where)
        relations = _fitted_relations(relations, spans, holds, losses, where)
        spans = _without_marks(spans, holds, losses, where)
    labels = document.labels
    if labels is not None and labels.scores and SCORES not in holds:
        losses.add("texts written without the scores of their labels", where)
        labels = replace(labels, scores={})
    if document.tag_scores and SCORES not in holds:
        losses.add("scores not written", where, len(document.tag_scores))
    if document.id is not None and IDS not in holds:
        losses.add("ids not written", where)
    if document.group and GROUPS not in holds:
        losses.add("rows written without their document", where)
    if document.columns and COLUMNS not in holds:
        losses.add(f"rows written without their other columns ({', '.join(document.columns)[:80]})", where)
    if document.words is not None and WORDS not in holds:
        losses.add("rows written as texts, without their own words", where)
    return replace(
        document,
        spans=spans,
        relations=relations,
        labels=labels,
        id=document.id if IDS in holds else None,
        group=document.group if GROUPS in holds else "",
        columns=document.columns if COLUMNS in holds else {},
        words=document.words if WORDS in holds else None,
    )


def without_overlaps(spans: Collection[Span]) -> list[Span]:
    """Spans that do not overlap, in text order: of those that do the longest, of equally long ones the first.

    >>> [span.label for span in without_overlaps([Span(((0, 4),), "A"), Span(((2, 9),), "B"), Span(((9, 10),), "C")])]
    ['B', 'C']
    """
    return longest_apart(spans, edges=lambda span: (span.start, span.end))


def _fitted_spans(spans: tuple[Span, ...], holds: Collection[str], losses: Losses, where: str) -> tuple[Span, ...]:
    kept: Collection[Span] = spans
    if PIECES not in holds:
        kept = [span for span in spans if len(span.pieces) == 1]
        losses.add("discontinuous spans not written", where, len(spans) - len(kept))
    if OVERLAPS not in holds:
        flat = without_overlaps(kept)
        losses.add("spans that overlap a longer one not written", where, len(kept) - len(flat))
        kept = flat
    if SCORES not in holds:
        losses.add("scores not written", where, sum(span.score is not None for span in kept))
        kept = [replace(span, score=None) for span in kept]
    return tuple(kept)


def _without_marks(spans: tuple[Span, ...], holds: Collection[str], losses: Losses, where: str) -> tuple[Span, ...]:
    """The spans without attributes, identifiers and ids that are not held."""
    kept = spans
    if IDENTIFIERS not in holds:
        losses.add("identifiers of spans not written", where, sum(bool(span.links) for span in kept))
        kept = tuple(replace(span, links=()) for span in kept)
    if ATTRIBUTES not in holds:
        losses.add("attributes of spans not written", where, sum(len(span.attributes) for span in kept))
        kept = tuple(replace(span, attributes={}) for span in kept)
    if NAMES not in holds:
        losses.add("ids of spans not written", where, sum(bool(span.id) for span in kept))
        kept = tuple(replace(span, id="") for span in kept)
    return kept


def _fitted_relations(
    relations: tuple[Relation, ...], spans: tuple[Span, ...], holds: Collection[str], losses: Losses, where: str
) -> tuple[Relation, ...]:
    """The relations between spans that are written."""
    if RELATIONS not in holds:
        losses.add("relations not written", where, len(relations))
        return ()
    kept = with_ends(relations, spans)
    losses.add("relations of spans that are not written", where, len(relations) - len(kept))
    return tuple(kept)
