"""The document: a title, the result in a sentence, and sections with numbered exhibits. No scripts.

An exhibit is a figure followed by a table of its numbers. `document` numbers them.
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
    """A figure with a table of its numbers."""

    title: str
    drawing: Html
    numbers: Html
    """One table or several."""
    note: str = ""
    """How to read it."""


Part = Html | Exhibit


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the parts below it."""

    key: str
    """The section's anchor."""
    title: str
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class Page:
    """Content of a document."""

    title: str
    eyebrow: str
    """Line above the title: the kind of report and its subject."""
    lede: str
    """The result in a sentence or two."""
    sections: Sequence[Section]
    notices: Sequence[str] = ()
    """Warnings about wrong or missing data."""
    footer: str = ""
    facts: Sequence[tuple[str, str]] = field(default_factory=tuple)
    """Key facts beside the result, such as seeds and encoder."""


def document(page: Page) -> str:
    """The whole file, without the sections that have no parts."""
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
    """Heading of a part of a section."""
    return element("h3", {"id": key}, text)


def aside(*children: str) -> Html:
    """A paragraph in small print, such as how to read a figure."""
    return element("p", {"class": "aside"}, *children)


def details(summary: str, *children: str) -> Html:
    """Collapsed content with a summary to click on."""
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
        details(f"Numbers of figure {number}", exhibit.numbers),
    )
