"""Advice follows verdicts; gradients choose no more than the layer."""

from __future__ import annotations

from typing import Any

from manyheads.compare.advice import Finding, advise, fork, remedy

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
    assert remedy(advice) is None


def test_a_task_that_is_hurt_gets_what_its_loss_and_its_data_call_for() -> None:
    found = {"a": Finding("hurts", -0.01, 9000), "b": Finding("hurts", -0.01, 500), "c": Finding("hurts", -0.08, 9000),
             "d": Finding("hurts", -0.01, 9000, own=True)}  # fmt: skip
    advice = advise(found, {}, 6)
    assert advice["a"]["changes"] == {"sharing.shared_layers": 4}
    assert advice["a"]["remedy"] == "private tops from layer 5"
    assert advice["b"]["changes"] == {"lora.adapters": "per-task"}
    assert advice["c"]["changes"] == advice["d"]["changes"] == {"sharing.shared_layers": 0}
    assert remedy(advice) == {"name": "apart", "changes": {"sharing.shared_layers": 0}}


def test_tasks_go_apart_where_their_gradients_begin_to_conflict_and_no_later_than_two_thirds_up() -> None:
    found = {"a": Finding("hurts", -0.01, 9000), "b": Finding("helps", 0.01, 9000)}
    assert fork(found, diagnostics(0.5, 0.5, -0.5, -0.5), 6) == 2
    assert fork(found, diagnostics(0.5, 0.5, 0.5, -0.5), 6) == 4
    assert fork(found, diagnostics(0.5, 0.5, 0.5, 0.5), 6) == 4
    assert fork(found, diagnostics(0.5, -0.01, 0.0, 0.0), 6) == 4, "the interval holds 0"
    assert fork(found, {}, 12) == 8


def test_a_training_that_ended_too_early_is_told_of() -> None:
    found = {"a": Finding("hurts", -0.4, 9000, rise=0.04), "b": Finding("helps", 0.02, 9000, rise=0.01)}
    advice = advise(found, {}, 6)
    assert advice["a"]["remedy"] == "apart"
    assert advice["a"]["reason"].endswith(
        "; the shared score still rose by 4.0 points at the end: train longer before you decide"
    )
    assert advice["b"]["reason"] == "sharing gains 2.0 points"


def test_what_sharing_does_to_a_task_that_learned_nothing_is_not_known() -> None:
    silent = "finds none of the 12 entities; train longer"
    found = {"a": Finding("equivalent", 0.0, 9000, nothing=silent), "b": Finding("hurts", -0.4, 9000, nothing=silent)}
    advice = advise(found, {}, 6)
    assert {entry["remedy"] for entry in advice.values()} == {"not known"}
    assert advice["a"]["reason"] == f"its head learned nothing, shared or alone: it {silent}"
    assert remedy(advice) is None
