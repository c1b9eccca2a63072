"""The recipe: what it settles, why, and that every key of a run file overrides it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyheads.cli import main
from manyheads.config.files import as_given, load_run, parse_run
from manyheads.config.output import portable_run
from manyheads.config.recipe import (
    EPOCHS,
    HELD_FACTOR,
    STEP_TOKENS,
    RecipeInputs,
    TaskSize,
    epochs_for,
    evaluate_every,
    recipe_of,
)
from manyheads.config.schema import Training
from plans import plan

tasks = st.builds(
    TaskSize,
    name=st.text("abc", min_size=1),
    rows=st.integers(1, 10**7),
    tokens=st.integers(10**7, 10**10),
    compares=st.booleans(),
    set_aside=st.booleans(),
)


@given(st.lists(tasks, min_size=1, max_size=9), st.sampled_from([128, 384, 768, 1024]), st.booleans(), st.booleans())
def test_every_value_is_a_valid_setting_and_has_its_reason(
    found: list[TaskSize], width: int, shared: bool, adapters: bool
) -> None:
    recipe = recipe_of(RecipeInputs(tuple(found), width, shared, adapters))
    assert all(reason for _, reason in recipe.settings.values())
    settled = recipe.completed(Training())
    assert Training.model_validate(settled.model_dump()) == settled
    assert STEP_TOKENS[0] <= recipe.values["tokens_per_step"] <= STEP_TOKENS[1]
    assert EPOCHS[0] <= recipe.values["epochs"] <= EPOCHS[1]


@given(st.lists(tasks, min_size=1, max_size=12), st.floats(0, 1), st.booleans())
def test_fewer_trained_layers_learn_faster_up_to_four_times_the_rate(found: list[TaskSize], share: float, held: bool) -> None:
    found = [replace(task, held=held) for task in found]
    whole, part = (recipe_of(RecipeInputs(tuple(found), 384, trained_layers=one)).values["learning_rate"] for one in (1.0, share))
    assert whole <= part <= 4e-4
    assert part == whole if held or share == 0 else share < 1 / 4 or part <= float(f"{whole / share:.3g}") * 1.01


@given(st.integers(1, 10**7), st.integers(1, 10**7))
def test_more_rows_never_take_more_epochs_and_always_more_steps(one: int, two: int) -> None:
    few, many = sorted((one, two))
    assert epochs_for(few) >= epochs_for(many)
    assert few * epochs_for(few) <= many * epochs_for(many) + 1e-6


@given(st.integers(1, 10**6), st.integers(1, 10**5))
def test_a_run_is_evaluated_at_least_twice_where_it_has_two_steps(steps: int, epoch: int) -> None:
    every = evaluate_every(steps, epoch)
    assert 1 <= every <= steps
    assert steps < 2 or steps // every >= 2


@pytest.mark.parametrize(("given", "kept"), [
    ({"learning_rate": 3e-4}, {"learning_rate": 3e-4, "head_learning_rate": None}),
    ({"steps": 7}, {"steps": 7, "epochs": None}),
    ({"epochs": 2}, {"epochs": 2, "steps": None}),
    ({"tokens_per_step": 64}, {"tokens_per_step": 64}),
    ({"fit_heads": False}, {"fit_heads": False}),
    ({"refit": False}, {"refit": False}),
    ({"balancing": "static"}, {"balancing": "static"}),
])  # fmt: skip
def test_what_a_run_file_says_is_kept(given: dict[str, object], kept: dict[str, object]) -> None:
    facts = RecipeInputs((TaskSize("a", 200, 5000, set_aside=True), TaskSize("b", 200, 5000)), 384)
    settled = recipe_of(facts).completed(Training.model_validate(given))
    values = {**settled.model_dump(), "balancing": settled.balancing.method}
    assert {key: values[key] for key in kept} == kept


def test_validate_prints_the_recipe_with_its_reasons(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = project.read_text(encoding="utf-8")
    project.write_text(text[: text.index("training:")] + "training: {device: cpu, seed: 1}\n", encoding="utf-8")
    assert main(["validate", str(project)]) == 0
    told = capsys.readouterr().out
    for words in ("recipe: epochs: 15 (", "recipe: balancing: equal-norm (", "recipe: learning_rate: "):
        assert words in told


@pytest.mark.parametrize(
    ("weights", "shown"),
    [("balanced", "METHODS 1.17, RESULTS 0.778, CONCLUSIONS 1.17"), ("{RESULTS: 2, METHODS: 1}", "RESULTS 2"), ("none", None)],
)
def test_validate_shows_the_class_weights(
    weights: str, shown: str | None, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", str(project), "--set", f"tasks.section.class_weights={weights}"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("class weights of section: ")]
    assert len(lines) == (shown is not None)
    for part in (shown or "").split(", "):
        assert all(part in line for line in lines)


def test_without_the_recipe_defaults_stand_as_they_are_written(project: Path) -> None:
    made = plan(project, "training={recipe: none, device: cpu}")
    assert made.phases[0].rates.base == Training().learning_rate
    assert not made.fit_heads
    assert not made.recipe


def test_a_setting_written_at_its_default_is_still_written_in_the_model_folder(project: Path, tmp_path: Path) -> None:
    """Or the recipe would settle it, when the model's own run file is trained again."""
    text = project.read_text(encoding="utf-8")
    run = tmp_path / "run.yaml"
    run.write_text(text[: text.index("training:")] + "training: {learning_rate: 5.0e-5, device: cpu}\n", encoding="utf-8")
    assert load_run(run).run.training.learning_rate == Training().learning_rate
    portable = parse_run(portable_run(load_run(run), tmp_path / "model"), "run.yaml")
    assert portable.training.model_fields_set == {"learning_rate", "device"}
    assert as_given(portable)["training"] == {"learning_rate": 5e-5, "device": "cpu"}


def test_tasks_that_are_only_kept_neither_lengthen_the_run_nor_raise_the_rate() -> None:
    new = TaskSize("topic", rows=300, tokens=7500)
    alone = recipe_of(RecipeInputs((new,), width=384)).values
    kept = recipe_of(RecipeInputs((new, TaskSize("old", rows=900, tokens=9000, held=True, kept=True)), width=384)).values
    assert kept["epochs"] == alone["epochs"]
    assert kept["learning_rate"] == HELD_FACTOR * alone["learning_rate"]
    assert kept["tokens_per_step"] > alone["tokens_per_step"], "so that the new task keeps its rows in a step"
    continued = recipe_of(RecipeInputs((new, TaskSize("old", rows=900, tokens=9000, held=True)), width=384)).values
    assert continued["balancing"].method == "static"
    assert continued["learning_rate"] == kept["learning_rate"]
