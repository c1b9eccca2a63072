"""Findings of every task type on a real model's answers, and of single mistakes made on purpose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from manyheads.evaluate import answers_for
from manyheads.html.page import Exhibit
from manyheads.tasks.question_answering import Found, Question, QuestionAnswering
from manyheads.tasks.sentence_embedding import Pair, SentenceEmbedding
from manyheads.tasks.text_classification import LabelledText, TextClassification


def text_of(found: Any) -> str:
    return "".join(f"{p.title}{p.drawing}{p.numbers}" if isinstance(p, Exhibit) else p for p in found)


@pytest.mark.parametrize("name", ["entities", "section", "answers", "similarity"])
def test_the_evidence_of_all_examples_gives_the_headline_score(answered: tuple[Any, dict[str, Any]], name: str) -> None:
    predictor, tables = answered
    task = predictor.tasks[name]
    answers, examples = answers_for(predictor, task, tables[name])
    evidence = task.evidence(answers, examples, [task.cluster(example) for example in examples])
    score = evidence.scores(np.ones((1, evidence.clusters)))[0]
    assert score == pytest.approx(task.main_score(task.score(answers, examples)), abs=1e-9)


def test_the_surest_wrong_labels_come_first_and_right_ones_not_at_all() -> None:
    task = TextClassification(name="t", labels=("a", "b"))
    examples = [LabelledText(f"text {i}", None, ("a",), False) for i in range(4)]
    answers = [[{"label": label, "score": score, "scores": {}}] for label, score in
               (("b", 0.6), ("a", 0.99), ("b", 0.9), ("b", 0.7))]  # fmt: skip
    shown = text_of(task.findings(answers, examples)).split("3 mistakes in 4 texts")[-1]
    assert [shown.index(f"text {i}") for i in (2, 3, 0)] == sorted(shown.index(f"text {i}") for i in (2, 3, 0))
    assert "text 1" not in shown


def test_labels_beyond_the_twentieth_share_a_row_of_the_confusion_matrix() -> None:
    labels = tuple(f"label {i:02}" for i in range(30))
    task = TextClassification(name="t", labels=labels)
    examples = [LabelledText("x", None, (label,), False) for label in labels for _ in range(1 + (label < "label 20"))]
    answers = [[{"label": e.labels[0], "score": 1.0, "scores": {}}] for e in examples]
    found = task.findings(answers, examples)
    matrix = found[0]
    assert isinstance(matrix, Exhibit)
    assert matrix.drawing.count("<tr>") == 1 + 21
    assert "all other labels" in matrix.drawing


def test_a_label_left_out_of_a_set_is_told_as_a_mistake_too() -> None:
    task = TextClassification(name="t", labels=("a", "b"), multi_label=True)
    examples = [LabelledText("first", None, ("a", "b"), True), LabelledText("second", None, (), True)]
    answers = [
        [{"labels": ["a"], "scores": {"a": 0.9, "b": 0.02}}],
        [{"labels": ["b"], "scores": {"a": 0.1, "b": 0.8}}],
    ]
    found = task.findings(answers, examples)
    assert "not b" in text_of(found)
    assert "0.98" in text_of(found)
    evidence = task.evidence(answers, examples, [task.cluster(example) for example in examples])
    assert evidence.scores(np.ones((1, 2)))[0] == pytest.approx(
        task.score(answers, examples)["macro_f1"], abs=1e-9
    )


def test_questions_are_told_apart_by_what_became_of_them() -> None:
    task = QuestionAnswering(name="q", no_answer=True, no_answer_threshold=0.5)
    context = "Aspirin lowered fever in ten children."

    def span(text: str) -> dict[str, Any]:
        return {"start": context.index(text), "end": context.index(text) + len(text), "text": text, "score": 0.7}

    asked = [
        ((0, "Aspirin"), "Aspirin", 0.1), ((0, "Aspirin lowered"), "Aspirin", 0.1), ((0, "Aspirin"), "children", 0.1),
        ((0, "Aspirin"), "Aspirin", 0.9), (None, "fever", 0.2), (None, "fever", 0.8),
    ]  # fmt: skip
    examples = [Question(str(i), f"q{i}?", context, (gold,) if gold else ()) for i, (gold, _, _) in enumerate(asked)]
    answers = [[Found((span(text),), none)] for _, text, none in asked]
    found = task.findings(answers, examples)
    exhibit = found[0]
    assert isinstance(exhibit, Exhibit)
    for kind in ("exact", "partly right", "elsewhere", "withheld", "invented", "rightly withheld"):
        assert f"{kind}: 1" in exhibit.drawing
    assert "3 questions of 6 answered wholly wrong" in text_of(found)


def test_searches_that_miss_are_shown_with_what_was_found_instead() -> None:
    task = SentenceEmbedding(name="s")
    texts = [("ask one", "<i>one</i>"), ("ask two", "two"), ("ask three", "three")]
    examples = [Pair(a, b, "positives") for a, b in texts]
    axes = np.eye(3, dtype=np.float32)
    answers = [[axes[0], axes[1]], [axes[1], axes[0]], [axes[2], axes[2]]]
    found = task.findings(answers, examples)
    shown = text_of(found)
    assert "&lt;i&gt;one&lt;/i&gt;" in shown
    assert "first: 1, second or third: 2" in shown
    evidence = task.evidence(answers, examples, [task.cluster(example) for example in examples])
    assert evidence.scores(np.ones((1, 3)))[0] == pytest.approx(task.score(answers, examples)["mrr"])
