"""Answers as files: each kind holds what the others hold, and what one cannot hold is said."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manyheads.data.requests import read_requests
from manyheads.durable import writing_bytes
from manyheads.errors import UsageError
from manyheads.outputs.passthrough import as_json_row, column_types, merged_column_types, with_passthrough
from manyheads.outputs.writers import ending_of, writer
from manyheads.tasks.question_answering import QuestionAnswering
from manyheads.tasks.sentence_embedding import SentenceEmbedding
from manyheads.tasks.text_classification import TextClassification
from manyheads.tasks.token_classification import TokenClassification

TASKS = [
    TokenClassification(name="found", labels=("Drug",)),
    TextClassification(name="part", labels=("a", "b")),
    QuestionAnswering(name="reply", no_answer=True),
    SentenceEmbedding(name="vector"),
]
SPAN = {"start": 0, "end": 4, "text": "Zinc", "score": 0.5}
ANSWERS = [
    {"id": 7, "windows": 1, "tasks": {
        "found": [{**SPAN, "label": "Drug"}], "part": {"label": "a", "score": 0.75, "scores": {"a": 0.75, "b": 0.25}},
        "reply": [], "no_answer_score": 0.5, "vector": [0.5, -0.25]}},
    {"id": "x", "error": {"type": "invalid_row", "message": "has no 'text'"}},
    {"windows": 2, "tasks": {"found": [], "part": {"label": "b", "score": 1.0, "scores": {"a": 0.0, "b": 1.0}}, "vector": [1.0, 0.0]}},
]  # fmt: skip
KEPT: list[dict[str, Any]] = [{"text": 'Zinc, "so"\tit is\nsaid', "year": 2001}, {}, {"text": "b", "year": None}]
TYPES = {"text": pa.string(), "year": pa.int64()}


def write(
    path: Path, answers: Sequence[Mapping[str, Any]] = ANSWERS, kept: Sequence[Mapping[str, Any]] = KEPT
) -> list[str]:
    said: list[str] = []
    with writing_bytes(path) as file, writer(path, file, TASKS, TYPES if kept else {}, said.append) as put:
        for i, answer in enumerate(answers):
            put(answer, kept[i] if kept else {})
    return said


def test_json_lines_and_arrays_hold_the_rows_as_they_are(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.ndjson", "a", "a.json", "A.JSON"):
        write(tmp_path / name, kept=[])
        text = (tmp_path / name).read_text()
        rows = json.loads(text) if name.lower().endswith(".json") else [json.loads(line) for line in text.splitlines()]
        assert rows == ANSWERS
    write(tmp_path / "none.json", [], [])
    assert json.loads((tmp_path / "none.json").read_text()) == []


def test_kept_columns_stand_behind_the_id(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl")
    first = json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])
    assert list(first) == ["id", "text", "year", "windows", "tasks"]
    assert (first["text"], first["year"]) == (KEPT[0]["text"], 2001)


def test_csv_has_a_column_for_each_key_and_json_in_cells_of_lists(tmp_path: Path) -> None:
    assert write(tmp_path / "a.csv") == []
    with (tmp_path / "a.csv").open(newline="") as file:
        first, bad, last = csv.DictReader(file)
    assert list(first) == ["id", "text", "year", "windows", "found", "part.label", "part.score", "part.scores", "reply",
                           "no_answer_score", "vector", "error"]  # fmt: skip
    assert (first["text"], first["year"], first["part.label"]) == (KEPT[0]["text"], "2001", "a")
    assert json.loads(first["found"]) == ANSWERS[0]["tasks"]["found"]
    assert json.loads(first["part.scores"]) == {"a": 0.75, "b": 0.25}
    assert json.loads(first["vector"]) == [0.5, -0.25]
    assert (bad["id"], bad["error"], bad["windows"]) == ("x", "has no 'text'", "")
    assert (last["id"], last["year"], last["reply"], last["no_answer_score"]) == ("", "", "", "")


def test_tsv_is_not_quoted_and_says_what_it_could_not_hold(tmp_path: Path) -> None:
    assert write(tmp_path / "a.tsv") == [
        "1 cells had tabs or line ends, which tsv cannot hold: replaced by spaces; csv keeps them"
    ]
    lines = [line.split("\t") for line in (tmp_path / "a.tsv").read_text().splitlines()]
    assert {len(line) for line in lines} == {12}
    assert lines[1][1] == 'Zinc, "so" it is said'


def test_parquet_is_nested_and_typed(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.schema.names == [
        "id",
        "text",
        "year",
        "windows",
        "found",
        "part",
        "reply",
        "no_answer_score",
        "vector",
        "error",
    ]
    assert table.schema.field("year").type == pa.int64()
    first, bad, last = table.to_pylist()
    assert (first["id"], first["text"], first["found"][0]["label"]) == ("7", KEPT[0]["text"], "Drug")
    assert (first["part"]["label"], first["vector"]) == ("a", [0.5, -0.25])
    assert (bad["error"], bad["part"], last["error"], last["reply"]) == ("has no 'text'", None, None, None)


def test_packed_names_give_packed_files(tmp_path: Path) -> None:
    write(tmp_path / "a.csv.gz")
    write(tmp_path / "a.csv")
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()) == (tmp_path / "a.csv").read_bytes()


@pytest.mark.parametrize("name", ["a.txt", "a.xlsx", "a.parquet.gz", "a.gz", "a.v2"])
def test_a_name_that_says_another_kind_is_refused(name: str) -> None:
    with pytest.raises(
        UsageError, match=r"answers are written as \.jsonl, \.ndjson, \.json, \.csv, \.parquet, \.tsv, \.conll, .*, not as"
    ):
        ending_of(Path(name))


@pytest.mark.parametrize("name", ["part", "no_answer_score", "windows", "error"])
def test_a_kept_column_that_is_called_like_an_answer_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"the input's column '{name}' has the name of a column of the answers; rename it"), \
         writer(tmp_path / "a.csv", io.BytesIO(), TASKS, {name: pa.string()}, print):  # fmt: skip
        pass
    if name not in ("part", "no_answer_score"):
        with pytest.raises(UsageError, match=f"the input's column '{name}' has the name of a key of the answers"):
            as_json_row({"windows": 1, "tasks": {}}, {name: 1})


def test_types_are_those_of_parquet_and_of_values_that_agree(tmp_path: Path) -> None:
    table = pa.table({"id": [1], "text": ["a"], "day": pa.array([0], pa.date32()), "__index_level_0__": [3]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert column_types(tmp_path / "a.parquet") == {"text": pa.string(), "day": pa.date32()}
    rows = [{"text": "a", "n": 1, "x": 1, "b": True, "mixed": 1, "list": [1], "big": 1 << 70, "none": None},
            {"id": 3, "text": "b", "n": 2, "x": 0.5, "mixed": "a"}]  # fmt: skip
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{bad\n")
    assert column_types(tmp_path / "a.jsonl") == {
        "text": pa.string(), "n": pa.int64(), "x": pa.float64(), "b": pa.bool_(), "mixed": pa.string(), "list": pa.string(),
        "big": pa.string(),
    }  # fmt: skip
    (tmp_path / "a.csv").write_text("text,n\na,1\n")
    assert column_types(tmp_path / "a.csv") == {"text": pa.string(), "n": pa.string()}
    assert merged_column_types([{"a": pa.int64(), "b": pa.string()}, {"a": pa.string()}, {"b": pa.string()}]) == {
        "a": pa.string(), "b": pa.string(),
    }  # fmt: skip


def test_times_are_strings_in_json_and_bytes_are_refused() -> None:
    kept = {"day": datetime.date(2020, 1, 2), "x": float("nan")}
    assert as_json_row({"windows": 1, "tasks": {}}, kept) == {"day": "2020-01-02", "x": None, "windows": 1, "tasks": {}}
    with pytest.raises(UsageError, match="the input's column 'raw' holds a value that is of the type bytes"):
        as_json_row({"windows": 1, "tasks": {}}, {"raw": b"a"})


def test_each_answer_meets_the_columns_of_its_own_row_however_far_ahead_rows_are_read() -> None:
    rows = [{"id": i, "n": i} for i in range(10)]

    def predict(given: Any) -> Any:
        yield from list(given)

    assert [(answer["id"], kept) for answer, kept in with_passthrough(rows, predict)] == [(i, {"n": i}) for i in range(10)]


def test_carriage_returns_in_a_csv_are_quoted_so_that_our_reader_accepts_them(tmp_path: Path) -> None:
    row = {"id": "a\rb", "windows": 1, "tasks": {}}
    with (tmp_path / "a.csv").open("wb") as file, writer(tmp_path / "a.csv", file, [], {"text": pa.string()}, print) as write:
        write(row, {"text": "one\r\ntwo\rthree"})
    (found,) = read_requests(tmp_path / "a.csv")
    assert found["text"] == "one\r\ntwo\rthree"
