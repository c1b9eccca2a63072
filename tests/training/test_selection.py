"""The combined score and the patience to wait for a better one."""

from __future__ import annotations

import pytest

from manyheads.errors import UsageError
from manyheads.tasks import TASK_TYPES
from manyheads.training.selection import Patience, Selection

TASKS = {"entities": TASK_TYPES["token-classification"](name="entities"),
         "section": TASK_TYPES["text-classification"](name="section")}  # fmt: skip
METRICS = {"entities": {"f1": 0.5, "precision": 0.75}, "section": {"accuracy": 1.0, "macro_f1": 0.25}}


def test_without_weights_it_is_the_mean_of_the_main_metrics() -> None:
    expected = (METRICS["entities"]["f1"] + TASKS["section"].main_score(METRICS["section"])) / 2
    assert Selection().score(TASKS, METRICS) == pytest.approx(expected)


def test_it_is_the_weighted_mean_of_the_chosen_metrics() -> None:
    selection = Selection.of({"entities.precision": 2, "section.macro_f1": 1, "section.accuracy": 1}, TASKS, TASKS)
    assert selection.score(TASKS, METRICS) == pytest.approx((2 * 0.75 + 0.25 + 1.0) / 4)


def test_a_metric_that_test_data_does_not_give_is_left_out_but_validation_data_must_give_it() -> None:
    selection = Selection.of({"entities.f1": 1, "section.weighted_f1": 3}, TASKS, TASKS)
    assert selection.score(TASKS, METRICS) == 0.5
    assert selection.score(TASKS, {}) == 0.0
    selection.check({"entities": METRICS["entities"]})
    with pytest.raises(
        UsageError, match=r"section.weighted_f1 is not measured on this data; it gives accuracy, macro_f1"
    ):
        selection.check(METRICS)


def test_a_combined_score_says_what_it_leaves_out() -> None:
    assert Selection().left_out(TASKS, METRICS) is None
    some = {"section": METRICS["section"]}
    assert Selection().left_out(TASKS, some) == "of section alone; entities has no score"
    chosen = Selection.of({"entities.f1": 1, "section.weighted_f1": 3}, TASKS, TASKS)
    assert chosen.left_out(TASKS, METRICS) == "of entities.f1 alone; section.weighted_f1 has no score"
    assert Selection.of({"section.accuracy": 1}, TASKS, TASKS).left_out(TASKS, some) is None


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("entites.f1", r"training.select: entites.f1: there is no task 'entites'; the tasks are entities, section"),
        ("entities.f2", r"token-classification has no metric 'f2'; did you mean 'f1'\? \(known: f1, precision, recall"),
        ("entities", r"has no metric '' \(known: f1, precision, recall, token_accuracy, exact_f1, partial_f1, type_f1\)"),
        ("section.accuracy", r"training.select: section.accuracy: 'section' has no validation data"),
    ],
)
def test_what_cannot_be_selected_is_refused_with_the_known_names(key: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Selection.of({key: 1.0}, TASKS, {"entities"})


def test_waiting_counts_evaluations_since_the_best() -> None:
    waiting = Patience(2)
    assert [waiting.better(score) for score in (0.1, 0.3, 0.3)] == [True, True, False]
    assert not waiting.over
    assert not waiting.better(0.2)
    assert waiting.over
    assert waiting.better(0.4)
    assert not waiting.over
    patient = Patience(None)
    assert not any(patient.better(float("nan")) or patient.over for _ in range(9))
