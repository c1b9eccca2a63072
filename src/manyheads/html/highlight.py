"""Parts of texts with labels, as displaCy draws them, and bars of scores, for notebooks.

Decided here:
- Styles are inline: notebooks keep them where they drop style sheets, and a page may show many of these.
- Text keeps the colour of the page, and backgrounds are translucent, so it can be read on light and dark pages alike. A
  notebook's theme cannot be asked for: `prefers-color-scheme` is the system's.
- No information is in colour alone: every part has its label beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from manyheads.html.markup import Html, element, escaped, joined, percent, user_text

GOLDEN_ANGLE = 137.508
"""Degrees between the hues of neighbouring labels: any number of them stays apart."""
SHADE = 0.3
"""Opacity of backgrounds. Black and white text on them, on white and on #111, keep a contrast of at least 7 to 1."""
LONGEST = 4000
"""Characters of a text that are shown."""
FRAME = "font-family: system-ui, sans-serif; font-size: 14px; line-height: 1.5; color: inherit;"
TEXT = "margin: 4px 0; line-height: 2.1; white-space: pre-wrap; overflow-wrap: anywhere;"
MARK = "background: {colour}; color: inherit; padding: 2px 4px; border-radius: 4px;"
LABEL = "font-size: 0.75em; font-weight: 600; margin-inline-start: 6px; letter-spacing: 0.02em;"
QUIET = "opacity: 0.75;"
TRACK = "display: inline-block; width: 120px; height: 8px; border-radius: 4px; background: rgba(128, 128, 128, 0.25);"


@dataclass(frozen=True, slots=True)
class Part:
    """A labelled part of a text, in code points, the end exclusive."""

    start: int
    end: int
    label: str
    score: float | None = None


def highlighted(text: str, parts: Sequence[Part], labels: Sequence[str] = ()) -> Html:
    """A text with its parts marked, each followed by its label. `labels` in the order that decides their colours.

    Overlapping parts are marked piece by piece; each has its label at its end.

    >>> highlighted("So be it", [Part(0, 2, "ADV")]).count("<mark")
    1
    """
    hues = _hues([*labels, *(part.label for part in parts)])
    shown = text[:LONGEST]
    inside = [part for part in parts if 0 <= part.start < part.end <= len(shown)]
    edges = sorted({0, len(shown), *(edge for part in inside for edge in (part.start, part.end))})
    pieces = [_piece(shown, left, right, inside, hues) for left, right in pairwise(edges)]
    rest = []
    if len(text) > LONGEST:
        hidden = len(parts) - len(inside)
        more = f", with {hidden:,} marked parts" if hidden else ""
        rest = [element("span", {"style": QUIET}, f" … {len(text) - LONGEST:,} more characters{more}")]
    return element("div", {"style": TEXT, "dir": "auto"}, joined([*pieces, *rest]))


def _piece(text: str, left: int, right: int, parts: Sequence[Part], hues: Mapping[str, float]) -> Html:
    """The text between two edges, marked in the colour of the shortest part around it, with the labels that end here."""
    around = sorted((part for part in parts if part.start <= left and right <= part.end), key=lambda p: p.end - p.start)
    if not around:
        return escaped(text[left:right])
    ending = [_label(part) for part in around if part.end == right]
    colour = f"hsla({hues[around[0].label]:.0f}, 85%, 50%, {SHADE})"
    return element("mark", {"style": MARK.format(colour=colour)}, text[left:right], *ending)


def _label(part: Part) -> Html:
    title = None if part.score is None else f"score {part.score:.3f}"
    return element("span", {"style": LABEL, "title": title}, user_text(part.label))


def _hues(labels: Sequence[str]) -> dict[str, float]:
    """A hue for each label, in degrees."""
    return {label: (215 + i * GOLDEN_ANGLE) % 360 for i, label in enumerate(dict.fromkeys(labels))}


def score_bars(scores: Mapping[str, float], given: Collection[str], most: int = 5) -> Html:
    """Scores from 0 to 1 as bars, the `most` highest of them; the labels that are `given` are bold.

    >>> score_bars({"good": 0.9, "bad": 0.1}, ["good"]).count("<b>")
    1
    """
    ranked = sorted(scores.items(), key=lambda pair: -pair[1])
    rows = []
    for label, score in ranked[:most]:
        name = user_text(label)
        fill = f"{TRACK.replace('120px', percent(min(max(score, 0.0), 1.0)))} background: currentColor; vertical-align: top;"
        bar = element("span", {"style": TRACK}, element("span", {"style": fill}))
        rows.append(_cells(element("b", None, name) if label in given else name, bar, f"{score:.3f}"))
    if len(ranked) > most:
        rows.append(_cells(element("span", {"style": QUIET}, f"{len(ranked) - most:,} more labels"), "", ""))
    return _table(rows)


def small_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """A table without a style sheet. Cells are text or markup.

    >>> small_table(["task"], [["entities"]]).count("<tr")
    2
    """
    return _table([_cells(*(element("b", None, cell) for cell in header)), *(_cells(*row) for row in rows)])


def _table(rows: Sequence[Html]) -> Html:
    style = "border-collapse: collapse; margin: 2px 0; font-size: inherit; color: inherit;"
    return element("table", {"style": style}, joined(rows))


def _cells(*cells: str) -> Html:
    style = "padding: 1px 12px 1px 0; border: 0; text-align: start; background: none; color: inherit;"
    return element("tr", {"style": "background: none;"}, *(element("td", {"style": style}, cell) for cell in cells))


def named(name: str, body: Html) -> Html:
    """A part of a result under its name."""
    heading = element("div", {"style": f"font-size: 0.85em; {QUIET}"}, user_text(name))
    return element("div", {"style": "margin: 6px 0;"}, heading, body)


def framed(*children: str) -> Html:
    """The whole of what a notebook shows."""
    return element("div", {"style": FRAME}, *children)
