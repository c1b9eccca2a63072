"""All formats, in the order in which a file is tried on them.

Decided here: a format that is told by what is in the file comes before those that are told by its name, for every tool
calls its export .json, .jsonl or .txt. A new format is one file here and one line below.
"""

from __future__ import annotations

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
from manyheads.data.formats.format import IN_WORDS, Columns, Format, Wanted
from manyheads.data.formats.head import Head, Shape
from manyheads.errors import DataError
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import NESTED

ANY: tuple[Columns, ...] = ()


def _by_name(_: Head) -> bool:
    """Of formats that are told by the name of their files."""
    return False


CONLL = Format("conll", "CoNLL columns", IN_WORDS, _by_name, conll.read)
CSV = Format("csv", "csv", ANY, _by_name, csv.read, lacks=NESTED)
TSV = Format("tsv", "tsv", ANY, _by_name, csv.read, lacks=NESTED)
JSONL = Format("jsonl", "JSON lines", ANY, _by_name, jsonl.read)
PARQUET = Format("parquet", "Parquet", ANY, _by_name, parquet.read)
SQUAD = Format("squad", "SQuAD JSON", (("question", "context", "answers"),), _by_name, squad.read)
JSON_ARRAY = Format("json", "JSON array", ANY, json_array.looks_like, json_array.read, wins_over_own_rows=True)

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
    if head.json.has("targets") or (head.json.paths and not wanted.columns):
        return JSON_ARRAY if JSON_ARRAY.looks_like(head) else None
    own = _is_own(head.json, wanted)
    found = [form for form in FORMATS if form.looks_like(head) and (form.wins_over_own_rows or not own)]
    fitting = [form for form in found if form.fits(wanted)]
    if not fitting and found and wanted.lacking([key for key in head.json.paths if "." not in key]):
        return _checked(found[0], wanted, str(head.path), f"looks like {found[0].title}")
    return fitting[0] if fitting else None


def _is_own(shape: Shape, wanted: Wanted) -> bool:
    """Whether rows of JSON have a wanted set of columns in our own form; that there is a text or words says nothing."""
    told = [[column for column in columns if column not in ("text", "tokens")] for columns in wanted.columns]
    return bool(shape.paths) and any(all(_has(shape, column) for column in columns) for columns in told)


def _has(shape: Shape, column: str) -> bool:
    if column == "label":
        return shape.holds(column, str, int)
    if column in ("labels", "tags"):
        return shape.holds(f"{column}[]", str)
    return shape.has("entities[].start" if column == "entities" else column)


def format_called(name: str, wanted: Wanted, where: str) -> Format:
    """The format that the name of a file tells. Raises DataError for a name that tells none of rows that are wanted."""
    squads, words = SQUAD.serves(wanted.columns), CONLL.serves(wanted.columns)
    formats = {".jsonl": JSONL, ".ndjson": JSONL, ".parquet": PARQUET, ".json": SQUAD if squads else JSONL}
    if CSV.fits(wanted):
        formats |= {".csv": CSV, ".tsv": TSV}
    suffix = Path(name).suffix
    if suffix in formats:
        return formats[suffix]
    if words and suffix != ".csv":
        return CONLL
    columns = "CoNLL columns (.conll, .txt, .tsv, ...), " if words else ""
    raise DataError(f"{where}: {wanted.kind} data is read from {columns}{', '.join(sorted(formats))}, each also as .gz")


def _checked(form: Format, wanted: Wanted, where: str, what: str) -> Format:
    if not form.fits(wanted):
        kinds = sorted(kind for kind, task in TASK_TYPES.items() if form.serves(task.columns))
        raise DataError(f"{where} {what}, from which {' and '.join(kinds)} is read, not {wanted.kind}; "
                        "give another file, or say which format it has under 'format'")  # fmt: skip
    return form
