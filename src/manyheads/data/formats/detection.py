"""All formats, in the order in which they are tried on a file.

Formats recognised by content come before those recognised by name, because every tool calls its export .json, .jsonl or
.txt. A new format is one file here and one line below.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from manyheads.data.formats import (
    beir,
    bioasq,
    bioc_json,
    bioc_xml,
    brat,
    class_folders,
    class_numbers,
    conll,
    csv,
    docbin,
    doccano,
    fasttext,
    gliner,
    gliner2,
    json_array,
    json_object,
    jsonl,
    label_lines,
    label_studio,
    parquet,
    prodigy,
    pubtator,
    spacy_json,
    squad,
    webanno_tsv,
    word_table,
    xmi,
)
from manyheads.data.formats.format import TAGGED_WORDS, Columns, Format, RowSchema
from manyheads.data.formats.messages import did_you_mean
from manyheads.data.formats.preview import Preview, Shape
from manyheads.errors import DataError, ManyheadsError, OtherFormatError
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import Task

ANY: tuple[Columns, ...] = ()


def _by_name(_: Preview) -> bool:
    """For formats that are recognised by file name."""
    return False


CONLL = Format("conll", "CoNLL columns", TAGGED_WORDS, _by_name, conll.read, renames=True)
CONLLU = Format("conllu", "CoNLL-U", TAGGED_WORDS, conll.is_universal, conll.read, renames=True)
CSV = Format("csv", "csv", ANY, _by_name, csv.read, renames=True)
TSV = Format("tsv", "tsv", ANY, _by_name, csv.read_tabs, renames=True)
JSONL = Format("jsonl", "JSON lines", ANY, _by_name, jsonl.read, renames=True)
PARQUET = Format("parquet", "Parquet", ANY, _by_name, parquet.read, renames=True)
SQUAD = Format("squad", "SQuAD JSON", (("question", "context", "answers"),), squad.looks_like, squad.read)
JSON_ARRAY = Format(
    "json", "JSON array", ANY, json_array.looks_like, json_array.read, renames=True, wins_over_own_rows=True
)
JSON_OBJECT = Format("json-object", "JSON object", ANY, json_object.looks_like, json_object.read, renames=True)

FORMATS: tuple[Format, ...] = (
    pubtator.FORMAT,
    bioc_xml.FORMAT,
    bioc_json.FORMAT,
    xmi.FORMAT,
    webanno_tsv.FORMAT,
    word_table.FORMAT,
    beir.FORMAT,
    brat.FORMAT,
    class_folders.FORMAT,
    fasttext.FORMAT,
    label_lines.FORMAT,
    bioasq.FORMAT,
    SQUAD,
    docbin.FORMAT,
    prodigy.FORMAT,
    label_studio.FORMAT,
    gliner.FORMAT,
    gliner2.FORMAT,
    spacy_json.FORMAT,
    JSON_OBJECT,
    doccano.FORMAT,
    class_numbers.FORMAT,
    JSON_ARRAY,
    CONLLU,
    CONLL,
    CSV,
    TSV,
    JSONL,
    PARQUET,
)
BY_NAME = {form.name: form for form in FORMATS}


def format_by_name(name: str, schema: RowSchema, where: str) -> Format:
    """The format that a data source names. Raises DataError for an unknown format, or one of other tasks."""
    form = BY_NAME.get(name)
    if form is None:
        raise DataError(f"{where}: there is no format {name[:80]!r}; {did_you_mean(name, BY_NAME)}the formats are "
                        f"{', '.join(sorted(BY_NAME))}")  # fmt: skip
    return _renaming(_checked(form, schema, where, f"has the format {form.name}"), schema, where)


def format_by_content(preview: Preview, schema: RowSchema) -> Format | None:
    """The format that a file or folder is certainly of; None if its name must decide.

    Raises DataError for a format of other tasks, unless the file also has rows for this one.
    """
    if preview.json.has("targets") or (preview.json.paths and not schema.columns):
        return JSON_ARRAY if JSON_ARRAY.looks_like(preview) else None
    own = _is_own(preview.json, schema)
    found = [form for form in FORMATS if form.looks_like(preview) and (form.wins_over_own_rows or not own)]
    if SQUAD.holds(schema.columns) and not schema.renames and preview.json.has("data"):
        found = [form for form in found if form is not JSON_OBJECT]
    if schema.renames and preview.json.paths:  # rows of an export have keys of their own
        found = [form for form in found if form.renames]
    fitting = [form for form in found if form.fits(schema)]
    if not fitting and found and schema.missing([key for key in preview.json.paths if "." not in key]):
        return _checked(found[0], schema, str(preview.path), f"looks like {found[0].title}")
    return _renaming(fitting[0], schema, str(preview.path)) if fitting else None


def format_by_extension(name: str, schema: RowSchema, where: str, *, preview: Preview | None = None) -> Format:
    """The format that a file name stands for. If the first line of the preview has tabs, another ending stands for tsv.

    Raises DataError for a name that stands for none of the expected rows.
    """
    squads, words = SQUAD.holds(schema.columns), CONLL.holds(schema.columns)
    formats = {".csv": CSV, ".jsonl": JSONL, ".ndjson": JSONL, ".parquet": PARQUET, ".json": SQUAD if squads else JSONL}
    if not words:
        formats[".tsv"] = TSV
    suffix = Path(name).suffix
    tabs = preview is not None and "\t" in preview.text.partition("\n")[0]
    if suffix in formats or words or tabs:
        return formats.get(suffix, CONLL if words else TSV)
    labels = label_lines.FORMAT.fits(schema) and preview is not None and label_lines.may_begin_with_labels(preview)
    told = f"{where}: {schema.kind} data is read from {', '.join(sorted(formats))}, each also as .gz"
    if labels:
        raise DataError(f"{told}; if each line is a label and its text, write format: label-lines")
    raise OtherFormatError(told)


def _is_own(shape: Shape, schema: RowSchema) -> bool:
    """Whether JSON rows have an expected set of columns in our own form; `text` and `tokens` alone prove nothing."""
    telling = [[column for column in columns if column not in ("text", "tokens")] for columns in schema.columns]
    return bool(shape.paths) and any(all(_has(shape, column) for column in columns) for columns in telling)


def _has(shape: Shape, column: str) -> bool:
    if column == "label":
        return shape.holds(column, str, int)
    if column in ("labels", "tags"):
        return shape.holds(f"{column}[]", str)
    return shape.has("entities[].start" if column == "entities" else column)


def _checked(form: Format, schema: RowSchema, where: str, what: str) -> Format:
    if not form.fits(schema):
        *kinds, last = sorted(_kinds_that_read(form))
        kinds = [", ".join(kinds), last] if kinds else [last]
        raise OtherFormatError(f"{where} {what}, which is a format for {' and '.join(kinds)}, not for "
                               f"{schema.kind}; give another file, or name its format under 'format'")  # fmt: skip
    return form


def _renaming(form: Format, schema: RowSchema, where: str) -> Format:
    """The format. Raises DataError if columns are renamed that it does not have."""
    if schema.renames and not form.renames:
        named = ", ".join(sorted(name for name, one in BY_NAME.items() if one.renames))
        raise DataError(f"{where} is {form.title}, whose parts have fixed names; 'columns' is for {named}: remove it")
    return form


def _kinds_that_read(form: Format) -> Iterator[str]:
    return (cls.kind for cls in known_types() if form.holds(cls.columns))


def known_types() -> Iterator[type[Task[Any]]]:
    """All task types, without those of installed packages that cannot be imported."""
    for kind in TASK_TYPES:
        with suppress(ManyheadsError):
            yield TASK_TYPES[kind]
