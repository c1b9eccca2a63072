"""Truth, ids and documents in the forms that csv, pandas and the hub give them."""

from __future__ import annotations

import json
import math

import pytest

from datafiles import read_rows
from manyheads.errors import DataError, RowError
from manyheads.tasks.question_answering import QuestionAnswering
from manyheads.tasks.text_classification import TextClassification
from manyheads.tasks.token_classification import TokenClassification

CONTEXT = "The mill burned down in 1911."
ANSWER = {"text": "1911", "answer_start": 24}


def squad(tmp_path, *qas):
    path = tmp_path / "a.json"
    asked = [{"question": f"When {i}?", "id": i, **qa} for i, qa in enumerate(qas)]
    path.write_text(json.dumps({"data": [{"title": "t", "paragraphs": [{"context": CONTEXT, "qas": asked}]}]}))
    return [QuestionAnswering(name="a").read(row.values) for row in read_rows(path, QuestionAnswering)]


@pytest.mark.parametrize("no", [False, "False", "false", 0, "0", math.nan, None, ""])
def test_a_question_is_answerable_however_its_no_is_written(tmp_path, no):
    (question,) = squad(tmp_path, {"answers": [ANSWER], "is_impossible": no})
    assert question.answers == ((24, "1911"),)
    assert question.id == "0"


@pytest.mark.parametrize("yes", [True, "True", 1, "yes"])
def test_a_question_is_unanswerable_however_its_yes_is_written(tmp_path, yes):
    assert [q.answers for q in squad(tmp_path, {"answers": [], "is_impossible": yes}, {"is_impossible": yes})] == [
        (),
        (),
    ]


@pytest.mark.parametrize(("impossible", "answers"), [(True, [ANSWER]), ("False", []), (0, [])])
def test_a_question_that_says_two_things_is_refused(tmp_path, impossible, answers):
    with pytest.raises(RowError, match=r"has is_impossible: .* and [01] answers; correct one of them"):
        squad(tmp_path, {"answers": answers, "is_impossible": impossible})


def test_a_truth_that_is_none_is_refused_with_the_question(tmp_path):
    with pytest.raises(
        DataError, match=r"a\.json: question '0': 'is_impossible' must be true or false, seen 'perhaps'"
    ):
        squad(tmp_path, {"answers": [ANSWER], "is_impossible": "perhaps"})


@pytest.mark.parametrize("task", [TextClassification(name="t"), TokenClassification(name="t")])
def test_document_zero_is_a_document_and_a_missing_one_is_none(task):
    row = {"text": "a b", "label": "A", "entities": []}
    assert [task.cluster(task.read({**row, "document": d})) for d in (0, 1, 1.0, " d ", "", None, math.nan)] == [
        "0", "1", "1", "d", "", "", ""
    ]  # fmt: skip
    target = "A" if task.kind == "text-classification" else []
    shared = {"text": "a b", "id": 0, "document": None}
    assert task.cluster(task.read(task.row_of_target(shared, target))) == "0"


def test_a_blank_second_text_is_none_in_training_and_in_answering():
    task = TextClassification(name="t")
    for blank in (None, "", " ", math.nan):
        assert task.read({"text": "a", "text_pair": blank, "label": "A"}).pair is None
        assert task.source_of_row({"text": "a", "text_pair": blank}).source.second is None
