"""Elements of HTML and SVG. A `str` is text and is escaped; only `Html`, which these functions make, is markup.

Decided here: characters that no document may hold (control characters, halves of surrogate pairs) become U+FFFD, and what
users wrote is isolated by `bdi`, so that a right-to-left label does not turn the line around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape

Attributes = Mapping[str, "str | int | float | bool | None"]
"""True: without a value. None and False: left out."""

_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_VOID = frozenset(["br", "col", "hr", "meta"])


class Html(str):
    """Markup as it goes into the page."""

    __slots__ = ()


def escaped(text: str) -> Html:
    """Text as markup; markup as it is."""
    return text if isinstance(text, Html) else Html(escape(_UNFIT.sub("\ufffd", text)))


def joined(parts: Iterable[str], between: str = "") -> Html:
    """Parts one after the other; texts among them are escaped."""
    return Html(escaped(between).join(escaped(part) for part in parts))


def element(name: str, attributes: Attributes | None = None, /, *children: str) -> Html:
    """`<name attributes>children</name>`; texts among the children are escaped, and all values of attributes."""
    head = "".join(
        f" {key}" if value is True else f' {key}="{_value(value)}"'
        for key, value in (attributes or {}).items()
        if value is not None and value is not False
    )
    return Html(f"<{name}{head}>" if name in _VOID else f"<{name}{head}>{joined(children)}</{name}>")


def said(text: str) -> Html:
    """What a user wrote: a name, a label."""
    return element("bdi", None, text)


def code(text: str) -> Html:
    """Something to type or compare letter by letter."""
    return element("code", None, text)


def percent(share: float) -> str:
    """A position or length, 0 to 1, for an attribute of SVG."""
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + "%"


def _value(value: str | int | float) -> str:
    """The value of an attribute. Quotes are escaped in markup too, which `element` does not promise to have done."""
    text = f"{value:.5g}" if isinstance(value, float) else str(value)
    return escape(_UNFIT.sub("\ufffd", text))
