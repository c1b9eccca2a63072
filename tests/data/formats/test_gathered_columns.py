"""A column of zeros and ones for each label, and a column for each number: read as one column that holds values by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from datafiles import TEXT, jsonl, refusal_of
from manyheads.config.data_section import SourceData
from manyheads.config.dataset import source_of
from manyheads.config.files import RunFile, parse_run
from manyheads.config.schema import json_schema
from manyheads.data.build import build_table
from manyheads.data.python_rows import PythonRows, PythonSource
from manyheads.data.readers import Files
from manyheads.data.saved_datasets import SavedDataset
from manyheads.errors import DataError, UsageError
from manyheads.tasks import TASK_TYPES

CLASSES = ("toxic", "threat", "insult")
COLUMNS = {"text": "comment_text", "labels": CLASSES}
FLAGS = [(1, 0, 1), (0, 0, 0), (1, 1, 0), (0, 0, 1)]
TEXTS = ["You are a rude person, really.", "Thank you for your edit of the page.", "I will find you, and then you will see.",
         "This is the worst page that I ever read."]  # fmt: skip
ROWS = [{"id": f"a{i}", "comment_text": text, **dict(zip(CLASSES, flags, strict=True))}
        for i, (text, flags) in enumerate(zip(TEXTS, FLAGS, strict=True))]  # fmt: skip
LABELS = [("toxic", "insult"), (), ("toxic", "threat"), ("insult",)]


def table(separator: str, rows: list[dict[str, Any]] = ROWS) -> str:
    quote = '"' if separator == "," else ""
    lines = [separator.join([row["id"], f"{quote}{row['comment_text']}{quote}", *(str(row[name]) for name in CLASSES)]) for row in rows]
    return "\n".join([separator.join(rows[0]), *lines]) + "\n"


FILES = {
    "a.csv": table(","),
    "a.tsv": table("\t"),
    "a.jsonl": jsonl(*ROWS),
    "a.json": json.dumps(ROWS),
    "o.json": json.dumps({"data": ROWS}),
    "c.json": pd.DataFrame(ROWS).to_json(),
}


@pytest.fixture(params=[*FILES, "a.parquet", "saved", "DataFrame", "Dataset", "list"])
def source(request, write, tmp_path) -> Any:
    """The rows in every form, each as a function of `columns`."""
    name = request.param
    if name in FILES:
        path = write(name, FILES[name])
        return lambda columns: Files((path,), columns=columns)
    if name == "a.parquet":
        parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / name)
        return lambda columns: Files((tmp_path / name,), columns=columns)
    if name == "saved":
        datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / name))
        return lambda columns: SavedDataset(tmp_path / name, None, columns)
    given = {"DataFrame": pd.DataFrame, "Dataset": datasets.Dataset.from_list, "list": list}[name](ROWS)
    return lambda columns: PythonSource(PythonRows(given), columns)


def examples(source: Any) -> list[tuple[str, ...]]:
    return [example.labels for example in build_table(TASK_TYPES[TEXT](name="t"), source, "train")[0]]


def test_a_column_for_each_label_is_read_in_every_form(source):
    assert examples(source(COLUMNS)) == LABELS


def test_the_proposal_of_a_refusal_can_be_pasted(source):
    with pytest.raises(DataError) as caught:
        examples(source({}))
    proposal = str(caught.value).partition("write columns: ")[2]
    assert proposal == "{text: comment_text, labels: [toxic, threat, insult]}"
    assert examples(source(SourceData(path="a", columns=yaml.safe_load(proposal)).columns)) == LABELS


def test_a_column_that_is_missing_is_named_with_the_nearest(source):
    with pytest.raises(DataError, match=r"has no column 'insults' \(for labels\); did you mean 'insult'\? its columns are"):
        examples(source({"text": "comment_text", "labels": ("toxic", "insults")}))


def test_the_labels_are_part_of_what_a_table_is_cached_under(source):
    assert examples(source(COLUMNS)) != examples(source({**COLUMNS, "labels": CLASSES[:2]}))


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("true", "false"), ("True", "False"), (" 1", "0 ")])
def test_cells_may_be_any_form_of_true_and_false(write, yes, no):
    rows = [{**row, **{name: yes if row[name] else no for name in CLASSES}} for row in ROWS]
    assert examples(Files((write("a.csv", table(",", rows)),), columns=COLUMNS)) == LABELS
    assert refusal_of(Path("a.csv"), TEXT).endswith("labels: [toxic, threat, insult]}")


@pytest.mark.parametrize(
    ("cell", "message"),
    [("2", "seen '2'"), ("", "nothing is there"), ("-1", "seen '-1'"), ("0.7", "seen '0.7'"), ("toxic", "seen 'toxic'")],
)
def test_other_cells_are_refused_with_their_line_and_column(write, cell, message):
    rows = [*ROWS[:2], {**ROWS[2], "threat": cell}, {**ROWS[3], "toxic": cell}]
    expected = [f"a.csv:{line}: '{name}' must be 1 if the label applies, and 0 if not; {message}"
                for line, name in ((4, "threat"), (5, "toxic"))]  # fmt: skip
    with pytest.raises(DataError) as caught:
        examples(Files((write("a.csv", table(",", rows)),), columns=COLUMNS))
    assert str(caught.value).splitlines() == expected


def test_an_empty_cell_of_a_dataframe_is_refused():
    frame = pd.DataFrame([*ROWS[:3], {**ROWS[3], "toxic": None}])
    with pytest.raises(DataError, match=r"rows\[3\]: 'toxic' must be 1 if the label applies, and 0 if not; nothing is there"):
        examples(PythonSource(PythonRows(frame), COLUMNS))


def test_a_jsonl_row_without_one_of_the_keys_is_refused(write):
    path = write("a.jsonl", jsonl(*ROWS[:3], {key: value for key, value in ROWS[3].items() if key != "threat"}))
    with pytest.raises(DataError, match=r"a.jsonl:4: has no column 'threat' \(for labels\)"):
        examples(Files((path,), columns=COLUMNS))


def test_labels_by_name_in_jsonl_are_read_without_a_mapping(write):
    path = write("a.jsonl", jsonl({"text": "a b", "labels": {"x": True, "y": 0}}, {"text": "b c", "labels": {"x": 0, "y": 1}}))
    assert examples(Files((path,))) == [("x",), ("y",)]


def test_numbers_of_several_columns_are_values_by_name(write):
    path = write("a.csv", "essay,cohesion,syntax\nA long essay.,3.5,4\nAnother essay.,2,1.5\n")
    columns = {"text": "essay", "values": ("cohesion", "syntax")}
    table, report = build_table(TASK_TYPES["text-regression"](name="t"), Files((path,), columns=columns), "train")
    assert sorted(report.statistics.numbers) == ["cohesion", "syntax"]
    assert len(table) == 2


def test_the_run_file_takes_a_list_for_labels_and_values_alone():
    text = "tasks: {{t: {{type: text-classification, data: {{train: {{path: a.csv, columns: {}}}}}}}}}\noutput: o\n"
    run = parse_run(text.format("{text: body, labels: [toxic, 3]}"), "run.yaml")
    assert source_of(RunFile(run, Path("run.yaml")), run.tasks["t"].data.train).columns == {"text": "body", "labels": ("toxic", "3")}
    assert yaml.safe_load(yaml.safe_dump(run.model_dump(mode="json")))["tasks"]["t"]["data"]["train"]["columns"]["labels"] == ["toxic", "3"]
    for columns in ("{text: [a, b]}", "{text: a, labels: []}"):
        with pytest.raises((DataError, UsageError), match="must be one column; only labels and values are made of several"):
            parse_run(text.format(columns), "run.yaml")
    forms = json_schema()["$defs"]["SourceData"]["properties"]["columns"]["additionalProperties"]["anyOf"]
    assert [form["type"] for form in forms] == ["string", "integer", "array"]
