"""Predictions as a notebook shows them: every form of answer, escaped."""

from __future__ import annotations

from pathlib import Path

import pytest

import manyheads as mh
from manyheads.api.rendering import SHOWN
from manyheads.tasks import TASK_TYPES

TEXT = "Aspirin <script>alert(1)</script> & fever."


@pytest.fixture(scope="module")
def model(young_model: Path) -> mh.Model:
    return mh.load(young_model)


def test_texts_and_messages_are_escaped(model: mh.Model) -> None:
    rows = [{"text": TEXT, "question": "<i>What?"}, {"<img>": 1}, {"text": 5}]
    page = model.predict(rows)._repr_html_()
    assert "<script" not in page
    assert "<img>" not in page
    assert "&lt;i&gt;What?" in page
    assert page.count("Not answered: ") == 2
    assert all(f"<bdi>{name}</bdi>" in page for name in model.tasks)


def test_answers_are_drawn_by_their_form(model: mh.Model) -> None:
    text = "Aspirin lowered fever."
    given = {"text": text, "question": "What lowered fever?"}
    row: mh.Row = {"windows": 1, "tasks": {
        "entities": [{"start": 0, "end": 7, "label": "Chemical", "text": "Aspirin", "score": 0.9}],
        "section": {"label": "RESULTS", "score": 0.8, "scores": {"RESULTS": 0.8, "METHODS": 0.2}},
        "answers": [{"start": 0, "end": 7, "text": "Aspirin", "score": 0.81}], "no_answer_score": 0.1,
        "similarity": [0.5] * 16,
    }}  # fmt: skip
    page = mh.Predictions([row], [given], model.tasks)._repr_html_()
    assert page.count("<mark") == 2
    assert page.count(">Aspirin<") == 2
    assert "<b><bdi>RESULTS</bdi></b>" in page
    assert "<bdi>0.81</bdi>" in page
    assert "16 numbers: 0.500, " in page
    unanswered: mh.Row = {"windows": 1, "tasks": {"answers": [], "no_answer_score": 0.9}}
    assert "no answer (score 0.9)" in mh.Predictions([unanswered], [given], model.tasks)._repr_html_()


def test_other_forms_are_drawn_too() -> None:
    tags = TASK_TYPES["token-tagging"](name="pos", labels=("NOUN", "VERB"))
    value = TASK_TYPES["text-regression"](name="rating")
    row: mh.Row = {"tasks": {
        "pos": [{"start": 0, "end": 2, "text": "We", "tag": "NOUN", "score": 0.9}], "rating": {"values": {"style": 3.25}},
    }}  # fmt: skip
    page = mh.Predictions([row], [{"tokens": ["We", "go"]}], {"pos": tags, "rating": value})._repr_html_()
    assert "We<span" in page
    assert "<code>style 3.25</code>" in page


def test_many_rows_are_counted_and_none_are_said(model: mh.Model) -> None:
    page = model.predict(["a"] * (SHOWN + 3), "section")._repr_html_()
    assert page.count("<bdi>section</bdi>") == SHOWN
    assert "3 more rows" in page
    assert "no rows" in model.predict([])._repr_html_()
