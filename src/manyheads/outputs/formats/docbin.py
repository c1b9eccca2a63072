"""spaCy's DocBin (`.spacy`), for `spacy train`: spans as entities, labels as categories. Needs spaCy.

Decided here:
- Words are spaCy tokens, cut where a span begins or ends; white space beyond one space is a token, so the text is exact.
- If spans of a text overlap, all of them are also in `doc.spans["sc"]`, where spaCy's span categorizer looks for them.
- Every text has a number for every label of the file, as spaCy's text categorizers need.
- The file is written by spaCy in one piece, so all documents are in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from manyheads.data.formats.annotations import Interval
from manyheads.errors import UsageError
from manyheads.outputs.documents import Document
from manyheads.outputs.formats.conll import cut_at_spans
from manyheads.outputs.formats.format import WriteFormat, Writing
from manyheads.outputs.formats.marks import joined_links
from manyheads.outputs.losses import IDENTIFIERS, NAMES, OVERLAPS, WORDS, without_overlaps

GROUP = "sc"
"""spaCy's default name for spans that may overlap."""


def encode(documents: Iterable[Document], writing: Writing) -> Iterator[bytes]:
    """The file. Raises UsageError if spaCy is missing."""
    try:
        from spacy.tokens import DocBin
        from spacy.vocab import Vocab
    except ImportError:
        raise UsageError("a spaCy DocBin is written by spaCy itself: pip install spacy") from None
    vocab = Vocab()
    docs, labelled = [], []
    for document in documents:
        docs.append(_doc(vocab, document, writing))
        labelled.append(document.labels)
    names = dict.fromkeys([*writing.labels(), *(name for labels in labelled if labels for name in labels.names)])
    for doc, labels in zip(docs, labelled, strict=True):
        if labels is not None:
            doc.cats = {name: float(name in labels.names) for name in names}
    yield DocBin(docs=docs).to_bytes()


def _doc(vocab: Any, document: Document, writing: Writing) -> Any:
    from spacy.tokens import Doc
    from spacy.tokens import Span as SpacySpan

    tokens, spaces = _tokens(document)
    doc = Doc(vocab, words=[document.text[start:end] for start, end in tokens], spaces=spaces)
    if document.spans is None:
        return doc
    first = {start: place for place, (start, _) in enumerate(tokens)}
    after = {end: place for place, (_, end) in enumerate(tokens, 1)}
    made = [
        SpacySpan(doc, first[span.start], after[span.end], span.label,
                  kb_id=joined_links(span, document, writing), span_id=span.id)
        for span in document.spans
    ]  # fmt: skip
    flat = without_overlaps(document.spans)
    by_span = dict(zip(document.spans, made, strict=True))
    doc.set_ents([by_span[span] for span in flat], default="outside")
    if len(flat) < len(made):
        doc.spans[GROUP] = made
    return doc


def _tokens(document: Document) -> tuple[list[Interval], list[bool]]:
    """Words and other stretches of the text, and whether a space follows each."""
    text, spans = document.text, document.spans or ()
    starts, ends = {span.start for span in spans}, {span.end for span in spans}
    edges = {edge for word in cut_at_spans(document) for edge in word}
    tokens, spaces, at = list[Interval](), list[bool](), 0
    for start, end in pairwise(sorted({0, len(text)} | edges | starts | ends)):
        if max(start, at) >= end:
            continue
        spaced = text[end : end + 1] == " " and end not in starts and end + 1 not in ends
        tokens.append((max(start, at), end))
        spaces.append(spaced)
        at = end + spaced
    return tokens, spaces


FORMAT = WriteFormat(
    "docbin", "spaCy DocBin", ("spans", "classes"), frozenset({WORDS, IDENTIFIERS, NAMES, OVERLAPS}), encode,
    endings=(".spacy",), together=True, binary=True,
)  # fmt: skip
