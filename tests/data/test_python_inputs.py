"""What Python users hand over: every container that holds texts gives the same rows, and what holds none is refused."""

from __future__ import annotations

import json
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from manyheads.data.python_inputs import broadcast_rows, is_missing, rows_of_inputs, task_names
from manyheads.errors import RowError, UsageError

TEXTS = ["Zinc was given.", "No cough was seen."]
ROWS = [{"text": TEXTS[0], "id": 7, "question": "What was given?"}, {"text": TEXTS[1], "id": 8, "question": "What?"}]
COLUMNS = {key: [row[key] for row in ROWS] for key in ROWS[0]}
Item = namedtuple("Item", ["text", "id", "question"])

COLUMNS_OF_TEXTS = {
    "list": TEXTS,
    "tuple": tuple(TEXTS),
    "generator": (text for text in TEXTS),
    "dictionary view": dict(enumerate(TEXTS)).values(),
    "array of str": np.array(TEXTS),
    "array of objects": np.array(TEXTS, object),
    "pandas series": pd.Series(TEXTS, index=[5, 9]),
    "pandas index": pd.Index(TEXTS),
    "categories": pd.Series(TEXTS, dtype="category"),
    "polars series": pl.Series("anything", TEXTS),
    "column of a data set": datasets.Dataset.from_dict(COLUMNS)["text"],
}
TABLES = {
    "rows": ROWS,
    "generator of rows": (row for row in ROWS),
    "named tuples": [Item(**row) for row in ROWS],
    "pandas": pd.DataFrame(COLUMNS, index=["b", "a"]),
    "rows of pandas": [pd.DataFrame(COLUMNS).iloc[i] for i in range(2)],
    "tuples of pandas": pd.DataFrame(COLUMNS).itertuples(index=False),
    "polars": pl.DataFrame(COLUMNS),
    "data set": datasets.Dataset.from_dict(COLUMNS),
    "stream of a data set": datasets.Dataset.from_dict(COLUMNS).to_iterable_dataset(),
    "arrow table": pa.table(COLUMNS),
    "arrow batch": pa.RecordBatch.from_pydict(COLUMNS),
}


def told(inputs: object) -> list[object]:
    return [str(row) if isinstance(row, RowError) else dict(row) for row in rows_of_inputs(inputs)]


@pytest.mark.parametrize("kind", COLUMNS_OF_TEXTS)
def test_every_column_of_texts_gives_its_texts(kind: str) -> None:
    assert told(COLUMNS_OF_TEXTS[kind]) == [{"text": text} for text in TEXTS]


@pytest.mark.parametrize("kind", TABLES)
def test_every_table_gives_its_rows_with_plain_values(kind: str) -> None:
    found = told(TABLES[kind])
    assert found == ROWS
    assert json.loads(json.dumps(found)) == ROWS, "no number of numpy is left in them"


def test_one_text_and_one_row_are_one_row() -> None:
    assert told(TEXTS[0]) == [{"text": TEXTS[0]}]
    assert told(np.str_(TEXTS[0])) == [{"text": TEXTS[0]}]
    assert told(ROWS[0]) == [ROWS[0]]
    assert told(pd.DataFrame(COLUMNS).iloc[1]) == [ROWS[1]]
    assert told([]) == told(pd.DataFrame({"text": []})) == told(pl.Series([], dtype=pl.String)) == []


def test_words_of_a_table_are_lists() -> None:
    table = pd.DataFrame({"tokens": [np.array(["Zinc", "helps"])], "year": [np.int64(2001)]})
    assert told(table) == [{"tokens": ["Zinc", "helps"], "year": 2001}]


EMPTY_CELLS = {
    "pandas object": pd.DataFrame({"text": ["a", None, "c"], "id": [1, 2, 3], "question": [None, "q", float("nan")]}),
    "pandas str": pd.DataFrame({"text": ["a", None, "c"], "id": [1, 2, 3], "question": [None, "q", pd.NA]}, dtype="string"),
    "polars": pl.DataFrame({"text": ["a", None, "c"], "id": [1, 2, 3], "question": [None, "q", None]}),
    "data set": datasets.Dataset.from_dict({"text": ["a", None, "c"], "id": [1, 2, 3], "question": [None, "q", None]}),
}  # fmt: skip


@pytest.mark.parametrize("kind", EMPTY_CELLS)
def test_an_empty_text_is_the_error_of_its_row_and_other_empty_cells_are_left_out(kind: str) -> None:
    first, second, third = rows_of_inputs(EMPTY_CELLS[kind])
    assert (set(first), set(third)) == ({"text", "id"}, {"text", "id"})
    assert isinstance(second, RowError)
    assert "'text' is missing (seen " in str(second)
    assert str(second.row_id) == "2"


def test_an_empty_cell_in_a_column_of_texts_is_an_error_in_its_place() -> None:
    for column in (
        [*TEXTS, None],
        pd.Series([*TEXTS, float("nan")]),
        pl.Series([*TEXTS, None]),
        [*TEXTS, pd.NA],
        [*TEXTS, pd.NaT],
    ):
        first, second, last = told(column)
        assert (first, second) == ({"text": TEXTS[0]}, {"text": TEXTS[1]})
        assert str(last).startswith("is missing (seen ")
    assert [is_missing(v) for v in ("nan", "", 0, False, [None], np.array([1.0, np.nan]))] == [False] * 6


@pytest.mark.parametrize("value", [3, 1.5, b"a", ["a", "b"], object()])
def test_an_item_that_is_no_text_is_an_error_in_its_place(value: object) -> None:
    good, bad = told([TEXTS[0], value])
    assert good == {"text": TEXTS[0]}
    assert str(bad).startswith(f"must be a text or a row such as {{'text': ...}}, seen {type(value).__name__}")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (pd.DataFrame({"body": TEXTS}), r"a DataFrame needs a 'text' column; it has body; rename"),
        (pl.DataFrame({"body": TEXTS}), r"a DataFrame needs a 'text' column"),
        (datasets.Dataset.from_dict({"body": TEXTS}), r"a Dataset needs a 'text' column; it has body"),
        (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "has the column 'text' twice"),
        (pl.DataFrame(COLUMNS).lazy(), r"a LazyFrame has no rows yet; give what its collect\(\) returns"),
        (datasets.DatasetDict({"train": datasets.Dataset.from_dict(COLUMNS)}), r"DatasetDict of train is not a row; .*\['train'\]"),
        ({"text": TEXTS}, "a dictionary is one row, and its 'text' is a list"),
        (set(TEXTS), "a set has no order"),
        (b"bytes", "decode it to a str"),
        (Path("texts.txt"), "texts.txt is a path"),
        (np.array([TEXTS, TEXTS]), "the ndarray has 2 dimensions"),
        (np.array("a text"), "the ndarray has 0 dimensions"),
        (7, "the input must be a text, a row .* seen int"),
        (None, "seen NoneType"),
        (SimpleNamespace(text="a"), "seen SimpleNamespace"),
    ],
)  # fmt: skip
def test_what_holds_no_texts_is_refused_at_once(inputs: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        rows_of_inputs(inputs)


def test_questions_and_contexts_are_paired_and_one_stands_for_all() -> None:
    assert list(broadcast_rows(question="q", context=pd.Series(["a", "b"]))) == [
        {"question": "q", "context": "a"}, {"question": "q", "context": "b"},
    ]  # fmt: skip
    assert list(broadcast_rows(question=("p", "q"), context=["a", "b"]))[1] == {"question": "q", "context": "b"}
    assert list(broadcast_rows(question="q", context="a")) == [{"question": "q", "context": "a"}]
    assert list(broadcast_rows(question="q", context=[])) == []
    with pytest.raises(UsageError, match="there are 2 of question and 1 of context; give equally many"):
        list(broadcast_rows(question=["p", "q"], context=["a"]))
    with pytest.raises(UsageError, match="context must be a text or a column of texts, seen DataFrame"):
        list(broadcast_rows(question="q", context=pd.DataFrame(COLUMNS)))


def test_a_task_is_named_by_one_name_or_several() -> None:
    assert task_names(None) is None
    assert task_names("section") == ["section"]
    assert task_names(name for name in ("a", "b")) == ["a", "b"]
    with pytest.raises(UsageError, match="tasks is empty"):
        task_names([])
    with pytest.raises(UsageError, match="tasks holds 3"):
        task_names([3])
