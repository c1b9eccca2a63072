"""Run files: what is wrong, where, and what to do."""

import os
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
            r"run.yaml:3: tasks.people has type 'tken-classification'; did you mean 'token-classification'\? The types are token-c",
        ),
        (GOOD.replace("    type: token-classification\n", ""), r"run.yaml:3: tasks.people has no 'type'"),
        (GOOD + "  epochs: -1\n", r"run.yaml:8: training.epochs: input should be greater than 0, seen -1"),
        (GOOD + "  epochs: 1\n  epochs: 2\n", r"run.yaml:9: duplicate key 'epochs'"),
        (GOOD + "  epochs: 1\n  steps: 2\n", r"either epochs or steps"),
        (GOOD.replace("people:", "_all:"), r"task name '_all' must start with a letter"),
        (GOOD.replace("people:", "no_answer_score:"), r"choose another"),
        (GOOD + "outputs: x\n", r"run.yaml:8: unknown key 'outputs'; did you mean 'output'\?"),
        ("tasks: [", r"run.yaml:1: invalid YAML"),
        ("", r"run.yaml:1: a run file is a mapping"),
        ("encoder: {name: x}\n", r"tasks is missing"),
        ("a: !!python/object/apply:os.system ['true']\n", r"invalid YAML"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_the_remedy(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_run(text, "run.yaml")


def test_all_mistakes_of_a_run_file_are_told_at_once_each_with_its_line() -> None:
    text = GOOD.replace("type:", "decoder: crff\n    type:") + "  epoch: 3\n  seed: -1\n  seed: 2\nencodr: {}\n"
    with pytest.raises(ConfigError) as caught:
        parse_run(text.replace("a.conll}", "[1, 2]}"), "run.yaml")
    told = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in told] == ["run.yaml:11", *[f"run.yaml:{n}" for n in (9, 12, 6, 6, 4)]]
    assert told[1].startswith("run.yaml:9: unknown key 'training.epoch'; did you mean 'epochs'?")
    assert told[3].startswith("run.yaml:6: tasks.people.data.train.0: input should be a valid string, seen 1")
    assert told[5].startswith("run.yaml:4: tasks.people.decoder: input should be 'softmax' or 'crf', seen 'crff'")
    many = GOOD + "".join(f"unknown{i}: 1\n" for i in range(50))
    with pytest.raises(ConfigError) as caught:
        parse_run(many, "run.yaml")
    assert str(caught.value).splitlines()[-1] == "run.yaml: 30 more errors"


def test_labels_that_yaml_takes_for_numbers_are_names_and_those_it_takes_for_truth_are_refused() -> None:
    text = GOOD.replace(
        "token-classification", "text-classification\n    labels: [0, 1]\n    class_weights: {0: 1, 1: 3}"
    )
    section = parse_run(text, "run.yaml").tasks["people"]
    assert section.labels == ["0", "1"]  # type: ignore[attr-defined]
    assert section.class_weights == {"0": 1.0, "1": 3.0}  # type: ignore[attr-defined]
    for wrong in ("labels: [yes, no]", "class_weights: {yes: 1, no: 2}"):
        with pytest.raises(
            ConfigError, match=r"label true is a boolean in YAML \(like yes, no, on and off\); quote it"
        ):
            parse_run(
                text.replace("labels: [0, 1]", wrong).replace("class_weights: {0: 1, 1: 3}", "hidden: 3"), "run.yaml"
            )


def test_overrides_change_values_and_are_named_when_wrong() -> None:
    assert parse_run(GOOD, "run.yaml", ["training.epochs=2"]).training.epochs == 2
    assert parse_run(GOOD, "run.yaml", ["tasks.people.decoder=crf"]).tasks["people"].decoder == "crf"  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"override training.epoch=3: unknown key"):
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!python/object/apply:os.system [id]\n" + GOOD, r"run.yaml:1: invalid YAML: could not determine a constr"),
        ("a: &a [*a]\n" + GOOD, r"run.yaml:1: an alias is inside the value it refers to"),
        ("a: &a [" + "x, " * 999 + "x]\nb: &b [" + "*a, " * 200 + "*a]\n" + GOOD, r"run.yaml:2: more than 100,000 values"),
        ("m0: &m0 {a: 1, b: 2}\n" + "".join(f"m{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}, *m{i - 1}]}}\n" for i in range(1, 20)) + GOOD,
         r"run.yaml:\d+: more than 100,000 values"),
        ("[" * 5000, r"run.yaml: lists and mappings are nested too deeply"),
        (GOOD + "  seed: " + "9" * 100_000 + "\n", r"run.yaml:8: a value of 100,000 characters \(99999999999999999999\.\.\.\)"),
        (GOOD + "  seed: 0x" + "f" * 60 + "\n", r"run.yaml:8: 0xf+ is too large"),
        (GOOD + "  seed: 1" + ":59" * 21 + "\n", r"run.yaml:8: 1[:59]+ is too large"),
        (GOOD + "  seed: !!int x\n", r"run.yaml:8: 'x' is not a valid int"),
        (GOOD + "output: 2024-13-45\n", r"run.yaml:8: '2024-13-45' is not a valid timestamp"),
        (GOOD + "output: " + "x" * 5000 + "\n", r"run.yaml:8: a value of 5,000 characters"),
        (GOOD + 'output: "a\\0b"\n', r"run.yaml:8: 'a\\x00b' contains an invalid character"),
        (GOOD + 'output: "\\uD800"\n', r"contains an invalid character"),
        (GOOD + "steps: 9\n", r"unknown key 'steps'; did you mean 'training.steps'\? \(known here"),
        (GOOD + "k" * 1000 + ": 1\n", r"unknown key 'k{200}' \(known here"),
        (GOOD + "trust_remote_code: true\n", r"unknown key 'trust_remote_code'"),
    ],
)  # fmt: skip
def test_what_a_stranger_could_write_is_refused_in_a_sentence(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_run(text, "run.yaml")
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


def test_an_anchor_that_is_used_twice_is_good() -> None:
    run = parse_run(GOOD.replace("{train: a.conll}", "&d {train: a.conll}") + "sharing: {groups: {}}\n", "run.yaml")
    assert run.tasks["people"].data.train == "a.conll"
    twice = GOOD.replace("{train: a.conll}", "{train: &f a.conll, validation: *f}")
    assert parse_run(twice, "run.yaml").tasks["people"].data.validation == "a.conll"


def test_pipes_devices_and_large_files_are_no_run_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match=r"pipe\.yaml is not a regular file"):
        load_run(tmp_path / "pipe.yaml")
    (tmp_path / "large.yaml").write_text("# " + "x" * (1 << 20))
    with pytest.raises(ConfigError, match=r"large\.yaml has 1,048,578 bytes, more than the limit of 1,048,576"):
        load_run(tmp_path / "large.yaml")


def test_an_override_is_no_way_around(tmp_path: Path) -> None:
    for value in ("!!python/name:os.system", "[" * 5000, "9" * 5000, "2024-13-45"):
        with pytest.raises(ConfigError, match="the value is not valid YAML"):
            parse_run(GOOD, "run.yaml", [f"output={value}"])


def test_a_path_that_leads_nowhere_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(GOOD)
    (tmp_path / "loop").symlink_to("loop")
    file = load_run(tmp_path / "run.yaml")
    with pytest.raises(ConfigError, match="the path 'loop/a' cannot be resolved"):
        file.resolve("loop/a")


@pytest.mark.parametrize("name", ["tickets.csv", "train.conll", "rows.JSONL", "rows.csv.gz"])
def test_a_data_file_in_place_of_a_run_file_is_told_what_writes_one(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("text,label\na,b\n")
    with pytest.raises(ConfigError, match=rf"{name} is a data file, by its name; `manyheads init .*{name}` writes a run file"):
        load_run(tmp_path / name)
    with pytest.raises(ConfigError, match=rf"is a folder; .* let `manyheads init {tmp_path}` write one"):
        load_run(tmp_path)
