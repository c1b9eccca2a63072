"""Heads that show no learning are named, and others are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyheads.evaluate import TRY, head_warnings
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.question_answering import Found

TEXT = "Lena Okoye moved from Lagos to Oslo."
ENTITIES = TASK_TYPES["token-classification"](name="t", labels=("city", "person"))
SINGLE = TASK_TYPES["text-classification"](name="t", labels=("dull", "fine", "good"))
MULTI = TASK_TYPES["text-classification"](name="t", labels=("a", "b"), multi_label=True)
ANSWERS = TASK_TYPES["question-answering"](name="t", no_answer=True, no_answer_threshold=0.5)
PAIRS = TASK_TYPES["sentence-embedding"](name="t")


def read(task: Any, *rows: dict[str, Any]) -> list[Any]:
    return [task.read(row) for row in rows]


def labelled(*labels: str) -> list[Any]:
    return read(SINGLE, *({"text": TEXT, "label": label} for label in labels))


def said(task: Any, answers: list[Any], examples: list[Any]) -> str | None:
    return task.degenerate_reason([answer if isinstance(answer, tuple) else (answer,) for answer in answers], examples)


def span(start: int, end: int, label: str) -> dict[str, Any]:
    return {"start": start, "end": end, "label": label, "text": TEXT[start:end], "score": 0.9}


def test_a_head_that_finds_no_entity_or_no_right_one_is_named() -> None:
    gold = read(ENTITIES, {"text": TEXT, "entities": [{"start": 0, "end": 10, "label": "person"},
                                                      {"start": 22, "end": 27, "label": "city"}]})  # fmt: skip
    assert said(ENTITIES, [[]], gold) == "finds none of the 2 entities"
    assert said(ENTITIES, [[span(0, 4, "person")]], gold) == "finds none of the 2 entities; the 1 it finds are wrong"
    assert said(ENTITIES, [[span(22, 27, "city")]], gold) is None
    none = read(ENTITIES, {"text": TEXT, "entities": []})
    assert said(ENTITIES, [[]], none) is None, "there is nothing to find"


def test_a_head_that_gives_one_label_or_does_no_better_is_named() -> None:
    gold = labelled("good", "good", "dull", "fine")
    assert said(SINGLE, [{"label": "dull"}] * 4, gold) == "answers 'dull' for all 4 texts"
    worse = [{"label": label} for label in ("good", "fine", "good", "dull")]
    assert said(SINGLE, worse, gold) == "scores no better than always answering 'good'"
    assert said(SINGLE, [{"label": label} for label in ("good", "good", "dull", "dull")], gold) is None
    assert said(SINGLE, [{"label": "good"}] * 2, labelled("good", "good")) is None, "one label is all there is"


def test_a_head_that_gives_all_texts_the_same_labels_is_named() -> None:
    gold = read(MULTI, {"text": TEXT, "labels": ["a"]}, {"text": TEXT, "labels": ["a", "b"]})
    assert said(MULTI, [{"labels": []}] * 2, gold) == "answers no label for all 2 texts"
    assert said(MULTI, [{"labels": ["b", "a"]}, {"labels": ["a", "b"]}], gold) == "answers 'a', 'b' for all 2 texts"
    assert said(MULTI, [{"labels": ["a"]}, {"labels": ["a", "b"]}], gold) is None


def test_a_head_that_abstains_from_all_questions_or_answers_none_right_is_named() -> None:
    where = {"question": "Where did she go?", "context": TEXT}
    gold = read(ANSWERS, {**where, "answers": [{"text": "Oslo", "start": 31}]}, {**where, "answers": []})
    oslo, lagos = ((span(start, start + size, ""),) for start, size in ((31, 4), (22, 5)))
    assert said(ANSWERS, [Found(oslo, 0.9), Found(oslo, 0.9)], gold) == (
        "abstains from all 2 questions, of which 1 have an answer"
    )
    assert (
        said(ANSWERS, [Found(lagos, 0.1), Found(lagos, 0.9)], gold)
        == "scores no better than abstaining from every question"
    )
    assert said(ANSWERS, [Found(oslo, 0.1), Found(oslo, 0.9)], gold) is None
    assert said(ANSWERS, [Found(lagos, 0.1)], gold[:1]) == "answers none of the 1 questions right, not even in part"
    assert said(ANSWERS, [Found(lagos, 0.9)], gold[1:]) is None, "nothing has an answer"


def test_a_head_whose_vectors_are_all_alike_or_rank_by_chance_is_named() -> None:
    gold = read(PAIRS, *({"text_a": TEXT, "text_b": f"{TEXT} {i}", "score": float(i)} for i in range(3)))
    turned = [np.array([np.cos(angle), np.sin(angle)], np.float32) for angle in (0.0, 0.4, 0.9)]
    assert said(PAIRS, [(turned[0], turned[0])] * 3, gold) == "gives all 3 pairs the same similarity"
    assert (
        said(PAIRS, [(turned[0], other) for other in turned], gold)
        == "ranks pairs no better than chance (Spearman -1.00)"
    )
    assert said(PAIRS, [(turned[0], other) for other in reversed(turned)], gold) is None


@given(st.lists(st.sampled_from(SINGLE.labels), min_size=2, max_size=12).filter(lambda labels: len(set(labels)) > 1))
def test_right_answers_are_never_named_and_one_answer_for_all_always(golds: list[str]) -> None:
    examples = labelled(*golds)
    assert said(SINGLE, [{"label": label} for label in golds], examples) is None
    for label in SINGLE.labels:
        assert f"'{label}' for all" in str(said(SINGLE, [{"label": label}] * len(golds), examples))


@pytest.mark.parametrize("task", [ENTITIES, SINGLE, MULTI, ANSWERS, PAIRS], ids=lambda task: type(task).__name__)
def test_no_examples_say_nothing(task: Any) -> None:
    assert task.degenerate_reason([], []) is None


def test_a_sentence_says_what_to_try() -> None:
    found = head_warnings({"t": SINGLE}, {"t": ([[{"label": "good"}]] * 2, labelled("good", "dull"))})
    assert found == {"t": f"answers 'good' for all 2 texts; {TRY}"}
