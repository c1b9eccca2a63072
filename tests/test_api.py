"""`Model` in Python: containers of texts are answered alike by every method, and missing cells are never the text "nan"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pytest

import manyheads as mh
from manyheads.errors import RowError, UsageError

TEXTS = ["Aspirin lowered fever.", "Nausea was common."]
COLUMNS = {"text": TEXTS, "id": [3, 4], "question": ["What lowered fever?", "What was common?"]}


@pytest.fixture(scope="module")
def model(young_model: Path) -> mh.Model:
    return mh.load(young_model)


def containers() -> Iterator[Any]:
    yield tuple(TEXTS)
    yield (text for text in TEXTS)
    yield np.array(TEXTS)
    yield pd.Series(TEXTS)
    yield pl.Series(TEXTS)
    yield pd.DataFrame(COLUMNS)
    yield pl.DataFrame(COLUMNS)
    yield datasets.Dataset.from_dict(COLUMNS)


def test_every_method_answers_every_container_as_it_answers_a_list(model: mh.Model) -> None:
    for method in (model.classify, model.entities):
        expected = method(TEXTS)
        for given in containers():
            assert method(given) == expected
    vectors = model.embed(TEXTS)
    for given in containers():
        assert np.allclose(model.embed(given), vectors, atol=1e-6)


def test_a_table_is_answered_with_its_ids_and_questions(model: mh.Model) -> None:
    rows = [{key: COLUMNS[key][i] for key in COLUMNS} for i in range(2)]
    expected = model.predict(rows)
    assert [row["id"] for row in expected] == [3, 4]
    for table in (pd.DataFrame(COLUMNS), pl.DataFrame(COLUMNS), datasets.Dataset.from_dict(COLUMNS)):
        assert model.predict(table) == expected
    assert model.predict(rows[0]) == model.predict([rows[0]])


def test_one_task_is_named_without_a_list(model: mh.Model) -> None:
    assert model.predict(TEXTS, tasks="section") == model.predict(TEXTS, tasks=["section"])
    with pytest.raises(UsageError, match="has no task 'sections'"):
        model.predict(TEXTS, tasks="sections")
    with pytest.raises(UsageError, match="tasks is empty"):
        model.predict(TEXTS, tasks=[])


def test_a_missing_text_is_the_error_of_its_row_and_named_where_all_must_be_answered(model: mh.Model) -> None:
    column = pd.Series([TEXTS[0], float("nan")])
    good, bad = model.predict(column, tasks="section")
    assert "tasks" in good
    assert bad["error"]["message"] == "is missing (seen nan); give a text"
    for method in (model.classify, model.entities, model.embed):
        with pytest.raises(RowError, match=r"input 1: is missing \(seen nan\); give a text"):
            method(column)
    with pytest.raises(UsageError, match="needs a 'text' column; it has body"):
        model.classify(pd.DataFrame({"body": TEXTS}))


def test_answers_come_for_one_question_for_columns_and_for_rows(model: mh.Model) -> None:
    one = [model.answer(question=q, context=c) for q, c in zip(COLUMNS["question"], TEXTS, strict=True)]
    assert model.answer(question=COLUMNS["question"], context=TEXTS) == one
    assert model.answer(question=pd.Series(COLUMNS["question"]), context=pl.Series(TEXTS)) == one
    assert model.answer(pd.DataFrame(COLUMNS)) == one
    assert model.answer({"question": COLUMNS["question"][0], "context": TEXTS[0]}) == one[:1]
    assert model.answer(question="What?", context=TEXTS) == [model.answer(question="What?", context=c) for c in TEXTS]
    with pytest.raises(RowError, match="input 0: has no input for task 'answers'; its keys are text"):
        model.answer(TEXTS)
    for wrong in ({}, {"question": "What?"}, {"rows": TEXTS, "question": "What?", "context": "a"}):
        with pytest.raises(UsageError, match="answer takes either rows with a question and a context, or both"):
            model.answer(**wrong)
