"""Questions whose answers have no offsets."""

from __future__ import annotations

from typing import Any

import pytest

from manyheads.errors import RowError
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.question_answering.example import read_question

CONTEXT = "Oslo is old. Anna came to oslo, then to Oslofjord and 东京塔."


def row(**more: Any) -> dict[str, Any]:
    return {"question": "Where?", "context": CONTEXT, **more}


@pytest.mark.parametrize(
    ("answer", "start", "text"),
    [("Anna", 13, "Anna"), ("OLD", 8, "old"), ("oslo", 26, "oslo"), (" Oslofjord ", 40, "Oslofjord"), ("东京", 54, "东京")],
)
def test_an_answer_is_looked_for_as_whole_words_then_in_any_case(answer: str, start: int, text: str) -> None:
    for given in ({"answer": answer}, {"answers": [answer]}, {"answers": [{"text": answer}]}):
        found = read_question(row(**given))
        assert found.answers == ((start, text),)
        assert not found.ambiguous


def test_the_first_of_several_places_is_used_and_told() -> None:
    task = TASK_TYPES["question-answering"](name="answers")
    found: Any = task.read(row(context="A cat, a dog, a cat.", answer="cat"))
    assert found.answers == ((2, "cat"),)
    (warning,) = task.example_warnings(found)
    assert (warning.problem, warning.detail) == ("answers without an offset are in several places of their context", "'cat'")
    exact: Any = task.read(row(context="A cat, a dog, a cat.", answer="cat", answer_start="16"))
    assert exact.answers == ((16, "cat"),)
    assert not task.example_warnings(exact)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"answer": "Bergen"}, "answer 'Bergen' is nowhere in the context; copy it from there"),
        ({"answer": ""}, "'answer' is empty; fill it in, or give an unanswerable question is_impossible: true"),
        ({"answer": "Anna", "is_impossible": "true"}, "has is_impossible: 'true' and 1 answers; correct one of them"),
        ({"answer": 7}, "answer text 7 is empty"),
        ({"answer": "Anna", "answer_start": 12}, "answer 'Anna' is not at offset 12, where the context has ' Ann'; it is at 13"),
        ({}, "'answers' must be a list"),
    ],
)
def test_other_rows_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(RowError) as caught:
        read_question(row(**given))
    assert str(caught.value).startswith(message)


def test_a_blank_answer_of_an_unanswerable_question_is_none() -> None:
    assert read_question(row(answer=" ", is_impossible="True")).answers == ()
