"""Data files to rows, each with the place it came from, so that every complaint names `file:line`.

Decided here:
- Strict. A file that can be misread is refused: the first defect ends the reading with a DataError. Only lines that
  are wholly blank are passed over; nothing else is.
- Files are read as bytes and decoded line by line, split at line feeds only: a byte that is not UTF-8 has a line
  number, and U+2028 or U+0085 inside a text does not end a line. A byte order mark is dropped.
- A tab in the first line of CoNLL columns means that tabs separate; otherwise runs of spaces do, and never other white
  space, because a no-break space can be part of a word.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from manyheads.errors import DataError

COLUMNS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "token-classification": (("tokens", "tags"), ("text", "entities")),
    "text-classification": (("text", "label"), ("text", "labels")),
    "question-answering": (("question", "context", "answers"),),
    "sentence-embedding": (("text_a", "text_b"),),
}
"""Columns that a csv or parquet file must have, in one of these sets. A kind that is not here needs none."""

LONGEST_CELL = 2**31 - 1
"""Characters in a csv cell; the csv module refuses more than 131,072 unless told, and documents are longer."""


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as the file has it."""

    values: dict[str, Any]
    where: str
    """`path:line`, of the row's first line; `path: row N` (parquet); `path: question 'ID'` (SQuAD)."""
    lines: int = 1
    """Above 1 for CoNLL columns only: word k stands k lines below the first."""
    skip: str | None = None
    """Why the row cannot be used although nothing is wrong with it (a label of -1 on the hub); always counted."""


@dataclass(frozen=True, slots=True)
class Files:
    """Local files that are read one after the other."""

    paths: tuple[Path, ...]

    def __str__(self) -> str:
        return ", ".join(str(path) for path in self.paths)


@dataclass(frozen=True, slots=True)
class Opened:
    """A data source ready to be read."""

    fingerprint: str
    """Changes whenever the rows or their places do."""
    rows: Callable[[], Iterator[RawRow]]


def open_files(files: Files, kind: str) -> Opened:
    """Files with the hash of their contents and names; times of change play no part. Raises DataError."""
    digest = hashlib.sha256()
    for path in files.paths:
        with _opened(path) as stream:
            digest.update(
                f"{path}\0".encode("utf-8", "surrogateescape") + hashlib.file_digest(stream, "sha256").digest()
            )
    return Opened(digest.hexdigest(), lambda: (row for path in files.paths for row in read_rows(path, kind)))


def read_rows(path: Path, kind: str) -> Iterator[RawRow]:
    """Rows of a file, for a task of this kind; the format follows from the name, `.gz` of any is read.

    Raises DataError for a file that is missing, empty, of another format, not UTF-8, cut off, or has a defect.
    """
    read = _reader(path, kind)
    count = 0
    for row in read(path, kind):
        count += 1
        yield row
    if not count:
        raise DataError(f"{path} has no rows; give a file with data")


def _reader(path: Path, kind: str) -> Callable[[Path, str], Iterator[RawRow]]:
    """The function for this name and kind."""
    name = path.name.lower().removesuffix(".gz")
    formats: dict[str, Callable[[Path, str], Iterator[RawRow]]] = {
        ".jsonl": _json_lines, ".ndjson": _json_lines, ".parquet": _parquet
    }  # fmt: skip
    if kind == "question-answering":
        formats[".json"] = _squad
    else:
        formats[".json"] = _json_lines
        if kind != "token-classification":
            formats |= {".csv": _table, ".tsv": _table}
    suffix = Path(name).suffix
    if suffix in formats:
        return formats[suffix]
    if kind == "token-classification" and suffix != ".csv":
        return _conll
    columns = "CoNLL columns (.conll, .txt, .tsv, ...), " if kind == "token-classification" else ""
    raise DataError(f"{path}: {kind} data is read from {columns}{', '.join(sorted(formats))}, each also as .gz")


# -- bytes and lines --------------------------------------------------------------------------------------------------
def _opened(path: Path) -> BufferedReader:
    """The file as it lies on disk. Raises DataError, with the nearest name when there is none of this one."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        folder = path.parent
        if not folder.is_dir():
            raise DataError(f"{path} does not exist, and neither does its folder {folder}") from None
        near = get_close_matches(path.name, sorted(entry.name for entry in folder.iterdir()), 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"no file in {folder} has a similar name"
        raise DataError(f"{path} does not exist; {hint}") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder; name the file, or a list of files") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _blocks(path: Path) -> Iterator[bytes]:
    """Lines as bytes, unpacked. Raises DataError for a gzip file that is damaged or cut off."""
    with _opened(path) as stored:
        try:
            if not path.name.lower().endswith(".gz"):
                yield from stored
                return
            with gzip.open(stored) as stream:
                yield from stream
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path} is a damaged or cut-off gzip file ({error}); copy it again") from None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines with their endings. Raises DataError for a byte that is not UTF-8, and an empty file."""
    number = 0
    for number, block in enumerate(_blocks(path), 1):
        try:
            line = block.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            guess = " (it looks like UTF-16)" if number == 1 and block[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
            byte, column = error.object[error.start], len(error.object[: error.start].decode("utf-8", "replace")) + 1
            raise DataError(
                f"{path}:{number} is not UTF-8: byte 0x{byte:02x} at column {column}{guess}; save the file as UTF-8"
            ) from None
        yield number, line
    if not number:
        raise DataError(f"{path} is empty; give a file with data")


# -- formats ----------------------------------------------------------------------------------------------------------
def _conll(path: Path, kind: str) -> Iterator[RawRow]:
    """Sentences of CoNLL columns: the first column is the word, the last its tag."""
    document, documents, width, tabs = "", 0, 0, False
    tokens: list[str] = []
    tags: list[str] = []
    first = 0

    def sentence() -> RawRow:
        return RawRow({"tokens": tokens, "tags": tags, "document": document}, f"{path}:{first}", len(tokens))

    for number, line in _lines(path):
        text = line.strip("\r\n").rstrip(" \t")
        starts_document = text.startswith("-DOCSTART-")
        if starts_document or not text:
            if tokens:
                yield sentence()
                tokens, tags = [], []
            if starts_document:
                documents += 1
                document = f"{path.name}#{documents}"
            continue
        if not width:
            tabs = "\t" in text
        cells = [cell.strip(" ") for cell in text.split("\t")] if tabs else [cell for cell in text.split(" ") if cell]
        width = width or len(cells)
        if len(cells) != width or width == 1:
            raise DataError(f"{path}:{number} has {_columns(len(cells))}, {_widths(width)}")
        if not cells[0]:
            raise DataError(f"{path}:{number} has an empty first column; put the word there, or remove the line")
        if not tokens:
            first = number
        tokens.append(cells[0])
        tags.append(cells[-1])
    if tokens:
        yield sentence()


def _widths(width: int) -> str:
    if width == 1:
        return "a word and its tag are needed; separate them by a space or a tab"
    return f"the lines before it have {width}; fix the line or split the file"


def _json_lines(path: Path, kind: str) -> Iterator[RawRow]:
    """One JSON object a line."""
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            values = json.loads(line.rstrip("\r\n"))
        except json.JSONDecodeError as error:
            array = "; the file looks like one JSON array" if number == 1 and line.lstrip()[0] == "[" else ""
            raise DataError(
                f"{path}:{number} is not valid JSON: {error.msg} at column {error.colno}{array}; "
                "write one JSON object on each line"
            ) from None
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits, a list in a list in a list ...
            raise DataError(f"{path}:{number} is not JSON that can be read: {error}") from None
        if not isinstance(values, dict):
            raise DataError(
                f"{path}:{number} holds {_an(values)}, not a JSON object; write one {{...}} with its keys on each line"
            )
        yield RawRow(normalised(values, kind), f"{path}:{number}")


def _table(path: Path, kind: str) -> Iterator[RawRow]:
    """Rows of a csv or tsv file with a header. The place of a row is the line it starts on."""
    tab = path.name.lower().removesuffix(".gz").endswith(".tsv")
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader((line for _, line in _lines(path)), delimiter="\t" if tab else ",", strict=True)
    header: list[str] = []
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            separator = "tab" if tab else "comma"
            raise DataError(
                f"{path}:{start} has a cell whose quotes do not match ({error}); a cell that starts with a quote ends "
                f"with one before the next {separator}, and quotes inside it are doubled"
            ) from None
        if not cells:
            continue
        if not header:
            header = [cell.strip() for cell in cells]
            _check_header(header, f"{path}:{start}", kind)
            continue
        if len(cells) != len(header):
            raise DataError(
                f"{path}:{start} has {_columns(len(cells))}, the header has {len(header)} ({', '.join(header)}); "
                f"fill the row in, or quote a cell that holds a {'tab' if tab else 'comma'}"
            )
        values: dict[str, Any] = dict(zip(header, cells, strict=True))
        if not values.get("text_pair", True):
            values["text_pair"] = None  # the only column that may be left out row by row; an empty cell has no type
        yield RawRow(values, f"{path}:{start}")


def _check_header(header: Sequence[str], where: str, kind: str) -> None:
    sets = COLUMNS.get(kind, ())
    if sets and not any(set(columns) <= set(header) for columns in sets):
        seen = " | ".join(cell if len(cell) <= 40 else cell[:40] + "…" for cell in header)
        raise DataError(
            f"{where} should be a header with the columns {_either(sets)}, seen {seen}; add that line, or rename columns"
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{where} names the column '{twice[0]}' twice; rename one of them")


def _parquet(path: Path, kind: str) -> Iterator[RawRow]:
    """Rows of a parquet file, a thousand at a time. A gzipped one is unpacked into memory."""
    import pyarrow as pa
    from pyarrow import parquet

    packed = path.name.lower().endswith(".gz")
    with _opened(path) as stored:
        try:
            source = parquet.ParquetFile(pa.BufferReader(b"".join(_blocks(path))) if packed else stored)
            names = source.schema_arrow.names
            sets = COLUMNS.get(kind, ())
            if sets and "targets" not in names and not any(set(columns) <= set(names) for columns in sets):
                raise DataError(f"{path} has the columns {', '.join(names)}; expected {_either(sets)}")
            number = 0
            for batch in source.iter_batches(batch_size=1000):
                for values in batch.to_pylist():
                    number += 1
                    yield RawRow(normalised(values, kind), f"{path}: row {number}")
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{path} is no readable parquet file: {str(error).splitlines()[0]}; write it again"
            ) from None


def _squad(path: Path, kind: str) -> Iterator[RawRow]:
    """Questions of a SQuAD v1.1 or v2 file. Each article is let go once its questions are out."""
    text = "".join(line for _, line in _lines(path))
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        lines = "; JSON lines are read from files that end in .jsonl" if error.msg == "Extra data" else ""
        raise DataError(
            f"{path}:{error.lineno} is not valid JSON: {error.msg} at column {error.colno}{lines}"
        ) from None
    del text
    articles = whole.get("data") if isinstance(whole, dict) else None
    if not isinstance(articles, list):
        raise DataError(f"{path} is not SQuAD JSON: expected an object with a list 'data', seen {_an(whole)}")
    articles.reverse()
    count = 0
    while articles:
        article = articles.pop()
        count += 1
        try:
            found = [
                (qa, paragraph["context"], article.get("title", ""))
                for paragraph in article["paragraphs"]
                for qa in paragraph["qas"]
            ]
        except (KeyError, TypeError, AttributeError) as error:
            lack = f"lacks {error}" if isinstance(error, KeyError) else "is no object or holds one that is none"
            raise DataError(
                f"{path}: article {count} {lack}; SQuAD has paragraphs, each with 'context' and 'qas'"
            ) from None
        for qa, context, title in found:
            yield _question(path, qa, context, title)


def _question(path: Path, qa: Any, context: Any, title: Any) -> RawRow:
    if not isinstance(qa, dict) or "question" not in qa:
        seen = qa.get("id") if isinstance(qa, dict) else qa
        raise DataError(f"{path}: question {seen!r} has no 'question'")
    where = f"{path}: question '{qa.get('id', qa['question'])}'"
    if "answers" not in qa and not qa.get("is_impossible"):
        raise DataError(f"{where} has no 'answers'; an unanswerable question has an empty list")
    values = {"id": qa.get("id", ""), "question": qa["question"], "context": context, "answers": qa.get("answers", [])}
    values["title"] = title
    if "is_impossible" in qa:
        values["is_impossible"] = qa["is_impossible"]
    return RawRow(normalised(values, "question-answering"), where)


def normalised(values: dict[str, Any], kind: str) -> dict[str, Any]:
    """Answers as a list of {"text", "start"}, from SQuAD's `answer_start` and from the hub's two parallel lists."""
    if kind != "question-answering" or "answers" not in values:
        return values
    answers = values["answers"]
    if isinstance(answers, Mapping) and {"text", "answer_start"} <= set(answers):
        texts, starts = cast("tuple[list[Any], list[Any]]", (answers["text"], answers["answer_start"]))
        answers = [{"text": text, "start": start} for text, start in zip(texts, starts, strict=False)]
    elif isinstance(answers, list):
        answers = [
            {"text": answer["text"], "start": answer["answer_start"]}
            if isinstance(answer, Mapping) and {"text", "answer_start"} <= set(answer)
            else answer
            for answer in answers
        ]
    return {**values, "answers": answers}


# -- words for messages -----------------------------------------------------------------------------------------------
def _columns(count: int) -> str:
    return "1 column" if count == 1 else f"{count} columns"


def _either(sets: Sequence[Sequence[str]]) -> str:
    return " or ".join(", ".join(columns) for columns in sets)


def _an(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
