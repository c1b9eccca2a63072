"""HTML and SVG elements. A `str` is text and is escaped; only `Html`, which these functions return, is markup.

Decided here: characters that HTML does not allow (control characters, lone surrogates) become U+FFFD. Users' text is
isolated by `bdi`, so that a right-to-left label does not reorder the line around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape

Attributes = Mapping[str, "str | int | float | bool | None"]
"""True: an attribute without a value. None and False: left out."""

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_VOID = frozenset(["br", "col", "hr", "meta"])


class Html(str):
    """Markup, which is not escaped."""

    __slots__ = ()


def escaped(text: str) -> Html:
    """Escape text; markup is returned as it is.

    >>> escaped("a < b")
    'a &lt; b'
    """
    return text if isinstance(text, Html) else Html(escape(_FORBIDDEN.sub("\ufffd", text)))


def joined(parts: Iterable[str], between: str = "") -> Html:
    """Join parts, escaping those that are text."""
    return Html(escaped(between).join(escaped(part) for part in parts))


def element(name: str, attributes: Attributes | None = None, /, *children: str) -> Html:
    """`<name attributes>children</name>`, with all attribute values and text children escaped.

    >>> element("td", {"class": "number"}, "< 5")
    '<td class="number">&lt; 5</td>'
    """
    head = "".join(
        f" {key}" if value is True else f' {key}="{_value(value)}"'
        for key, value in (attributes or {}).items()
        if value is not None and value is not False
    )
    return Html(f"<{name}{head}>" if name in _VOID else f"<{name}{head}>{joined(children)}</{name}>")


def box(kind: str, *children: str) -> Html:
    """A `div` of a CSS class."""
    return element("div", {"class": kind}, *children)


def user_text(text: str) -> Html:
    """Text from a user, such as a name or a label, isolated from the direction of the text around it."""
    return element("bdi", None, text)


def code(text: str) -> Html:
    """Something to type or to compare character by character."""
    return element("code", None, text)


def percent(share: float) -> str:
    """A position or length from 0 to 1 as an SVG attribute."""
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + "%"


def _value(value: str | int | float) -> str:
    """An attribute value. Quotes are escaped even in markup, which `escaped` does not guarantee."""
    text = f"{value:.5g}" if isinstance(value, float) else str(value)
    return escape(_FORBIDDEN.sub("\ufffd", text))
