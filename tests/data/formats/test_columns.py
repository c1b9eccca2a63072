"""A task type says the columns that it reads, and the formats that hold them follow; no format knows a type."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest
from pyarrow import parquet

from datafiles import jsonl, read_rows
from manyheads.data.formats.detection import FORMATS
from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.messages import did_you_mean
from manyheads.data.readers import format_of
from manyheads.errors import DataError, UsageError
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import Task

NER, TEXT, QA, PAIRS = "token-classification", "text-classification", "question-answering", "sentence-embedding"
CONLL = "Ada B-PER\nwrote O\n"
PUBTATOR = "7|t|A title\n7\t0\t1\tA\tX\n"
PRODIGY = {"text": "a", "spans": [], "answer": "accept"}


class Rating(Task[Any]):
    """A number for a text."""

    kind: ClassVar[str] = "rating"
    columns: ClassVar[tuple[tuple[str, ...], ...]] = (("text", "score"),)


class Tags(Rating):
    """Any number of labels, never one alone."""

    kind: ClassVar[str] = "tags"
    columns: ClassVar[tuple[tuple[str, ...], ...]] = (("text", "labels"),)


class Anything(Rating):
    """Rows as they are."""

    kind: ClassVar[str] = "anything"
    columns: ClassVar[tuple[tuple[str, ...], ...]] = ()


def values(path: Path, task: type[Task[Any]]) -> list[dict[str, Any]]:
    return [row.values for row in read_rows(path, task)]


def refusal(path: Path, task: type[Task[Any]], form: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        list(read_rows(path, task, form))
    return str(caught.value)


def test_tables_and_json_are_read_for_columns_that_no_format_knows(write):
    rows = [{"text": "a", "score": 0.5}, {"text": "b", "score": 2.0}]
    cells = [{key: str(value) for key, value in row.items()} for row in rows]
    assert values(write("a.csv", "text,score\na,0.5\nb,2.0\n"), Rating) == cells
    assert values(write("a.tsv", "text\tscore\na\t0.5\nb\t2.0\n"), Rating) == cells
    assert values(write("a.jsonl", jsonl(*rows)), Rating) == rows
    assert values(write("a.json", json.dumps(rows)), Rating) == rows
    parquet.write_table(pa.Table.from_pylist(rows), "a.parquet")
    assert values(Path("a.parquet"), Rating) == rows
    scored = {"text": "a", "score": 1, "answer": "accept"}  # as Prodigy writes, with what is wanted beside it
    assert values(write("b.jsonl", jsonl(scored)), Rating) == [scored]


def test_a_task_type_that_cannot_be_imported_does_not_hide_why_a_format_is_refused(write, monkeypatch):
    broken = EntryPoint("broken-type", "no.such.module:Task", "manyheads.tasks")
    monkeypatch.setattr(TASK_TYPES, "_installed", {"broken-type": broken})
    with pytest.raises(UsageError, match="cannot be imported"):
        TASK_TYPES["broken-type"]
    assert "a.txt looks like PubTator, which is a format for entity-linking, relations, span-classification and token-classification, not for rating" in refusal(
        write("a.txt", PUBTATOR), Rating
    )


def test_columns_that_are_wanting_are_named(write):
    assert refusal(write("a.csv", "text,label\na,A\n"), Rating) == (
        "a.csv:1 has the columns text, label; expected text, score: map them under 'columns', such as score: label"
    )
    parquet.write_table(pa.table({"text": ["a"]}), "a.parquet")
    assert refusal(Path("a.parquet"), Rating) == (
        "a.parquet has the columns text; expected text, score: map them under 'columns', such as score: text"
    )


def test_formats_of_other_columns_are_refused_with_the_types_that_read_them(write):
    told = "which is a format for entity-linking, relations, span-classification and token-classification, not for rating; give another file, or name its format under 'format'"
    both = told.replace(" and token-classification", ", text-classification and token-classification")
    words = told.replace("entity-linking, relations, span-classification and token-classification", "token-classification and token-tagging")
    assert refusal(write("a.txt", PUBTATOR), Rating) == f"a.txt looks like PubTator, {told}"
    assert refusal(write("a.jsonl", jsonl(PRODIGY)), Rating) == f"a.jsonl looks like Prodigy, {both}"
    assert refusal(write("a.conll", CONLL), Rating, "conll") == f"a.conll has the format conll, {words}"
    assert refusal(Path("a.conll"), Rating) == (
        "a.conll: rating data is read from .csv, .json, .jsonl, .ndjson, .parquet, .tsv, each also as .gz"
    )


def test_a_type_without_columns_takes_rows_as_they_are(write):
    rows = [
        {"answers": {"text": ["a"], "answer_start": [0]}},
        {"text": "a", "label": ["x"], "answer": "accept"},
        {"x": [[1]]},
    ]
    assert values(write("a.jsonl", jsonl(*rows)), Anything) == rows
    assert values(write("a.json", json.dumps(rows)), Anything) == rows
    assert values(write("a.csv", "x,y\n1,2\n"), Anything) == [{"x": "1", "y": "2"}]
    assert values(write("a.txt", PUBTATOR), Anything) == [
        {"text": "A title", "entities": [{"start": 0, "end": 1, "label": "X"}], "id": "7", "document": "7"}
    ]
    assert [row.values["tags"] for row in read_rows(write("a.conll", CONLL), Anything, "conll")] == [["B-PER", "O"]]


def test_a_type_of_several_labels_alone_gets_lists(write):
    path = write("a.jsonl", jsonl({"text": "a", "label": ["x"]}, {"text": "b", "label": []}))
    assert values(path, Tags) == [{"text": "a", "labels": ["x"]}, {"text": "b", "labels": []}]


@pytest.mark.parametrize("kind", [NER, TEXT, QA, PAIRS])
def test_the_formats_of_our_own_types_follow_from_their_columns(kind):
    spans = {"pubtator", "bioc-xml", "bioc-json", "brat", "gliner", "class-numbers", "conll", "conllu", "webanno-tsv", "xmi", "word-table"}
    either = {"docbin", "prodigy", "label-studio", "gliner2", "spacy", "doccano"}
    own = {NER: spans | either, TEXT: {*either, "bioasq", "fasttext", "class-folders", "label-lines"}, QA: {"squad", "bioasq"}, PAIRS: {"bioasq", "beir"}}[kind]
    assert {form.name for form in FORMATS if form.fits(RowSchema.for_task(TASK_TYPES[kind]))} == {
        *own,
        "csv",
        "tsv",
        "json",
        "json-object",
        "jsonl",
        "parquet",
    }


def test_a_name_tells_the_format_by_the_columns_that_are_wanted(write):
    for kind, name, form in (
        (NER, "a.tsv", "conll"),
        (TEXT, "a.tsv", "tsv"),
        (QA, "a.json", "squad"),
        (PAIRS, "a.json", "jsonl"),
    ):
        assert format_of(write(name, "{}"), RowSchema.for_task(TASK_TYPES[kind])).name == form


@pytest.mark.parametrize(("name", "hint"), [("lable", "did you mean 'label'? "), ("index", ""), ("contxt", "did you mean 'context'? ")])
def test_only_a_column_that_is_surely_near_is_proposed(name, hint):
    assert did_you_mean(name, ["context", "label"]) == hint
