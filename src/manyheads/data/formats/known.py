"""All formats, in the order in which a file is tried on them.

Decided here: a format that is told by what is in the file comes before those that are told by its name, for every tool
calls its export .json, .jsonl or .txt. A new format is one file here and one line below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path

from manyheads.data.formats import (
    bioc_json,
    bioc_xml,
    brat,
    class_numbers,
    conll,
    csv,
    docbin,
    doccano,
    gliner,
    gliner2,
    json_array,
    jsonl,
    label_studio,
    parquet,
    prodigy,
    pubtator,
    spacy_json,
    squad,
)
from manyheads.data.formats.format import Format, Wanted
from manyheads.data.formats.head import Head, Shape
from manyheads.data.formats.rows import RawRow, wanted_columns
from manyheads.errors import DataError

NER, TEXT, QA, PAIRS = "token-classification", "text-classification", "question-answering", "sentence-embedding"
ALL = frozenset({NER, TEXT, QA, PAIRS})


def _by_name(name: str, title: str, kinds: frozenset[str], read: Callable[[Path, str], Iterator[RawRow]]) -> Format:
    """A format that is told by the name of its files."""
    return Format(name, title, kinds, lambda _: False, lambda path, wanted: read(path, wanted.kind))


CONLL = _by_name("conll", "CoNLL columns", frozenset({NER}), conll.read)
CSV = _by_name("csv", "csv", ALL - {NER, QA}, csv.read)
TSV = _by_name("tsv", "tsv", ALL - {NER, QA}, csv.read)
JSONL = _by_name("jsonl", "JSON lines", ALL, jsonl.read)
PARQUET = _by_name("parquet", "Parquet", ALL, parquet.read)
SQUAD = _by_name("squad", "SQuAD JSON", frozenset({QA}), squad.read)
JSON_ARRAY = Format("json", "JSON array", ALL, json_array.looks_like, json_array.read, wins_over_own_rows=True)

FORMATS: tuple[Format, ...] = (
    pubtator.FORMAT,
    bioc_xml.FORMAT,
    bioc_json.FORMAT,
    brat.FORMAT,
    docbin.FORMAT,
    prodigy.FORMAT,
    label_studio.FORMAT,
    gliner.FORMAT,
    gliner2.FORMAT,
    spacy_json.FORMAT,
    doccano.FORMAT,
    class_numbers.FORMAT,
    JSON_ARRAY,
    CONLL,
    CSV,
    TSV,
    JSONL,
    PARQUET,
    SQUAD,
)
BY_NAME = {form.name: form for form in FORMATS}


def format_named(name: str, wanted: Wanted, where: str) -> Format:
    """The format that a data source asks for. Raises DataError for an unknown one, or one of other tasks."""
    form = BY_NAME.get(name)
    if form is None:
        near = get_close_matches(name, BY_NAME, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise DataError(
            f"{where}: there is no format {name[:80]!r}; {hint}the formats are {', '.join(sorted(BY_NAME))}"
        )
    return _checked(form, wanted, where, f"has the format {form.name}")


def format_like(head: Head, wanted: Wanted) -> Format | None:
    """The format that a file or folder is surely of; None when its name must tell.

    Raises DataError for a format of other tasks, unless there are rows of this one in it.
    """
    if head.json.has("targets"):
        return JSON_ARRAY if JSON_ARRAY.looks_like(head) else None
    own = is_own(head.json, wanted.kind)
    found = [form for form in FORMATS if form.looks_like(head) and (form.wins_over_own_rows or not own)]
    fitting = [form for form in found if wanted.kind in form.kinds or wanted.kind not in ALL]
    if not fitting and found and wanted_columns([key for key in head.json.paths if "." not in key], wanted.kind):
        return _checked(found[0], wanted, str(head.path), f"looks like {found[0].title}")
    return fitting[0] if fitting else None


def is_own(shape: Shape, kind: str) -> bool:
    """Whether rows of JSON are such as a task of this kind reads them."""
    if kind == NER:
        return shape.holds("tags[]", str) or shape.has("entities[].start")
    if kind == TEXT:
        return shape.holds("label", str, int) or shape.holds("labels[]", str)
    return wanted_columns(list(shape.paths), kind) is None


def format_called(name: str, wanted: Wanted, where: str) -> Format:
    """The format that the name of a file tells. Raises DataError for a name that tells none for this kind of task."""
    kind = wanted.kind
    formats = {".jsonl": JSONL, ".ndjson": JSONL, ".parquet": PARQUET, ".json": SQUAD if kind == QA else JSONL}
    if kind not in (QA, NER):
        formats |= {".csv": CSV, ".tsv": TSV}
    suffix = Path(name).suffix
    if suffix in formats:
        return formats[suffix]
    if kind == NER and suffix != ".csv":
        return CONLL
    columns = "CoNLL columns (.conll, .txt, .tsv, ...), " if kind == NER else ""
    raise DataError(f"{where}: {kind} data is read from {columns}{', '.join(sorted(formats))}, each also as .gz")


def _checked(form: Format, wanted: Wanted, where: str, what: str) -> Format:
    if wanted.kind in ALL and wanted.kind not in form.kinds:
        raise DataError(f"{where} {what}, from which {' and '.join(sorted(form.kinds))} is read, not {wanted.kind}; "
                        "give another file, or say which format it has under 'format'")  # fmt: skip
    return form
