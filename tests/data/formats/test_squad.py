"""SQuAD of both versions, answers in every usual form, and what is no SQuAD."""

from __future__ import annotations

import json

import pytest

from datafiles import QA, refusal_of, rows_of
from manyheads.data.formats.rows import RawRow


def squad(*questions: dict, context: str = "Paris is in France.") -> str:
    paragraphs = [{"context": context, "qas": list(questions)}]
    return json.dumps({"version": "v2.0", "data": [{"title": "Paris", "paragraphs": paragraphs}]})


def test_squad_of_both_versions_is_read(write):
    one = {"id": "q1", "question": "Where?", "answers": [{"text": "France", "answer_start": 12}] * 2}
    two = {"id": "q2", "question": "Who?", "answers": [], "is_impossible": True, "plausible_answers": []}
    path = write("dev.json.gz", squad(one, two))
    shared = {"context": "Paris is in France.", "title": "Paris"}
    answer = {"text": "France", "start": 12}
    assert rows_of(path, QA) == [
        RawRow({"id": "q1", "question": "Where?", "answers": [answer] * 2, **shared}, f"{path}: question 'q1'"),
        RawRow(
            {"id": "q2", "question": "Who?", "answers": [], "is_impossible": True, **shared}, f"{path}: question 'q2'"
        ),
    ]


@pytest.mark.parametrize(
    "answers",
    [
        [{"text": "France", "start": 12}],
        [{"text": "France", "answer_start": 12}],
        {"text": ["France"], "answer_start": [12]},
    ],
)
def test_question_rows_take_answers_in_every_usual_form(write, answers):
    path = write("a.jsonl", json.dumps({"question": "Where?", "context": "Paris is in France.", "answers": answers}))
    assert rows_of(path, QA)[0].values["answers"] == [{"text": "France", "start": 12}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": [\n{"title" 1}]}', "a.json:2 is not valid JSON: Expecting ':' delimiter at column 10"),
        (
            '{"question": "a"}\n{"question": "b"}',
            "a.json:2 is not valid JSON: Extra data at column 1; JSON lines are read from files that end in .jsonl",
        ),
        ('{"a": 1}', "a.json is not SQuAD JSON: expected an object with a list 'data', seen an object"),
        ("7", "a.json is not SQuAD JSON: expected an object with a list 'data', seen a number"),
        (
            '{"data": [{"title": "x"}]}',
            "a.json: article 1 lacks 'paragraphs'; SQuAD has paragraphs, each with 'context' and 'qas'",
        ),
        (
            '{"data": [7]}',
            "a.json: article 1 has something else in place of an object; "
            "SQuAD has paragraphs, each with 'context' and 'qas'",
        ),
        (squad({"id": "q"}), "a.json: question 'q' has no 'question'"),
        (
            squad({"id": "q", "question": "?"}),
            "a.json: question 'q' has no 'answers'; an unanswerable question has an empty list",
        ),
        ('{"data": []}', "a.json has no rows; give a file with data"),
    ],
)
def test_broken_squad_is_refused(write, content, message):
    assert refusal_of(write("a.json", content), QA) == message
