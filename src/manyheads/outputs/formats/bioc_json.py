"""BioC JSON: one object, a document per line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from manyheads.outputs.documents import Document
from manyheads.outputs.formats.bioc import HOLDS, bioc_documents
from manyheads.outputs.formats.format import WriteFormat, Writing, array


def encode(documents: Iterable[Document], writing: Writing) -> Iterator[bytes]:
    """A collection."""
    head = {"source": writing.source, "date": "", "key": "", "infons": {}}
    yield (json.dumps(head, ensure_ascii=False)[:-1] + ', "documents": ').encode("utf-8")
    yield from array(bioc_documents(documents, writing))
    yield b"}\n"


FORMAT = WriteFormat("bioc-json", "BioC JSON", ("spans",), HOLDS, encode)
