"""Run files: what is wrong, where, and what to do."""

from pathlib import Path

import pytest

from manyheads.config.files import load_run, parse_run
from manyheads.errors import ConfigError

GOOD = """encoder: {name: x}
tasks:
  people:
    type: token-classification
    data: {train: a.conll}
training:
  learning_rate: 5e-5
"""


def test_a_good_file_has_defaults_and_yaml_floats_without_a_dot() -> None:
    run = parse_run(GOOD, "run.yaml")
    assert run.training.learning_rate == 5e-5
    assert run.encoder.max_length == 256
    assert run.tasks["people"].validation_fraction == 0.1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "  epoch: 3\n", r"run.yaml:8: unknown key 'training.epoch'; did you mean 'epochs'\?"),
        (GOOD.replace("data:", "dta:"), r"run.yaml:5: unknown key 'tasks.people.dta'; did you mean 'data'\?"),
        (GOOD.replace("a.conll}", "a.conll, tran: b}"), r"run.yaml:5: unknown key 'tasks.people.data.tran'"),
        (
            GOOD.replace("token-cl", "tken-cl"),
            r"run.yaml:3: tasks.people has type 'tken-classification'; the types are token-c",
        ),
        (GOOD.replace("    type: token-classification\n", ""), r"run.yaml:3: tasks.people has no 'type'"),
        (GOOD + "  epochs: -1\n", r"run.yaml:8: training.epochs: input should be greater than 0, seen -1"),
        (GOOD + "  epochs: 1\n  epochs: 2\n", r"run.yaml:9: the key 'epochs' stands twice"),
        (GOOD + "  epochs: 1\n  steps: 2\n", r"either epochs or steps"),
        (GOOD.replace("people:", "_all:"), r"task name '_all' must start with a letter"),
        (GOOD.replace("people:", "no_answer_score:"), r"choose another"),
        (GOOD + "outputs: x\n", r"run.yaml:8: unknown key 'outputs'; did you mean 'output'\?"),
        ("tasks: [", r"run.yaml:1: this is not YAML"),
        ("", r"run.yaml:1: a run file is a mapping"),
        ("encoder: {name: x}\n", r"tasks is missing"),
        ("a: !!python/object/apply:os.system ['true']\n", r"this is not YAML"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_the_remedy(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_run(text, "run.yaml")


def test_overrides_change_values_and_are_named_when_wrong() -> None:
    assert parse_run(GOOD, "run.yaml", ["training.epochs=2"]).training.epochs == 2
    assert parse_run(GOOD, "run.yaml", ["tasks.people.decoder=crf"]).tasks["people"].decoder == "crf"  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match=r"--set training.epoch=3: unknown key"):
        parse_run(GOOD, "run.yaml", ["training.epoch=3"])
    with pytest.raises(ConfigError, match="write KEY=VALUE"):
        parse_run(GOOD, "run.yaml", ["training.epochs"])


def test_a_missing_run_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such run file"):
        load_run(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        load_run(tmp_path)


def test_relative_paths_start_at_the_run_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.yaml"
    path.parent.mkdir()
    path.write_text(GOOD)
    assert load_run(path).resolve("a.conll") == tmp_path / "deep" / "a.conll"
