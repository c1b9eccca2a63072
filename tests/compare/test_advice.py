"""Advice follows verdicts; gradients choose no more than the layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from manyheads.compare.advice import Finding, advise, branching_layer, most_wanted
from manyheads.compare.outcome import Outcome
from manyheads.compare.result import _forgetting, _speed, _speed_up
from manyheads.config.files import load_run

GROUPS = ["embeddings", "layers 1-2", "layers 3-4", "layers 5-6"]


def diagnostics(*cosines: float) -> dict[str, Any]:
    values = [{"value": c, "low": c - 0.05, "high": c + 0.05} for c in cosines]
    return {"groups": GROUPS, "pairs": {"a|b": {"cosine": values}}}


def test_nothing_is_changed_where_nothing_is_hurt() -> None:
    found = {
        "a": Finding("helps", 0.02, 9000),
        "b": Finding("equivalent", 0.0, 9000),
        "c": Finding("inconclusive", -0.05, 9),
    }
    advice = advise(found, diagnostics(-0.9, -0.9, -0.9, -0.9), 6)
    assert {entry["remedy"] for entry in advice.values()} == {"share"}
    assert most_wanted(advice) is None


def test_a_task_that_is_hurt_gets_what_its_loss_and_its_data_call_for() -> None:
    found = {"a": Finding("hurts", -0.01, 9000), "b": Finding("hurts", -0.01, 500), "c": Finding("hurts", -0.08, 9000),
             "d": Finding("hurts", -0.01, 9000, private=True)}  # fmt: skip
    advice = advise(found, {}, 6)
    assert advice["a"]["changes"] == {"sharing.shared_layers": 4}
    assert advice["a"]["remedy"] == "private tops from layer 5"
    assert advice["b"]["changes"] == {"lora.adapters": "per-task"}
    assert advice["c"]["changes"] == advice["d"]["changes"] == {"sharing.shared_layers": 0}
    assert most_wanted(advice) == {"name": "apart", "changes": {"sharing.shared_layers": 0}}


def test_tasks_go_apart_where_their_gradients_begin_to_conflict_and_no_later_than_two_thirds_up() -> None:
    found = {"a": Finding("hurts", -0.01, 9000), "b": Finding("helps", 0.01, 9000)}
    assert branching_layer(found, diagnostics(0.5, 0.5, -0.5, -0.5), 6) == 2
    assert branching_layer(found, diagnostics(0.5, 0.5, 0.5, -0.5), 6) == 4
    assert branching_layer(found, diagnostics(0.5, 0.5, 0.5, 0.5), 6) == 4
    assert branching_layer(found, diagnostics(0.5, -0.01, 0.0, 0.0), 6) == 4, "the interval holds 0"
    assert branching_layer(found, {}, 12) == 8


SPEED_UP = {"training.balancing": "equal-norm", "training.learning_rate": 2e-4}


def test_a_hurt_task_that_hardly_moves_the_encoder_gets_its_speed_back() -> None:
    found = {"a": Finding("hurts", -0.4, 9000, speed=0.35, speed_up=SPEED_UP), "b": Finding("helps", 0.02, 9000, speed=0.1, speed_up=SPEED_UP),
             "c": Finding("hurts", -0.08, 9000, speed=0.97, speed_up=SPEED_UP), "d": Finding("hurts", -0.08, 9000, speed=0.3)}  # fmt: skip
    advice = advise(found, {}, 6)
    assert (advice["a"]["remedy"], advice["a"]["changes"]) == ("a larger step", SPEED_UP)
    assert advice["a"]["reason"] == "sharing loses 40.0 points; it moves the encoder at 0.35 of the speed that it has alone"
    assert advice["b"]["remedy"] == "share", "nothing is to be mended"
    assert advice["c"]["remedy"] == "apart", "it was not the speed"
    assert advice["d"]["remedy"] == "apart", "the run has all that there is against it"


def test_a_hurt_task_that_the_encoder_forgot_gets_an_anchor() -> None:
    forgot = Finding("hurts", -0.05, 9000, forgetting=0.034)
    advice = advise({"a": forgot, "b": replace(forgot, speed=0.5, speed_up=SPEED_UP), "c": replace(forgot, private=True)}, {}, 6)
    assert (advice["a"]["remedy"], advice["a"]["changes"]) == ("an anchor", {"training.anchor": 0.2})
    assert advice["a"]["reason"].endswith("; the shared encoder ends 3.4 points below the untrained one")
    assert advice["b"]["remedy"] == "a larger step and an anchor"
    assert advice["b"]["changes"] == {**SPEED_UP, "training.anchor": 0.2}
    assert advice["c"]["remedy"] == "apart"


def shared_run(pull: float, rate: float, balancing: str, *scores: float) -> Outcome:
    curve = [{"examples": 10 * i, "score": score} for i, score in enumerate(scores)]
    return Outcome({}, {}, {"a": curve}, {"pull": {"a": pull}}, {}, {}, rate, balancing)


def test_speed_is_the_pull_times_how_much_larger_the_shared_steps_are(tmp_path: Path) -> None:
    single = [Outcome({}, {}, {}, rate=1e-4)]
    slow = [shared_run(0.2, 1e-4, "losses", 0.8, 0.75), shared_run(0.3, 1e-4, "losses", 0.8, 0.81)]
    assert _speed("a", slow, single) == pytest.approx(0.25)
    assert _speed("a", [shared_run(0.5, 2e-4, "norms")], single) == pytest.approx(1.0)
    assert _speed("b", slow, single) is None
    assert _speed("a", slow, [Outcome({}, {}, {})]) is None
    assert _forgetting([run.curves["a"] for run in slow]) == pytest.approx(0.02)
    assert _forgetting([[{"examples": 0, "score": 0.8}], []]) == 0.0
    path = tmp_path / "run.yaml"
    task = "{type: text-classification, data: {train: a.csv}}"
    path.write_text(f"tasks: {{a: {task}, b: {task}, c: {task}, d: {task}}}\n", encoding="utf-8")
    equal = {"training.balancing": "equal-norm"}
    for given, outcome, changes in (
        ([], slow[0], {**equal, "training.learning_rate": 2e-4, "training.head_learning_rate": 5e-4}),
        (["training.head_learning_rate=1.0e-3"], slow[0], {**equal, "training.learning_rate": 2e-4}),
        ([], shared_run(0.5, 2e-4, "losses"), equal),
        ([], shared_run(0.5, 2e-4, "norms"), {}),
        (["training.recipe=none"], shared_run(0.5, 1e-4, "moments"), {"training.learning_rate": 2e-4}),
    ):
        assert _speed_up(load_run(path, given), 4, [outcome], single) == changes


def test_what_sharing_does_to_a_task_that_learned_nothing_is_not_known() -> None:
    silent = "finds none of the 12 entities; train longer"
    found = {"a": Finding("equivalent", 0.0, 9000, no_learning=silent), "b": Finding("hurts", -0.4, 9000, no_learning=silent)}
    advice = advise(found, {}, 6)
    assert {entry["remedy"] for entry in advice.values()} == {"not known"}
    assert advice["a"]["reason"] == f"its head learned nothing, shared or alone: it {silent}"
    assert most_wanted(advice) is None
