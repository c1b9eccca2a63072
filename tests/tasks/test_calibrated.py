"""What validation data settles: scores that mean what they say, thresholds, and never another order."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from manyheads.bundle.tasks import tasks_of
from manyheads.errors import BundleError, UsageError
from manyheads.metrics.calibration import sigmoid
from manyheads.tasks import TASK_TYPES, describe, restore
from manyheads.tasks.question_answering import Found
from manyheads.tasks.text_classification.decoding import answers_of
from manyheads.training.selection import Selection

TEXT = "Ines Prado left Quito for Turin in May."
WORDS = [(0, 10), (16, 21), (26, 31), (35, 38)]
SINGLE = TASK_TYPES["text-classification"](name="t", labels=("dull", "fine", "good"))
MULTI = TASK_TYPES["text-classification"](name="t", labels=tuple("abcdef"), multi_label=True)
SPANS = TASK_TYPES["token-classification"](name="t", labels=("name",))
ANSWERS = TASK_TYPES["question-answering"](name="t")
TASKS = [SINGLE, MULTI, SPANS, ANSWERS]


def overconfident(task: Any, rows: int = 2000, seed: int = 0) -> tuple[list[Any], list[Any]]:
    """Answers whose log-odds are three times too large, and the examples they are of."""
    random = np.random.default_rng(seed)
    if task in (SINGLE, MULTI):
        logits_BK = random.normal(0, 1, (rows, len(task.labels))) - (1 if task is MULTI else 0)
        if task is MULTI:
            given_BK = random.random(logits_BK.shape) < sigmoid(logits_BK)
            labels = [{"labels": [task.labels[k] for k in np.flatnonzero(row_K)]} for row_K in given_BK]
        else:
            noisy_BK = logits_BK + random.gumbel(size=logits_BK.shape)
            labels = [{"label": task.labels[k]} for k in noisy_BK.argmax(-1)]
        answers = [[answer] for answer in answers_of(task, 3 * logits_BK)]
        return answers, [task.read({"text": TEXT, **label}) for label in labels]
    logit_N = random.normal(0, 1, rows)
    right_N, score_N = random.random(rows) < sigmoid(logit_N), sigmoid(3 * logit_N + 1)
    answers, examples = [], []
    for right, score in zip(right_N, score_N, strict=True):
        (start, end), other = (WORDS[i] for i in random.permutation(4)[:2])
        gold = (start, end) if right else other
        span = {"start": start, "end": end, "text": TEXT[start:end], "score": float(score)}
        if task is SPANS:
            answers.append([[{**span, "label": "name"}]])
            examples.append(
                task.read({"text": TEXT, "entities": [{"start": gold[0], "end": gold[1], "label": "name"}]})
            )
        else:
            answers.append([Found((span,), None)])
            row = {"question": "Which?", "context": TEXT, "answers": [{"text": TEXT[slice(*gold)], "start": gold[0]}]}
            examples.append(task.read(row))
    return answers, examples


@pytest.fixture(params=TASKS, ids=["single", "multi", "spans", "answers"])
def case(request: pytest.FixtureRequest) -> tuple[Any, list[Any], list[Any]]:
    return request.param, *overconfident(request.param)


def test_scores_that_say_too_much_are_brought_down_and_the_answers_stay(case: tuple[Any, list[Any], list[Any]]) -> None:
    task, answers, examples = case
    fitted = task.calibrate(answers, examples)
    assert fitted.temperature == pytest.approx(3, rel=0.25)
    fixed = replace(fitted, threshold=0.5, thresholds=()) if task is MULTI else fitted
    restated = fixed.recalibrate(answers, task)
    before, after = task.score(answers, examples), fixed.score(restated, examples)
    assert after["ece"] < 0.05 < before["ece"]
    assert {name: value for name, value in after.items() if name != "ece"} == pytest.approx(
        {name: value for name, value in before.items() if name != "ece"}
    )
    fresh, truth = overconfident(task, seed=1)
    assert fixed.score(fixed.recalibrate(fresh, task), truth)["ece"] < 0.06, "on other data, too"


def test_settings_come_back_from_json_and_folders_without_them_load(case: tuple[Any, list[Any], list[Any]]) -> None:
    task, answers, examples = case
    fitted = task.calibrate(answers, examples)
    described = json.loads(json.dumps(describe(fitted)))
    assert tasks_of({"tasks": {"t": described}}, "manyheads.json")["t"] == fitted  # type: ignore[arg-type]
    old = {
        key: value for key, value in describe(task).items() if key not in ("temperature", "score_bias", "thresholds")
    }
    assert restore(old) == task
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(BundleError, match="temperature"):
            tasks_of({"tasks": {"t": {**described, "temperature": bad}}}, "manyheads.json")  # type: ignore[arg-type]


def test_calibrating_what_is_calibrated_changes_little(case: tuple[Any, list[Any], list[Any]]) -> None:
    task, answers, examples = case
    once = task.calibrate(answers, examples)
    twice = once.calibrate(once.recalibrate(answers, task), examples)
    assert twice.temperature == pytest.approx(once.temperature, rel=0.02)


def test_no_examples_change_nothing(case: tuple[Any, list[Any], list[Any]]) -> None:
    task, _, _ = case
    assert task.calibrate([], []) == task
    assert list(task.recalibrate([], task)) == []


def test_a_head_with_several_labels_that_gives_none_at_half_gives_some_at_its_own_thresholds() -> None:
    random = np.random.default_rng(2)
    truth_BK = np.eye(6)[random.integers(0, 6, 40)]
    logits_BK = -4 + 2 * truth_BK + random.normal(0, 0.5, truth_BK.shape)
    examples = [MULTI.read({"text": TEXT, "labels": [MULTI.labels[int(row_K.argmax())]]}) for row_K in truth_BK]
    fixed = replace(MULTI, threshold=0.5)
    silent = [[answer] for answer in answers_of(fixed, logits_BK)]
    assert fixed.score(silent, examples)["micro_f1"] == 0
    for few in (10, 40):
        fitted = MULTI.calibrate(silent[:few], examples[:few])
        assert fitted.score(fitted.recalibrate(silent, MULTI), examples)["micro_f1"] > 0.8


def test_a_threshold_of_the_users_own_is_kept() -> None:
    answers, examples = overconfident(MULTI)
    given = replace(MULTI, threshold=0.7)
    assert given.calibrate(answers, examples).limits.tolist() == [0.7] * 6
    assert MULTI.limits.tolist() == [0.5] * 6
    with pytest.raises(ValueError, match="2 thresholds for 6 labels"):
        replace(MULTI, thresholds=(0.1, 0.2))


def test_spans_below_a_threshold_are_left_out_and_a_tuned_one_never_costs_f1() -> None:
    answers, examples = overconfident(SPANS)
    tuned = replace(SPANS, threshold="auto")
    fitted = tuned.calibrate(answers, examples)
    assert isinstance(fitted.threshold, float)
    kept = fitted.recalibrate(answers, tuned)
    assert 0 < sum(bool(answer[0]) for answer in kept) < len(answers)
    assert all(span["score"] >= fitted.threshold for answer in kept for span in answer[0])
    assert fitted.score(kept, examples)["f1"] >= SPANS.score(answers, examples)["f1"]
    assert fitted.threshold_notes() == [f"spans with a score below {fitted.threshold:.4g} are left out"]
    assert SPANS.calibrate(answers, examples).threshold == 0.0, "all are kept unless that is asked for"


def test_answers_that_are_withheld_do_not_count_for_calibration() -> None:
    task = replace(ANSWERS, no_answer=True, no_answer_threshold=0.5)
    where = {"question": "Which?", "context": TEXT}
    examples = [task.read({**where, "answers": [{"text": "Quito", "start": 16}]}), task.read({**where, "answers": []})]
    span = {"start": 16, "end": 21, "text": "Quito", "score": 0.75}
    given, withheld = Found((span,), 0.1), Found((span,), 0.9)
    assert task.score([[given], [withheld]], examples)["ece"] == pytest.approx(0.25)
    assert "ece" not in task.score([[withheld], [withheld]], examples)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_a_model_cannot_be_chosen_by_its_calibration_error(task: Any) -> None:
    assert "ece" not in task.metric_names
    with pytest.raises(UsageError, match=r"training.select: t.ece: ece is the calibration error"):
        Selection.of({"t.ece": 1.0}, {"t": task}, ["t"])
