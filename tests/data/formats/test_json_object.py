"""One JSON object with the rows of a file, as pandas and others write it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from datafiles import NER, TEXT, refusal_of, rows_of
from manyheads.data.readers import Files, open_files
from manyheads.errors import DataError
from manyheads.tasks import TASK_TYPES

ROWS = [{"text": f"It {word} {n}.", "label": label} for n, (word, label) in enumerate([("broke", "bad"), ("works", "good")] * 3)]


@pytest.mark.parametrize("orient", ["columns", "split", "table", "records"])
@pytest.mark.parametrize("indent", [0, 2])
def test_every_table_that_pandas_writes_is_read(tmp_path: Path, orient: Any, indent: int) -> None:
    path = tmp_path / "a.json"
    pd.DataFrame(ROWS).to_json(path, orient=orient, indent=indent)
    assert [{key: row.values[key] for key in ("text", "label")} for row in rows_of(path, TEXT)] == ROWS


@pytest.mark.parametrize(
    "found",
    [
        {"data": ROWS},
        {"version": "1.0", "license": {"name": "CC0"}, "rows": ROWS},
        {"tags": ["a", "b"], "examples": ROWS},
        {key: [row[key] for row in ROWS] for key in ("text", "label")},
    ],
)
def test_rows_are_a_list_under_a_key_or_columns_of_values(write: Any, found: Any) -> None:
    rows = rows_of(write("a.json", json.dumps(found)), TEXT)
    assert [row.values for row in rows] == ROWS
    assert rows[2].where == "a.json: item 3"


def test_lines_and_single_rows_are_not_taken_for_it(write: Any) -> None:
    row = {"text": "It broke.", "label": "bad", "spans": [{"start": 0}]}
    for text in (json.dumps(row), f"{json.dumps(row)}\n" * 2, f"\n{json.dumps(row)}\r\n\n{json.dumps(row)}"):
        assert {one.values["label"] for one in rows_of(write("a.json", text), TEXT)} == {"bad"}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"train": ROWS, "test": ROWS}, "a.json has rows under train, test; write each list into a file of its own"),
        ({"text": ["a", "b"], "label": ["A"]}, "a.json has 2 values under 'text' and 1 value under 'label'; give every row"),
        ({"text": {"0": "a"}, "label": {"1": "A"}}, "a.json has 1 value under 'text' and 1 value under 'label'; give every row"),
        ({"data": [{"sentence": "It broke.", "class": "bad"}, {"sentence": "It works.", "class": "good"}]},
         "a.json: item 1: has the columns sentence, class; expected text, label or text, labels: write columns: "
         "{text: sentence, label: class}"),
        ({"columns": [0, 1], "index": [0], "data": [["a", "A"]]}, "a.json has 'columns' that are not strings; name the columns"),
        ({"columns": ["text", "label"], "data": [["a", "A"], ["b"]]}, "a.json: item 2 is not a list with a value for each of"),
        ({"columns": ["text", "label"], "data": [3, 4]}, "a.json: item 1 is not a list with a value for each of"),
        ({"columns": [["a"]], "data": [["x"]]}, "a.json has 'columns' that are not strings"),
        ({"data": [{"text": "a", "label": "A"}, 3]}, "a.json: item 2 holds a number, not a JSON object"),
    ],
)  # fmt: skip
def test_other_objects_are_refused(write: Any, found: Any, message: str) -> None:
    assert refusal_of(write("a.json", json.dumps(found)), TEXT).startswith(message)


@pytest.mark.parametrize("found", [{}, {"columns": 3, "data": {"a": 1}}, {"text": None}, [], 7])
def test_whatever_is_named_as_it_is_read_or_refused(write: Any, found: Any) -> None:
    path = write("a.json", json.dumps(found))
    with pytest.raises(DataError, match=r"^a\.json"):
        list(open_files(Files((path,), "json-object"), TASK_TYPES[TEXT]).rows())


def test_a_list_of_wrapped_training_pairs_is_not_taken_for_one(write: Any) -> None:
    wrapped = {"classes": ["PER"], "annotations": [["Ada.", {"entities": [[0, 3, "PER"]]}]]}
    assert refusal_of(write("a.json", json.dumps([wrapped])), NER).startswith("a.json: item 1")
