"""The settings to tune are those that the run file leaves open, in ranges around the recipe's values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyheads.config.files import parse_run
from manyheads.config.schema import Run
from manyheads.errors import UsageError
from manyheads.tune.space import EVERY_TASK, LAYERS, NO_TASK, TOPS, Defaults, Space, Value, space_of

TASKS = {"ner": "token-classification", "topic": "text-classification", "near": "sentence-embedding"}
DEFAULTS = Defaults(rate=1.7e-4, head_rate=5e-4, epochs=15.04, depth=6)


def run(*tasks: str, more: str = "") -> Run:
    sections = "".join(f"  {name}: {{type: {TASKS[name]}, data: {{train: {name}.csv}}}}\n" for name in tasks)
    return parse_run(f"tasks:\n{sections}{more}", "run.yaml")


def names(space: Space) -> list[str]:
    return [setting.name for setting in space.settings]


def test_what_the_run_file_leaves_open_is_tuned_around_the_defaults() -> None:
    space = space_of(run("ner", "topic", "near"), DEFAULTS)
    assert names(space) == ["learning_rate", "head_learning_rate", "epochs", "private_tops", "private_layers",
                            "weights.topic", "weights.near"]  # fmt: skip
    for setting in space.settings:
        if setting.choices:
            assert setting.usual in setting.choices
        else:
            assert setting.low <= float(setting.usual) <= setting.high
    assert space.defaults["epochs"] == 15.0
    assert not space.changes(space.defaults), "the first trial is the run file as it is"


def test_one_task_has_no_weights_and_no_layers_of_its_own() -> None:
    space = space_of(run("topic"), DEFAULTS)
    assert names(space) == ["learning_rate", "head_learning_rate", "epochs"]
    assert set(space.fixed) == {"private_tops", "weights"}


@pytest.mark.parametrize(
    ("more", "fixed"),
    [
        ("training: {learning_rate: 3.0e-4, epochs: 2}\n", {"learning_rate", "epochs"}),
        ("training: {learning_rate: 5.0e-5}\n", {"learning_rate"}),  # the schema's own default, but written
        ("training: {steps: 40}\n", {"steps"}),
        ("sharing: {shared_layers: 4}\n", {"private_tops", "private_layers"}),
        ("lora: {}\n", {"private_tops"}),
        ("training: {freeze: encoder}\n", {"learning_rate", "private_tops"}),
        ("training: {phases: [{steps: 3}]}\n", {"learning_rate", "head_learning_rate", "epochs"}),
    ],
)
def test_what_the_run_file_gives_is_fixed(more: str, fixed: set[str]) -> None:
    space = space_of(run("ner", "topic", more=more), DEFAULTS)
    assert set(space.fixed) == fixed
    assert not fixed & set(names(space))


def test_a_given_setting_is_tuned_when_it_is_named_and_nothing_else_then() -> None:
    given_run = run("topic", more="training: {steps: 90, learning_rate: 3.0e-4}\n")
    space = space_of(given_run, DEFAULTS, ["steps"])
    assert [(each.name, each.usual, each.low, each.high) for each in space.settings] == [("steps", 90, 30, 180)]
    assert names(space_of(run("ner", "topic"), DEFAULTS, ["weights"])) == ["weights.topic"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["learning_rat"], "--keys learning_rat: there is no such setting to tune; did you mean 'learning_rate'"),
        (["dropout"], r"known: learning_rate, head_learning_rate, epochs, private_tops, private_layers, weights"),
        (["private_tops"], "--keys private_tops: the run has one task"),
    ],
)
def test_a_key_that_cannot_be_tuned_is_refused(keys: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        space_of(run("topic"), DEFAULTS, keys)


def test_a_run_file_that_gives_everything_leaves_nothing_to_tune() -> None:
    whole = run("topic", more="training: {learning_rate: 1.0e-4, head_learning_rate: 1.0e-3, steps: 5}\n")
    with pytest.raises(UsageError, match=r"there is nothing to tune .*learning_rate: set in the run file"):
        space_of(whole, DEFAULTS)


@given(st.data())
def test_whatever_is_proposed_is_a_run_file(data: st.DataObject) -> None:
    tasks = data.draw(st.sampled_from([("ner", "topic"), ("ner", "topic", "near")]))
    space = space_of(run(*tasks), DEFAULTS)
    values: dict[str, Value] = {}
    for setting in space.settings:
        if setting.choices:
            values[setting.name] = data.draw(st.sampled_from(setting.choices))
        elif setting.whole:
            values[setting.name] = data.draw(st.integers(int(setting.low), int(setting.high)))
        else:
            values[setting.name] = data.draw(st.floats(setting.low, setting.high))
    text = "tasks:\n" + "".join(f"  {name}: {{type: {TASKS[name]}, data: {{train: a}}}}\n" for name in tasks)
    made = parse_run(text, "run.yaml", space.changes(values))
    owner = values[TOPS]
    if owner == NO_TASK:
        assert made.sharing.shared_layers is None
    else:
        assert made.sharing.shared_layers == 6 - values[LAYERS]
        together = [task for members in made.sharing.groups.values() for task in members]
        assert together == ([] if owner == EVERY_TASK else [task for task in tasks if task != owner])
