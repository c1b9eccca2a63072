"""BioC JSON: the same documents as in XML, in one object (or a list of them, as PubTator's web service gives).

The file is held in memory whole, as SQuAD is: it is one JSON value.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manyheads.data.formats.bioc import Annotation, Passage, rows_of
from manyheads.data.formats.format import MARKED, Format, Wanted
from manyheads.data.formats.head import Head
from manyheads.data.formats.records import a_list, an_object
from manyheads.data.formats.rows import RawRow
from manyheads.data.formats.squad import whole_json
from manyheads.data.formats.standoff import offset, text_in
from manyheads.errors import DataError


def looks_like(head: Head) -> bool:
    """Documents with passages."""
    return any(
        head.json.has(f"{path}passages[].offset")
        for path in ("documents[].", "PubTator3[].", "", "[].", "[].documents[].")
    )


def read(path: Path, _: Wanted) -> Iterator[RawRow]:
    """Passages. Raises DataError, with the number of the document, for JSON of another form."""
    for number, document in enumerate(_documents(whole_json(path), path), 1):
        where = f"{path}: document {number}"
        found = an_object(document, where, "document")
        passages = [
            _passage(passage, f"{where}, passage {k}", inner=False)
            for k, passage in enumerate(a_list(found.get("passages"), where, "passages"), 1)
        ]
        relations = [where for _ in a_list(found.get("relations") or [], where, "relations")]
        yield from rows_of(str(found.get("id", "")), passages, relations, where)


def _documents(value: Any, path: Path) -> list[Any]:
    if isinstance(value, dict):
        for key in ("documents", "PubTator3"):
            if isinstance(value.get(key), list):
                return list(value[key])
        if "passages" in value:
            return [value]
    if isinstance(value, list):
        return [one for part in value for one in (_documents(part, path) if isinstance(part, dict) else [part])]
    raise DataError(f"{path} is not BioC JSON: expected an object with a list 'documents'")


def _passage(value: Any, where: str, inner: bool) -> Passage:
    found = an_object(value, where, "passage")
    text = found.get("text")
    annotations = a_list(found.get("annotations") or [], where, "annotations")
    sentences = [] if inner else a_list(found.get("sentences") or [], where, "sentences")
    return Passage(
        where,
        offset(found.get("offset"), where),
        None if text is None else text_in(text, where),
        [_annotation(one, f"{where}, annotation {k}") for k, one in enumerate(annotations, 1)],
        [_passage(one, f"{where}, sentence {k}", inner=True) for k, one in enumerate(sentences, 1)],
        [where for _ in a_list(found.get("relations") or [], where, "relations")],
    )


def _annotation(value: Any, where: str) -> Annotation:
    found = an_object(value, where, "annotation")
    locations = [an_object(one, where, "location") for one in a_list(found.get("locations"), where, "locations")]
    pieces = [(offset(one.get("offset"), where), offset(one.get("length"), where)) for one in locations]
    infons = {
        key: str(one) for key, one in an_object(found.get("infons", {}), where, "infons").items() if one is not None
    }
    return Annotation(infons, pieces, text_in(found.get("text") or "", where), where)


FORMAT = Format("bioc-json", "BioC JSON", MARKED, looks_like, read)
