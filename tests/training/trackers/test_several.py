"""Trackers of a run: what they get, that none changes the run or ends it, and that none has a step twice."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import manyheads.training.trackers as trackers_module
from manyheads.cli import main
from manyheads.config.files import load_run
from manyheads.errors import ConfigError
from manyheads.jobs.experiment import open_experiment
from manyheads.jobs.job import Job
from manyheads.training.trackers import TRACKERS, Entry
from manyheads.training.trackers.base import NOTHING
from manyheads.training.trackers.several import KEYS, Trackers
from plans import plan
from runs import assert_same, outcome, went
from tracked import BASE, EVERY_STEP, STEPS, TASKS, Remembering, Store, tracked


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """Takes the place of MLflow's server."""
    found = Store()
    monkeypatch.setitem(TRACKERS, "mlflow", Entry("MLflow", lambda: Remembering(found)))
    return found


# What is recorded


def test_a_tracker_gets_every_step_every_evaluation_and_the_final_scores(project: Path, store: Store) -> None:
    tracked(project, "mlflow")
    [run] = store.points.values()
    assert set(run) >= EVERY_STEP
    for name in EVERY_STEP:
        assert [step for step, _ in run[name]] == list(range(STEPS)), name
    assert store.steps("validation/section/accuracy") == store.steps("validation/combined") == [3, 6]
    assert {f"final/{split}/combined" for split in ("validation", "test")} <= set(run)
    assert {f"final/test/{task}" for task in TASKS} == {name.rpartition("/")[0] for name in run if "final/test/" in name} - {
        "final/test"
    }
    speeds = run["tokens_per_second"]
    assert [step for step, _ in speeds] == [1, 2, 4, 5], "not across an evaluation"
    assert all(value > 0 for _, value in speeds)
    assert store.ends == [("finished", project.parent / "runs/model")]


@pytest.mark.long
def test_a_tracker_is_told_the_run_file_the_settings_and_hashes(project: Path, store: Store) -> None:
    made = plan(project, *BASE, "training.recipe=auto", "training.report_to=mlflow")
    went(made)
    [facts] = store.facts
    assert facts.name == "model"
    assert facts.run_file == (made.output / "run.yaml").read_text()
    assert facts.settings["training.steps"] == STEPS
    assert facts.settings["training.clip"] == 1.0, "a default"
    assert facts.settings["tasks.entities.decoder"] == "crf"
    assert facts.settings["training.fit_heads"] is True, "chosen by the recipe"
    assert facts.facts["data.section.train"] == made.identity.data["section.train"]
    assert facts.facts["base_weights"] == made.identity.base
    assert facts.facts["version.torch"] == torch.__version__


def test_tensorboard_alone_is_the_default_and_no_other_tracker_is_imported(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mlflow", "wandb", "trackio"):
        monkeypatch.setitem(sys.modules, name, None)  # an import raises ImportError
    made = plan(project, *BASE)
    watch = went(made)
    assert made.tracking.names == ("tensorboard",)
    assert list((made.output / "tensorboard").iterdir())
    assert watch.lines("records no more") == []


@pytest.mark.parametrize("given", ["none", "[]"])
def test_a_run_without_trackers_writes_its_history_only(project: Path, given: str) -> None:
    tracked(project, given)
    output = project.parent / "runs/model"
    assert (output / "history.jsonl").exists()
    assert not (output / "tensorboard").exists()


# They change nothing, and end nothing


def test_a_run_is_the_same_to_the_last_bit_with_a_tracker_that_draws_random_numbers(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    scalars = Remembering.scalars

    def drawing(self: Remembering, step: int, values: dict[str, float]) -> None:
        torch.manual_seed(step)
        torch.rand(3)
        scalars(self, step, values)

    monkeypatch.setattr(Remembering, "scalars", drawing)
    plain, other = plan(project, *BASE, "training.report_to=none"), plan(project, *BASE, "output=runs/tracked")
    went(plain)
    tracked(project, "[mlflow]", "output=runs/tracked")
    run, seen = outcome(plain), outcome(other)
    for name in ("state", "run.yaml"):
        run.pop(name), seen.pop(name)
    kept = {name: value for name, value in run.items() if not name.startswith(("weights/", "optimizer/"))}
    assert_same({name: seen[name] for name in kept}, kept)


@pytest.mark.parametrize("method", ["start", "scalars", "sync", "finish"])
def test_a_tracker_that_fails_is_left_out_with_one_warning_and_the_run_ends_as_ever(
    project: Path, store: Store, method: str
) -> None:
    store.fails_in = method
    watch = tracked(project, "[mlflow, tensorboard]")
    expected = {"start": "does not record this run (the server is gone); training goes on without it"}
    later = "records no more of this run (the server is gone); training is not affected"
    assert watch.lines("warning: MLflow") == [f"warning: MLflow {expected.get(method, later)}"]
    assert store.calls == 1
    assert (project.parent / "runs/model/manyheads.json").exists()
    assert list((project.parent / "runs/model/tensorboard").iterdir())


def test_a_run_that_fails_is_marked_as_failed(project: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manyheads.training.session.TrainingSession._save", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tracked(project, "mlflow")
    assert store.ends == [("failed", None)]


# Resuming


def test_a_stopped_run_is_resumed_as_the_same_run(project: Path, store: Store) -> None:
    tracked(project, "mlflow", after=2)
    assert store.ends == [("stopped", None)]
    keys = project.parent / "runs/model/checkpoints" / KEYS
    assert "run-0" in keys.read_text()
    tracked(project, "mlflow", resume=True)
    assert [each.key for each in store.resumed] == [None, "run-0"]
    for name in EVERY_STEP:
        assert store.steps(name) == list(range(STEPS)), name
    assert store.steps("validation/combined") == [3, 6]
    assert store.ends[-1][0] == "finished"
    assert not keys.exists()


@pytest.mark.parametrize("pull", range(1, STEPS + 1))
def test_after_a_power_cut_no_step_is_recorded_twice(project: Path, store: Store, pull: int) -> None:
    tracked(project, "mlflow", pull=pull)
    tracked(project, "mlflow", resume=True)
    assert store.steps("rate") == list(range(STEPS))
    assert store.steps("validation/combined") == [3, 6]


def test_what_a_tracker_lost_is_made_up_for_when_the_run_is_resumed(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracked(project, "mlflow", pull=5)
    [run] = store.points.values()
    lost = {name: [point for point in points if point[0] < 2] for name, points in run.items()}
    run.clear()
    run.update(lost)
    start = Remembering.start

    def knows(self: Remembering, facts: object, resumed: object) -> tuple[int, int]:
        start(self, facts, resumed)  # type: ignore[arg-type]
        return (1, 1)

    monkeypatch.setattr(Remembering, "start", knows)
    tracked(project, "mlflow", resume=True)
    assert store.steps("rate") == list(range(STEPS))
    assert store.steps("validation/combined") == [3, 6]


def test_a_tracker_that_is_new_in_a_resumed_run_gets_the_steps_before(project: Path, store: Store) -> None:
    tracked(project, "none", after=4)
    tracked(project, "mlflow", resume=True)
    assert [each.key for each in store.resumed] == [None]
    assert store.steps("rate") == list(range(STEPS))


def test_a_run_that_starts_over_is_a_new_run(project: Path, store: Store) -> None:
    tracked(project, "mlflow", "training.save_every=0", pull=2)
    tracked(project, "mlflow", "training.save_every=0")
    assert list(store.points) == ["run-0", "run-1"]


def test_a_run_that_was_cut_off_before_its_first_checkpoint_continues_its_record(project: Path, store: Store) -> None:
    tracked(project, "mlflow", "training.save_every=0", pull=2)
    tracked(project, "mlflow", "training.save_every=0", resume=True)
    assert store.steps("rate") == list(range(STEPS))


def test_the_steps_of_a_run_that_was_turned_back_are_recorded_again(tmp_path: Path, store: Store) -> None:
    facts = type("Facts", (), {})()
    trackers = Trackers(["mlflow"], facts, pytest.fail, tmp_path / KEYS)
    trackers.begin(0, NOTHING)

    def step(number: int) -> dict[str, object]:
        return {"step": number, "loss": {"a": 1.0}, "rate": 1.0, "gradient_norm": 1.0, "tokens": {"a": 5}}

    for row in (step(0), step(1), step(2), {"step": 2, "turned_back_to": 1, "left_out": [2]}, step(1), step(2)):
        trackers.row(row)
    assert store.steps("loss/a") == [0, 1, 2, 1, 2]


# Settings


def test_an_unknown_tracker_is_an_error_that_names_the_nearest(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.report_to: there is no tracker 'mlfow'; did you mean 'mlflow'\?"):
        load_run(project, ["training.report_to=[tensorboard, mlfow]"])
    with pytest.raises(ConfigError, match=r"there is no tracker 'x' \(known: tensorboard, mlflow, wandb, trackio, none\)"):
        load_run(project, ["training.report_to=x"])
    with pytest.raises(ConfigError, match=r"report_to"):
        load_run(project, ["training.report_to=3"])


def test_trackers_are_one_or_a_list(project: Path) -> None:
    for given, names in {"wandb": ("wandb",), "[mlflow, mlflow]": ("mlflow",), "none": (), "[]": ()}.items():
        assert load_run(project, [f"training.report_to={given}"]).run.training.report_to == names


@pytest.mark.parametrize("verb", ["train", "validate", "compare", "tune"])
def test_a_missing_package_is_refused_before_anything_is_read(
    project: Path, verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers_module, "find_spec", lambda name: None)
    (project.parent / "data/sections.csv").unlink()
    more = ["-o", str(project.parent / "many")] if verb in ("compare", "tune") else []
    assert main([verb, str(project), *more, "--set", "training.report_to=wandb"]) == 2
    said = capsys.readouterr().err
    assert 'training.report_to names wandb, and wandb is not installed; pip install "path/to/manyheads[wandb]"' in said


def test_validate_lists_the_trackers(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(project), "--set", "training.report_to=[tensorboard, mlflow]"]) == 0
    assert "reports to: TensorBoard, MLflow" in capsys.readouterr().out


def test_the_trackers_of_a_run_may_change_when_it_is_resumed(project: Path, store: Store) -> None:
    tracked(project, "none", after=2)
    tracked(project, "mlflow", resume=True)
    assert store.ends[-1][0] == "finished"


def test_the_runs_of_a_comparison_are_a_group_without_models(project: Path, store: Store) -> None:
    experiment = open_experiment(project, [*BASE, "training.report_to=mlflow"], project.parent / "many")
    made = experiment.plan(Job(3, ("section",)))
    went(made)
    [facts] = store.facts
    assert (facts.name, facts.group) == ("section, seed 3", "many")
    assert store.ends == [("finished", None)]
