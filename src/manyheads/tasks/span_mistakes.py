"""Mistakes of tasks about entities, in context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manyheads.html.findings import SHOWN, in_context, quote_legend
from manyheads.html.markup import Html, user_text
from manyheads.html.numbers import count, plural, points
from manyheads.html.page import Part, paragraph
from manyheads.html.tables import Column, numbers, table, words
from manyheads.metrics.labels import Counts

MOST_LABELS = 20
NOTHING = "–"


@dataclass(frozen=True, slots=True)
class SpanMistake:
    """A wrong answer about one or two entities of a text."""

    text: str
    spans: tuple[tuple[int, int], ...]
    gold: str
    given: str
    """Empty strings for no label."""
    score: float


def mistakes_in_context(counts: dict[str, Counts], mistakes: Sequence[SpanMistake], asked: int, noun: str) -> list[Part]:
    """Scores by label, and the most confident mistakes. `asked` of `noun` (plural) have a gold label."""
    frequent = sorted(counts, key=lambda name: (-counts[name].gold, name))[:MOST_LABELS]
    body = [
        [user_text(name), count(c.gold), count(c.predicted), points(c.precision), points(c.recall), points(c.f1)]
        for name, c in ((name, counts[name]) for name in frequent)
    ]
    columns = [*words("label"), *numbers("labelled", "answered", "precision", "recall", "F1")]
    parts: list[Part] = [table(f"{count(asked)} {noun} by label.", columns, body)]
    if not mistakes:
        return [*parts, paragraph(f"None of {count(asked)} {noun} is wrong.")]
    return [*parts, quote_legend(), _most_confident(mistakes, asked, noun)]


def _most_confident(mistakes: Sequence[SpanMistake], asked: int, noun: str) -> Html:
    rows = []
    for one in sorted(mistakes, key=lambda one: -one.score)[: 2 * SHOWN]:
        focus = min(start for start, _ in one.spans), max(end for _, end in one.spans)
        score = f"{one.score:.2f}" if one.given else NOTHING
        quote = in_context(one.text, one.spans, (), focus)
        rows.append([quote, user_text(one.gold or NOTHING), user_text(one.given or NOTHING), score])
    caption = f"{plural(len(mistakes), 'mistake')} in {count(asked)} {noun}; the most confident ones."
    return table(caption, [*words("in context", "labelled", "answered"), Column("confidence")], rows)

