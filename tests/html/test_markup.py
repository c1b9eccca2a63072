"""Markup: what is text stays text, whatever is in it."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyheads.html.markup import Html, element, escaped, joined, percent, user_text


class Reader(HTMLParser):
    """What a reader of HTML sees: tags with their attributes, and text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def read(markup: str) -> Reader:
    reader = Reader()
    reader.feed(markup)
    reader.close()
    return reader


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc", "Cn"])))
def test_any_text_comes_back_as_it_was_and_makes_no_element(text: str) -> None:
    reader = read(element("p", {"title": text}, text))
    assert reader.text == text
    assert reader.tags == [("p", {"title": text})]


@given(st.text(st.characters()))
def test_any_string_can_be_written_as_utf_8(text: str) -> None:
    markup = user_text(text)
    markup.encode("utf-8")
    assert not any(ord(c) < 32 and c not in "\t\n\r" for c in markup)
    assert [tag for tag, _ in read(markup).tags] == ["bdi"]


def test_markup_is_not_escaped_twice_and_text_beside_it_once() -> None:
    assert element("p", None, element("b", None, "a<b"), " & ") == "<p><b>a&lt;b</b> &amp; </p>"
    assert escaped(Html("<br>")) == "<br>"
    assert joined(["<", Html("<i>x</i>")], " & ") == "&lt; &amp; <i>x</i>"


def test_attributes_that_are_none_or_false_are_left_out_and_true_has_no_value() -> None:
    assert element("details", {"open": True, "id": None, "hidden": False, "title": 'a"b'}) == (
        '<details open title="a&quot;b"></details>'
    )


@pytest.mark.parametrize(("share", "shown"), [(0.0, "0%"), (0.5, "50%"), (1.0, "100%"), (1 / 3, "33.33%")])
def test_shares_become_percentages(share: float, shown: str) -> None:
    assert percent(share) == shown
