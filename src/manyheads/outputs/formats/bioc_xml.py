"""BioC XML.

Carriage returns are written as references, because XML readers turn them into line feeds. Control characters, which XML
forbids, become spaces, which keeps all offsets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from manyheads.outputs.documents import Document
from manyheads.outputs.formats.bioc import HOLDS, bioc_documents
from manyheads.outputs.formats.format import WriteFormat, Writing

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE collection SYSTEM "BioC.dtd">\n<collection>'
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def encode(documents: Iterable[Document], writing: Writing) -> Iterator[bytes]:
    """A collection, document by document."""
    head = "".join(_element(name, text) for name, text in (("source", writing.source), ("date", ""), ("key", "")))
    yield f"{HEAD}{head}\n".encode()
    clean = (_without_controls(document, writing) for document in documents)
    for document in bioc_documents(clean, writing):
        passages = "".join(map(_passage, document["passages"]))
        yield f"<document>{_element('id', document['id'])}{passages}</document>\n".encode()
    yield b"</collection>\n"


def _without_controls(document: Document, writing: Writing) -> Document:
    text = _FORBIDDEN.sub(" ", document.text)
    if text == document.text:
        return document
    writing.losses.add("texts with control characters replaced by spaces", document.where)
    return replace(document, text=text)


def _passage(passage: dict[str, Any]) -> str:
    annotations = "".join(map(_annotation, passage["annotations"]))
    relations = "".join(map(_relation, passage["relations"]))
    return (f"<passage>{_element('offset', str(passage['offset']))}{_element('text', passage['text'])}"
            f"{annotations}{relations}</passage>")  # fmt: skip


def _annotation(annotation: dict[str, Any]) -> str:
    places = "".join(f'<location offset="{at["offset"]}" length="{at["length"]}"/>' for at in annotation["locations"])
    return (f"<annotation id={_quoted(annotation['id'])}>{_infons(annotation)}{places}{_element('text', annotation['text'])}"
            "</annotation>")  # fmt: skip


def _relation(relation: dict[str, Any]) -> str:
    nodes = "".join(
        f"<node refid={_quoted(node['refid'])} role={_quoted(node['role'])}/>" for node in relation["nodes"]
    )
    return f"<relation id={_quoted(relation['id'])}>{_infons(relation)}{nodes}</relation>"


def _infons(owner: dict[str, Any]) -> str:
    return "".join(f"<infon key={_quoted(key)}>{_escaped(value)}</infon>" for key, value in owner["infons"].items())


def _quoted(text: str) -> str:
    from xml.sax.saxutils import quoteattr  # which imports urllib and ssl

    return quoteattr(_FORBIDDEN.sub(" ", text))


def _element(name: str, text: str) -> str:
    return f"<{name}>{_escaped(text)}</{name}>"


def _escaped(text: str) -> str:
    from xml.sax.saxutils import escape

    return escape(_FORBIDDEN.sub(" ", text), {"\r": "&#13;"})


FORMAT = WriteFormat("bioc-xml", "BioC XML", ("spans",), HOLDS, encode, endings=(".xml",))
