"""UIMA XMI, as INCEpTION exports it: one document per file, its text in an attribute, its annotations around it.

    <xmi:XMI ...><type:NamedEntity xmi:id="2" sofa="1" begin="0" end="9" value="PER"/>
    <cas:Sofa xmi:id="1" sofaID="_InitialView" sofaString="Ada Byron wrote."/></xmi:XMI>

A document is a row. A file is read, or all files in a folder and one level below, as INCEpTION packs them. Offsets count
UTF-16 units. Annotations of other views than the first, and annotations without characters, are counted. A document is held
in memory whole. Which layer is read: `layers.py`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from manyheads.data.formats.annotations import Relation, Span, Value, attribute_of_text, links_of_text
from manyheads.data.formats.format import SPANS, Format, RowSchema
from manyheads.data.formats.layers import COREFERENCE, IDENTITY, LABELS, Layer, chosen_layer, is_counted
from manyheads.data.formats.lines import byte_stream
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.safe_xml import BLOCK_BYTES, XmlEvents
from manyheads.data.formats.standoff import (
    CHAINS,
    NO_LABEL,
    OTHER_LAYERS,
    AnnotatedText,
    entity_row,
)
from manyheads.data.formats.utf16 import Utf16Offsets
from manyheads.errors import DataError

LEVELS = ("", "*/")
"""Of a folder: its own files and those one level below."""
ENDINGS = ("*.xmi", "*.xmi.gz")
FIRST_VIEW = "_InitialView"
MOST_SPANS = 500_000
"""Of a document; each takes up to 1 kB."""
EMPTY_SPANS = "spans without characters"
OTHER_VIEWS = "annotations of other views"
_OMG = "http://www.omg.org/XMI"
_SOFA = "uima.cas.Sofa"
_NAMESPACE = re.compile(r"http:///(.*)\.ecore (.+)", re.DOTALL)
_OWN = frozenset(("sofa", "begin", "end"))
_RELATION = frozenset(("Governor", "Dependent"))
_NUMBER = re.compile(r"\d{1,12}", re.ASCII)


def looks_like(preview: Preview) -> bool:
    """Its root, or a folder of such files."""
    if preview.path.is_dir():
        return any(found for level in LEVELS for ending in ENDINGS for found in preview.path.glob(level + ending))
    return re.match(r"\s*(<\?xml.*?\?>\s*)?(<!--.*?-->\s*)*<(\w+:)?XMI\b", preview.text, re.DOTALL) is not None


def files(path: Path) -> tuple[Path, ...]:
    """The documents."""
    if not path.is_dir():
        return (path,)
    return tuple(sorted(found for level in LEVELS for ending in ENDINGS for found in path.glob(level + ending)))


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Documents. Raises DataError, with the line, for damaged XML, or XML of another form."""
    features: dict[str, dict[str, None]] = defaultdict(dict)
    used: Counter[str] = Counter()
    for file in files(path):  # layers are chosen for all documents
        for span in _document(file, schema).spans:
            if not (set(span.features) >= _RELATION or span.layer.endswith(COREFERENCE)):
                features[span.layer].update(dict.fromkeys(span.features))
                used[span.layer] += 1
    known = {layer: list(found) for layer, found in features.items()}
    layer = None  # no document has spans
    if schema.renames or any(map(is_counted, known)):
        layer = chosen_layer(known, used, schema, str(path))
    for file in files(path):
        name = file.name.removesuffix(".gz").removesuffix(".xmi")
        where = name if not path.is_dir() else file.parent.relative_to(path).joinpath(name).as_posix()
        yield _document(file, schema).row(layer, where)


@dataclass(frozen=True, slots=True)
class _Span:
    """An element with offsets."""

    layer: str
    features: Mapping[str, str]
    begin: int
    end: int
    sofa: str
    where: str
    id: str


@dataclass(slots=True)
class _Document:
    """The content of a file."""

    where: str
    sofas: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Name and text by id."""
    spans: list[_Span] = field(default_factory=list)

    def row(self, layer: Layer | None, document: str) -> RawRow:
        """The row. Raises DataError for a span outside of the text."""
        sofa = next((one for one, (name, _) in self.sofas.items() if name == FIRST_VIEW), next(iter(self.sofas)))
        text = self.sofas[sofa][1]
        offsets, spans, relations, left_out = Utf16Offsets(text), list[Span](), list[Relation](), list[LeftOut]()
        for span in self.spans:
            if not is_counted(span.layer) and not (layer and span.layer == layer.name):
                continue
            if span.sofa == sofa and set(span.features) >= _RELATION:
                relations.append(_relation(span))
                continue
            what = self._left_out(span, sofa, layer)
            if what is not None or layer is None:
                left_out.append(LeftOut(what or OTHER_LAYERS, span.where))
                continue
            piece = offsets.characters(span.begin, span.end)
            if piece is None:
                raise DataError(f"{span.where}: span {span.begin}-{span.end} lies outside its text of {offsets.units} UTF-16 "
                                "units, or within a character; export the document again")  # fmt: skip
            links, attributes = links_of_text(span.features.get(IDENTITY, "")), _attributes(span, layer.feature, IDENTITY)
            spans.append(Span((piece,), span.features[layer.feature], None, links, attributes, span.id, span.where))
        if not text.strip():
            return RawRow({"text": ""}, self.where, skip="document without a text")
        return entity_row(
            AnnotatedText(text, spans, self.where, document, tuple(left_out), document, relations=relations)
        )

    @staticmethod
    def _left_out(span: _Span, sofa: str, layer: Layer | None) -> str | None:
        """What a span counts as; None for an entity."""
        if span.sofa != sofa:
            return OTHER_VIEWS
        if span.layer.endswith(COREFERENCE):
            return CHAINS
        if layer is None or span.layer != layer.name:
            return OTHER_LAYERS
        if not span.features.get(layer.feature, "").strip():
            return NO_LABEL
        return EMPTY_SPANS if span.begin == span.end else None


def _relation(span: _Span) -> Relation:
    """A relation; its label is the value of a feature for labels, else of its only feature, else the name of its layer."""
    own = [name for name, value in span.features.items() if name not in _RELATION and value]
    label = next((name for name in LABELS if name in own), own[0] if len(own) == 1 else "")
    attributes = _attributes(span, label, *_RELATION)
    name = span.features.get(label) or span.layer.rpartition(".")[2]
    return Relation(span.features["Governor"], span.features["Dependent"], name, attributes=attributes, where=span.where)


def _attributes(span: _Span, *others: str) -> dict[str, Value]:
    return {name: attribute_of_text(value) for name, value in span.features.items() if value and name not in others}


def _document(path: Path, schema: RowSchema) -> _Document:
    """Read a file. Raises DataError."""
    reader = _Reader(path, every="entities" in schema.renames)
    with byte_stream(path) as stream:
        while block := stream.read(BLOCK_BYTES):
            reader.events.feed(block)
    reader.events.feed(b"", last=True)
    if not reader.document.sofas:
        raise DataError(f"{path} has no text: it lacks <cas:Sofa> with a sofaString; export the document again")
    return reader.document


class _Reader:
    """Builds a document from elements."""

    def __init__(self, path: Path, every: bool) -> None:
        """`every`: also the spans of layers that are not counted, because one of them may be read."""
        self._every = every
        self.document = _Document(f"{path}:1")
        self.events = XmlEvents(path, self._start, lambda _: None, namespaces=True)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if self.events.levels == 1:
            if name != f"{_OMG} XMI":
                raise self.events.error(f"is XML with <{name.rpartition(' ')[2][:80]}> at its root; XMI has <xmi:XMI>")
            return
        if self.events.levels > 2:  # items of a list
            return
        match = _NAMESPACE.fullmatch(name)
        layer = f"{match[1].replace('/', '.')}.{match[2]}".removeprefix("uima.noNamespace.") if match else name
        key = attributes.get(f"{_OMG} id", "")
        if layer == _SOFA:
            self.document.sofas[key] = (attributes.get("sofaID", ""), attributes.get("sofaString", ""))
        elif "sofa" in attributes and "begin" in attributes and (self._every or is_counted(layer)):
            if len(self.document.spans) >= MOST_SPANS:
                raise self.events.error(f"is a document of more than {MOST_SPANS:,} spans; cut it into parts")
            own = {key: value for key, value in attributes.items() if " " not in key and key not in _OWN}
            begin, end = (self._number(attributes.get(key), key) for key in ("begin", "end"))
            self.document.spans.append(_Span(layer, own, begin, end, attributes["sofa"], self.events.place(), key))

    def _number(self, text: str | None, what: str) -> int:
        if text is None or not _NUMBER.fullmatch(text):
            raise self.events.error(f"has the {what} {text!r:.80}; give a whole number")
        return int(text)


FORMAT = Format("xmi", "UIMA XMI", SPANS, looks_like, read, renames=True, files=files)
