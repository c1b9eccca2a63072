"""Quotations of texts in which a task made a mistake."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from manyheads.html.markup import Html, element, escaped, joined
from manyheads.html.page import aside

AROUND = 70
"""Characters of context on each side."""
SHOWN = 5
"""Examples of each kind."""
LONGEST = 400
"""Characters of a text that is quoted whole."""

Span = tuple[int, int]
"""Code points, end exclusive."""


def in_context(text: str, gold: Sequence[Span], found: Sequence[Span], focus: Span) -> Html:
    """A text around `focus`: gold spans underlined, predicted ones shaded, the focus bold."""
    start, end = _bounds(text, focus)
    edges = sorted({start, end, *(min(max(edge, start), end) for span in (*gold, *found, focus) for edge in span)})
    pieces = []
    for left, right in pairwise(edges):
        inside = [any(a <= left and right <= b for a, b in spans) for spans in (gold, found)]
        name = {(True, False): "gold", (False, True): "found", (True, True): "gold both"}.get((inside[0], inside[1]))
        piece = text[left:right]
        marked = element("mark", {"class": name}, piece) if name else escaped(piece)
        pieces.append(element("b", None, marked) if name and focus[0] <= left and right <= focus[1] else marked)
    return element(
        "span", {"class": "said", "dir": "auto"}, "… " if start else "", joined(pieces), " …" if end < len(text) else ""
    )


def quoted(text: str) -> Html:
    """A text, cut if it is long."""
    return element("span", {"class": "said", "dir": "auto"}, text if len(text) <= LONGEST else f"{text[:LONGEST]} …")


def quote_legend() -> Html:
    """Legend of `in_context`."""
    gold = element("mark", {"class": "gold"}, "Underlined")
    return aside(gold, ": gold. ", element("mark", {"class": "found"}, "Shaded"), ": predicted.")


def _bounds(text: str, focus: Span) -> Span:
    """Bounds of the focus and its context, extended to spaces."""
    start, end = max(0, focus[0] - AROUND), min(len(text), focus[1] + AROUND)
    if start and (space := re.search(r"\s", text[start : focus[0]])):
        start += space.end()
    if end < len(text) and (space := re.search(r"\s\S*$", text[focus[1] : end])):
        end = focus[1] + space.start()
    return start, end
