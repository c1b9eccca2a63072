"""Ids, identifiers and attributes of spans, as formats write them that have their own forms of these."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count

from manyheads.data.formats.annotations import ROLES, Span, Value, attribute_of_text, links_of_text, text_of_attribute
from manyheads.outputs.documents import Document
from manyheads.outputs.formats.format import Writing
from manyheads.outputs.losses import Losses

ANY = re.compile(r".+", re.DOTALL)


def with_ids(
    document: Document, taken: set[str], name: Callable[[int], str], losses: Losses, form: re.Pattern[str] = ANY
) -> Document:
    """The document with a different id for each span, also in its relations. `taken` holds ids in use, and gets the new ones.

    Ids of the form are kept; others become `name(1)`, `name(2)` and so on, which is counted.

    >>> spans = (Span(((0, 1),), "A", id="T1"), Span(((2, 3),), "B"))
    >>> [span.id for span in with_ids(Document("a b", "", spans=spans), set(), "T{}".format, Losses("")).spans]
    ['T1', 'T2']
    """
    spans = document.spans or ()
    known = {span.id for span in spans if form.fullmatch(span.id)} | {link for span in spans for link in span.links}
    fresh = (one for one in map(name, count(len(taken) + 1)) if one not in known and one not in taken)
    names: dict[str, str] = {}
    named = []
    for span in spans:
        free = span.id not in taken and form.fullmatch(span.id)
        new = span.id if free else next(fresh)
        losses.add("ids of spans changed", document.where, bool(span.id) and new != span.id)
        taken.add(new)
        names.setdefault(span.id, new)
        named.append(replace(span, id=new))
    names.pop("", None)
    relations = tuple(
        replace(one, head=names.get(one.head, one.head), tail=names.get(one.tail, one.tail))
        for one in document.relations
    )
    return replace(document, spans=None if document.spans is None else tuple(named), relations=relations)


def joined_links(span: Span, document: Document, writing: Writing) -> str:
    """The identifiers of a span for a field that holds one; empty without any."""
    text = "|".join(span.links)
    writing.losses.add("lists of identifiers joined by |", document.where, links_of_text(text) != span.links)
    return text


def attribute_texts(attributes: Mapping[str, Value], document: Document, writing: Writing) -> dict[str, str]:
    """Attributes for a format of strings. Empty ones are not written; numbers and lists become strings, which is counted."""
    texts = {name: text_of_attribute(value) for name, value in attributes.items()}
    blank = [name for name, text in texts.items() if not text.strip()]
    changed = sum(attribute_of_text(texts[name]) != value for name, value in attributes.items() if name not in blank)
    writing.losses.add("empty attributes not written", document.where, len(blank))
    writing.losses.add("attributes written as text", document.where, changed)
    return {name: text for name, text in texts.items() if name not in blank}


def plain_relations(document: Document, writing: Writing) -> Document:
    """The document with relations that have neither roles nor attributes, for formats that hold none."""
    named = sum(one.roles != ROLES for one in document.relations)
    writing.losses.add("roles of relations not written", document.where, named)
    losing = sum(len(one.attributes) for one in document.relations)
    writing.losses.add("attributes of relations not written", document.where, losing)
    relations = tuple(replace(one, roles=ROLES, attributes={}) for one in document.relations)
    return replace(document, relations=relations)


def relations_of_spans(document: Document, writing: Writing) -> Document:
    """The document without relations of concepts, for formats that have relations of spans alone."""
    ids = {span.id for span in document.spans or ()}
    kept = tuple(one for one in document.relations if one.head in ids and one.tail in ids)
    writing.losses.add("relations of identifiers not written", document.where, len(document.relations) - len(kept))
    return replace(document, relations=kept)
