"""What every report must be, whatever it is of."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise

VOID = {"meta", "br", "hr", "col"}


class Outline(HTMLParser):
    """Elements in order, balanced or an error; headings; what follows each figure."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.headings: list[str] = []
        self.tags: list[str] = []
        self.after_figure: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.unnamed: list[str] = []
        self._waiting = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append(tag)
        if self._waiting:
            self.after_figure.append(tag)
            self._waiting = False
        if re.fullmatch(r"h\d", tag):
            self.headings.append(tag)
        if named.get("id"):
            self.ids.append(named["id"] or "")
        if named.get("href"):
            self.links.append(named["href"] or "")
        if (named.get("role") in ("img", "group") or tag == "nav") and not named.get("aria-label"):
            self.unnamed.append(tag)
        assert not any(key.startswith("on") or key in ("style", "src") for key in named), named
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._waiting = self._waiting or tag == "figure"


def outline(page: str) -> Outline:
    """The page, taken apart; fails for what no report may be."""
    found = Outline()
    found.feed(page)
    found.close()
    assert found.open == []
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
    page.encode("utf-8")
    return found


def check(page: str) -> Outline:
    """Everything that needs no browser."""
    found = outline(page)
    assert "script" not in found.tags
    assert "img" not in found.tags
    assert "link" not in found.tags
    assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+|@import|url\(", page) == []
    assert found.headings[0] == "h1"
    assert found.headings.count("h1") == 1
    depths = [int(tag[1]) for tag in found.headings]
    assert all(deep <= before + 1 for before, deep in pairwise(depths))
    assert found.tags.count("figure") > 0
    assert found.after_figure == ["details"] * found.tags.count("figure")
    assert all("<table" in part.split("</details>")[0] for part in page.split("</figure>")[1:])
    assert len(set(found.ids)) == len(found.ids)
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)
    assert found.unnamed == []
    assert found.tags.count("table") == found.tags.count("caption")
    return found
