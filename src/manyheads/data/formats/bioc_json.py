"""BioC JSON: the same documents as in XML, in one object (or a list of them, as PubTator's web service returns).

The file is one JSON value, so it is held in memory whole, as SQuAD is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manyheads.data.formats.annotations import id_of, text_of_attribute
from manyheads.data.formats.bioc import Annotation, Link, Passage, rows_of
from manyheads.data.formats.format import SPANS, Format, RowSchema
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.records import as_list, as_object, as_offset, as_text, object_list
from manyheads.data.formats.rows import RawRow
from manyheads.data.formats.squad import whole_json
from manyheads.errors import DataError


def looks_like(preview: Preview) -> bool:
    """Documents with passages."""
    paths = ("documents[].", "PubTator3[].", "", "[].", "[].documents[].")
    return any(preview.json.has(f"{path}passages[].offset") for path in paths)


def read(path: Path, _: RowSchema) -> Iterator[RawRow]:
    """Passages. Raises DataError, with the number of the document, for JSON of another form."""
    for number, document in enumerate(_documents(whole_json(path), path), 1):
        where = f"{path}: document {number}"
        found = as_object(document, where, "document")
        listed = enumerate(as_list(found.get("passages"), where, "passages"), 1)
        passages = [_passage(passage, f"{where}, passage {k}", inner=False) for k, passage in listed]
        outside = as_list(found.get("annotations") or [], where, "annotations")
        annotations = [_annotation(one, f"{where}, annotation {k}") for k, one in enumerate(outside, 1)]
        yield from rows_of(str(found.get("id", "")), passages, annotations, _relations(found, where), where)


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
    found = as_object(value, where, "passage")
    text = found.get("text")
    annotations = as_list(found.get("annotations") or [], where, "annotations")
    sentences = [] if inner else as_list(found.get("sentences") or [], where, "sentences")
    return Passage(
        where,
        as_offset(found.get("offset"), where),
        None if text is None else as_text(text, where),
        [_annotation(one, f"{where}, annotation {k}") for k, one in enumerate(annotations, 1)],
        [_passage(one, f"{where}, sentence {k}", inner=True) for k, one in enumerate(sentences, 1)],
        _relations(found, where),
    )


def _relations(found: dict[str, Any], where: str) -> list[Link]:
    return [
        Link(_infons(one, where), [(str(node.get("refid", "")), str(node.get("role") or ""))
                                   for node in object_list(one, "nodes", where)], where)
        for one in object_list(found, "relations", where)
    ]  # fmt: skip


def _annotation(value: Any, where: str) -> Annotation:
    found = as_object(value, where, "annotation")
    locations = [
        (as_offset(one.get("offset"), where), as_offset(one.get("length"), where))
        for one in object_list(found, "locations", where)
    ]
    text, name = as_text(found.get("text") or "", where), id_of(found.get("id"))
    return Annotation(_infons(found, where), locations, text, where, name)


def _infons(found: dict[str, Any], where: str) -> dict[str, str]:
    infons = as_object(found.get("infons") or {}, where, "infons")
    return {key: _text(value) for key, value in infons.items() if value is not None}


def _text(value: Any) -> str:
    """An infon. PubTator writes the ends of a relation as objects."""
    if isinstance(value, dict) and isinstance(value.get("identifier"), str):
        return value["identifier"]
    return text_of_attribute(value) if isinstance(value, bool) else str(value)


FORMAT = Format("bioc-json", "BioC JSON", SPANS, looks_like, read)
