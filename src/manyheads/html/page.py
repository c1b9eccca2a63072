"""The document: a title, what is to be said first, sections with numbered exhibits. Complete without a script.

An exhibit is a figure and, below it, the numbers it shows. `document` counts them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import count

from manyheads.html.markup import Html, element, escaped, joined

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A figure with its numbers."""

    title: str
    drawing: Html
    numbers: Html
    """A table, or several."""
    note: str = ""
    """How to read it."""


Part = Html | Exhibit


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it."""

    key: str
    """The section's anchor."""
    title: str
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class Page:
    """What a document holds."""

    title: str
    eyebrow: str
    """A line above the title: what kind of report, of what."""
    lede: str
    """The answer, in a sentence or two."""
    sections: Sequence[Section]
    notices: Sequence[str] = ()
    """What is wrong or missing."""
    footer: str = ""
    facts: Sequence[tuple[str, str]] = field(default_factory=tuple)
    """The frame of it all, beside the answer: seeds, level, encoder."""


def document(page: Page) -> str:
    """The whole file. Sections without parts are left out."""
    sections = [section for section in page.sections if section.parts]
    numbers = count(1)
    facts = (element("div", None, element("dt", None, name), element("dd", None, value)) for name, value in page.facts)
    header = element(
        "header",
        None,
        element("p", {"class": "eyebrow"}, page.eyebrow),
        element("h1", None, page.title),
        element("p", {"class": "lede"}, page.lede),
        *(element("p", {"class": "notice", "role": "note"}, notice) for notice in page.notices),
        element("dl", {"class": "frame"}, joined(facts)) if page.facts else Html(),
    )
    body = joined(
        [
            header,
            _contents(sections),
            element("main", None, *(_section(section, numbers) for section in sections)),
            element("footer", None, page.footer),
        ],
        "\n",
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n{_head(page)}\n{element("body", None, body)}\n</html>\n'


def paragraph(*children: str) -> Html:
    """A paragraph."""
    return element("p", None, *children)


def heading(text: str, key: str | None = None) -> Html:
    """Of a part of a section."""
    return element("h3", {"id": key}, text)


def aside(*children: str) -> Html:
    """A smaller paragraph: how to read what is above it."""
    return element("p", {"class": "aside"}, *children)


def folded(summary: str, *children: str) -> Html:
    """Something that opens when it is asked for."""
    return element("details", None, element("summary", None, summary), *children)


def _head(page: Page) -> Html:
    style = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    return element(
        "head",
        None,
        element("meta", {"charset": "utf-8"}),
        element("meta", {"http-equiv": "Content-Security-Policy", "content": POLICY}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("meta", {"name": "color-scheme", "content": "light dark"}),
        element("title", None, f"{page.title} · {page.eyebrow}"),
        element("style", None, Html(style)),
    )


def _contents(sections: Sequence[Section]) -> Html:
    links = (
        element("li", None, element("a", {"href": f"#{section.key}"}, escaped(section.title))) for section in sections
    )
    return element("nav", {"aria-label": "Contents"}, element("ol", None, *links))


def _section(section: Section, numbers: Iterator[int]) -> Html:
    parts = [_exhibit(part, next(numbers)) if isinstance(part, Exhibit) else part for part in section.parts]
    return element("section", {"id": section.key}, element("h2", None, section.title), *parts)


def _exhibit(exhibit: Exhibit, number: int) -> Html:
    caption = element(
        "figcaption", None, element("b", None, f"Figure {number}. "), exhibit.title, " ",
        element("span", {"class": "how"}, exhibit.note) if exhibit.note else Html(),
    )  # fmt: skip
    return element(
        "div",
        {"class": "exhibit"},
        element("figure", {"id": f"figure-{number}"}, caption, exhibit.drawing),
        folded(f"Numbers of figure {number}", exhibit.numbers),
    )
