"""Spans with attributes and identifiers, relations between them, and how a row holds them.

    {"text": "No fever after Orbanol.",
     "entities": [{"id": "T1", "start": 3, "end": 8, "label": "Disease", "attributes": {"negated": true}, "links": ["D005"]},
                  {"id": "T2", "start": 15, "end": 22, "label": "Chemical"}],
     "relations": [{"head": "T2", "tail": "T1", "label": "treats"}]}

Decided here:
- An `id` is a name within the row. `head` and `tail` are ids; or `links`, if a relation holds between concepts, not mentions.
- A discontinuous span has `pieces`. A relation may have `attributes` too, and `roles`: the names of its two ends.
- An attribute is a string, a number, true or false, or several strings. Where a format has only strings, "true" and "false"
  are booleans.
- Where a format has one field for identifiers, several are joined by `|`, as PubTator does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from manyheads.data.formats.records import as_label, as_list, as_object, as_offset, as_text, object_list
from manyheads.errors import DataError

Interval = tuple[int, int]
Value = str | int | float | bool | tuple[str, ...]
"""Of an attribute."""
KEYS = frozenset(("id", "start", "end", "label", "text", "pieces", "attributes", "links", "score"))
"""Of an entity; others are not read."""
RELATION_KEYS = frozenset(("head", "tail", "label", "roles", "attributes"))
ROLES = ("Arg1", "Arg2")
"""The names of the ends of a relation that names none, as brat has them."""
NO_LINK = ("", "-", "-1")
"""Written in place of an identifier."""
_LISTED = re.compile(r"[|,;+]")
"""Separates identifiers in one field of some corpora."""
_WORDS: Mapping[str, bool] = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Span:
    """A labelled part of a text.

    >>> Span(((0, 7), (12, 16)), "Disease").end
    16
    """

    pieces: tuple[Interval, ...]
    """Offsets in code points, end exclusive, in text order; several for a discontinuous span."""
    label: str = ""
    score: float | None = None
    links: tuple[str, ...] = ()
    """Identifiers in a knowledge base."""
    attributes: Mapping[str, Value] = field(default_factory=dict, hash=False)
    id: str = ""
    """Its name within the row; empty if it has none."""
    where: str = field(default="", compare=False, repr=False)
    text: str | None = field(default=None, compare=False, repr=False)
    """As the file quotes it, if it does; pieces are joined by a space."""

    @property
    def start(self) -> int:
        """The beginning of the first piece."""
        return self.pieces[0][0]

    @property
    def end(self) -> int:
        """The end of the last piece."""
        return self.pieces[-1][1]

    def quoted(self, text: str) -> str:
        """The pieces, joined by a space."""
        return " ".join(text[start:end] for start, end in self.pieces)


@dataclass(frozen=True, slots=True)
class Relation:
    """A directed relation between two spans, or between two concepts that spans are linked to."""

    head: str
    """The id of a span, or an identifier in a knowledge base."""
    tail: str
    label: str = ""
    roles: tuple[str, str] = ROLES
    attributes: Mapping[str, Value] = field(default_factory=dict, hash=False)
    where: str = field(default="", compare=False, repr=False)


def entity(span: Span) -> dict[str, Any]:
    """A span as an entry of `entities`.

    >>> entity(Span(((0, 4), (8, 9)), "A", links=("D1",), id="T1"))
    {'id': 'T1', 'start': 0, 'end': 9, 'label': 'A', 'pieces': [[0, 4], [8, 9]], 'links': ['D1']}
    """
    more = {
        "pieces": [list(piece) for piece in span.pieces] if len(span.pieces) > 1 else None,
        "attributes": _plain(span.attributes),
        "links": list(span.links),
        "score": span.score,
    }
    head = {"id": span.id} if span.id else {}
    own = {**head, "start": span.start, "end": span.end, "label": span.label}
    return own | {key: value for key, value in more.items() if value not in (None, {}, [])}


def relation_entry(relation: Relation) -> dict[str, Any]:
    """A relation as an entry of `relations`.

    >>> relation_entry(Relation("T1", "T2", "treats"))
    {'head': 'T1', 'tail': 'T2', 'label': 'treats'}
    """
    roles = {"roles": list(relation.roles)} if relation.roles != ROLES else {}
    attributes = {"attributes": _plain(relation.attributes)} if relation.attributes else {}
    return {"head": relation.head, "tail": relation.tail, "label": relation.label, **roles, **attributes}


def span_of_entry(entry: Any, where: str) -> Span:
    """The span of an entry of `entities`. Raises DataError."""
    found = as_object(entry, where, "entities")
    pieces = as_list(found.get("pieces") or [[found.get("start"), found.get("end")]], where, "pieces")
    if not all(isinstance(piece, list) and len(piece) == 2 for piece in pieces):
        raise DataError(f"{where} has the pieces {pieces!r:.80}; write them as [[start, end], ...]")
    score, quoted = found.get("score"), found.get("text")
    return Span(
        tuple((as_offset(start, where), as_offset(end, where)) for start, end in pieces),
        as_label(found.get("label"), where),
        score if isinstance(score, float) else None,
        tuple(as_text(link, where, "links") for link in as_list(found.get("links") or [], where, "links")),
        attributes_of(found.get("attributes"), where),
        id_of(found.get("id")),
        where,
        quoted if isinstance(quoted, str) and len(pieces) == 1 else None,
    )


def relations_of_row(values: Mapping[str, Any], where: str) -> list[Relation]:
    """The relations under `relations`. Raises DataError."""
    made = []
    for entry in object_list(values, "relations", where):
        head, tail = (id_of(entry.get(end)) for end in ("head", "tail"))
        if not head or not tail:
            raise DataError(f"{where} has the relation {entry!r:.120}; give it the ids of a 'head' and a 'tail'")
        one, two = (*as_list(entry.get("roles") or list(ROLES), where, "roles"), None, None)[:2]
        label, roles = as_text(entry.get("label", ""), where, "label"), (as_text(one, where), as_text(two, where))
        made.append(Relation(head, tail, label, roles, attributes_of(entry.get("attributes"), where), where))
    return made


def id_of(value: Any) -> str:
    """The name of a span: a string or a whole number; empty for anything else."""
    return str(value) if isinstance(value, str) or type(value) is int else ""


def attributes_of(values: Any, where: str) -> dict[str, Value]:
    """Attributes as a row has them. Raises DataError for another form."""
    made: dict[str, Value] = {}
    for name, value in as_object(values or {}, where, "attributes").items():
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            made |= {name: several(value)} if value else {}
        elif isinstance(value, str | int | float):
            made[name] = value
        elif value is not None:
            raise DataError(f"{where} has the attribute {name[:80]!r} with {value!r:.80}; give a string, a number, true or "
                            "false, or a list of strings")  # fmt: skip
    return made


def several(values: Sequence[str]) -> Value:
    """One string as it is, several as a tuple, each once."""
    once = tuple(dict.fromkeys(values))
    return once[0] if len(once) == 1 else once


def attribute_of_text(text: str) -> Value:
    """The value that a format of strings means.

    >>> attribute_of_text("true"), attribute_of_text("high")
    (True, 'high')
    """
    return _WORDS.get(text, text)


def text_of_attribute(value: Value) -> str:
    """The value in a format of strings.

    >>> text_of_attribute(True), text_of_attribute(("a", "b"))
    ('true', 'a|b')
    """
    if isinstance(value, tuple):
        return "|".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def links_of_text(text: str) -> tuple[str, ...]:
    """The identifiers in a field for one: `|` separates them, if each has a digit (a mutation is `p|SUB|V|600|E`).

    >>> links_of_text("D001|D002"), links_of_text("-"), links_of_text("p|SUB|V|600|E")
    (('D001', 'D002'), (), ('p|SUB|V|600|E',))
    """
    if text.strip() in NO_LINK:
        return ()
    parts = tuple(text.split("|"))
    return parts if all(re.search(r"\d", part) for part in parts) else (text,)


def with_ends(relations: Sequence[Relation], spans: Iterable[Span]) -> list[Relation]:
    """The relations whose two ends are among the spans, by their ids or links."""
    known = {""}
    if not relations:
        return []
    for span in spans:
        whole = "|".join(span.links)
        known |= {span.id, whole, *span.links, *_LISTED.split(whole)}
    known.remove("")
    return [relation for relation in relations if relation.head in known and relation.tail in known]


def _plain(attributes: Mapping[str, Value]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in attributes.items()}
