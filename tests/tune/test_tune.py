"""Tunings of a toy run: the run file's own settings first, the same trials whatever interrupts, the best one trained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from manyheads.cli import main
from manyheads.config.files import load_run
from manyheads.errors import ManyheadsError, StoppedError, TrainingError, UsageError
from manyheads.jobs.experiment import open_experiment
from manyheads.jobs.job import Job
from manyheads.jobs.workers import Exit, Worker, WorkerSpec
from manyheads.start import train_run
from manyheads.training.progress import Quiet
from manyheads.training.stop import Stop, StopSignals
from manyheads.tune import command
from manyheads.tune.command import RESULT, TuneOptions, tune
from manyheads.tune.result import best_trial, meaningful
from manyheads.tune.space import Setting, Space
from manyheads.tune.study import Study, Trial, TrialRecord
from manyheads.tune.worker import Outcome, work
from runs import Child, Watch, checkpoints
from toys import write_project

FEW = ("training.steps=8", "training.evaluate_every=2")
KEYS = ("learning_rate", "private_tops")


class ForkWorker:
    """A trial in a fork of the test's process, which starts at once. Its machine has other threads than the leader's."""

    def __init__(self, said: Path) -> None:
        self.said = said

    def start(self, module: str, payload: Mapping[str, Any]) -> None:
        assert module == "manyheads.tune.worker"

        def act() -> int:
            torch.get_num_threads = lambda: 2  # only what it reports: a fork that really has more threads crashes in OpenMP
            try:
                with StopSignals() as stop:
                    work(payload, stop)
            except ManyheadsError as error:
                print(error)
                return error.exit_status
            return 0

        self.child = Child(act, self.said)

    def poll(self) -> Exit | None:
        return Exit(self.child.status(), self.child.words().strip()) if self.child.ended() else None

    def stop(self) -> None:
        os.kill(self.child.pid, signal.SIGTERM)


@pytest.fixture(autouse=True)
def _forks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Workers that fork. A process of its own is tested once, with the command."""

    @contextmanager
    def workers(spec: WorkerSpec) -> Iterator[list[Worker]]:
        yield [ForkWorker(tmp_path / f"said-{number}") for number in range(spec.count)]

    monkeypatch.setattr(command, "open_workers", workers)


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    return write_project(tmp_path_factory.mktemp("tune"), toy_encoder)


def asked(run: Path, output: Path, trials: int = 4, **more: Any) -> TuneOptions:
    return TuneOptions(run, output, **{"trials": trials, "overrides": FEW, "keys": KEYS, **more})


@pytest.fixture(scope="module")
def made(run_file: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A finished tuning."""
    output = run_file.parent / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "open_workers", lambda spec: _one_worker(run_file.parent / "said-made"))
        yield output, tune(asked(run_file, output), Quiet(), Stop())


@contextmanager
def _one_worker(said: Path) -> Iterator[list[Worker]]:
    yield [ForkWorker(said)]


def test_the_first_trial_is_the_run_file_as_it_is(
    run_file: Path, made: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    first = made[1]["trials"][0]
    assert first["changes"] == {}
    _, scores = train_run(run_file, tmp_path / "plain", FEW, Quiet())
    assert first["score"] == scores["_all"]["validation"]["combined"]


def test_the_best_trial_is_there_as_a_run_file_and_as_the_model_that_comes_of_it(
    made: tuple[Path, dict[str, Any]],
) -> None:
    output, result = made
    best = result["trials"][result["best"]]
    assert result == json.loads((output / RESULT).read_text(encoding="utf-8"))
    model = load_run(output / "model" / "run.yaml").run
    ours = load_run(output / "run.yaml").run
    assert ours.training == model.training
    assert ours.sharing == model.sharing
    for key, value in best["changes"].items():
        section, _, name = key.partition(".")
        assert getattr(getattr(ours, section), name) == value
    assert (output / "run.yaml").read_text(encoding="utf-8").startswith("# From `manyheads tune run.yaml`")
    assert result["scores"]["_all"]["validation"]["combined"] == pytest.approx(best["score"])
    assert "test" in result["scores"]["section"]
    assert "test" not in json.dumps(result["trials"]), "no trial has seen test data"
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "Hyperparameter search" in page
    assert all(f"{100 * each['score']:.1f}" in page for each in result["trials"] if each["score"] is not None)


def test_the_same_command_again_trains_nothing(run_file: Path, made: tuple[Path, dict[str, Any]]) -> None:
    watch = Watch()
    again = tune(asked(run_file, made[0]), watch, Stop())
    assert again == made[1]
    assert not watch.records
    assert not watch.lines("trial ")


def test_a_trial_trains_with_its_own_task_weights(run_file: Path, tmp_path: Path) -> None:
    experiment = open_experiment(run_file, FEW, tmp_path / "a")
    plan = experiment.plan(Job(0, (), ("tasks.section.weight=0.5",)))
    assert {name: task.weight for name, task in plan.tasks.items() if task.weight != 1.0} == {"section": 0.5}
    assert all(task.weight == 1.0 for task in experiment.plan(Job(0)).tasks.values())


def test_a_trial_without_private_layers_does_not_name_their_number() -> None:
    assert meaningful({"learning_rate": 1e-4, "private_tops": "no task", "private_layers": 2}) == {
        "learning_rate": 1e-4, "private_tops": "no task",
    }  # fmt: skip


@pytest.mark.parametrize("moment", [1.0, *(pytest.param(0.25 * k, marks=pytest.mark.slow) for k in range(1, 16) if k != 4)])
def test_a_tuning_that_is_killed_makes_the_trials_that_it_would_have_made(
    run_file: Path, made: tuple[Path, dict[str, Any]], tmp_path: Path, moment: float
) -> None:
    output = tmp_path / "killed"

    def act() -> int:
        tune(asked(run_file, output), Quiet(), Stop())
        return 0

    child = Child(act, tmp_path / "said")
    time.sleep(moment)
    os.kill(child.pid, signal.SIGKILL)
    child.status()
    result = tune(asked(run_file, output), Quiet(), Stop())
    assert result["trials"] == made[1]["trials"]
    assert result["best"] == made[1]["best"]


@pytest.mark.long
def test_a_tuning_that_is_asked_to_stop_keeps_what_is_tried(
    run_file: Path, made: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    stop = Stop()

    class Asks(Quiet):
        def say(self, line: str) -> None:
            if line.startswith("trial 1:"):
                stop.asked = "SIGTERM"

    with pytest.raises(StoppedError, match="stopped by SIGTERM; the trials are kept, run the same command to continue"):
        tune(asked(run_file, tmp_path / "a"), Asks(), stop)
    assert not (tmp_path / "a" / RESULT).exists()
    assert tune(asked(run_file, tmp_path / "a"), Quiet(), Stop())["trials"] == made[1]["trials"]


@pytest.mark.long
def test_more_trials_go_on_from_those_that_are_there(
    run_file: Path, made: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    few = tune(asked(run_file, tmp_path / "a", trials=2), Quiet(), Stop())
    more = tune(asked(run_file, tmp_path / "a"), Quiet(), Stop())
    assert few["trials"] == [{**each, "note": few["trials"][i]["note"]} for i, each in enumerate(more["trials"][:2])]
    assert more["trials"] == made[1]["trials"]


@pytest.mark.long
def test_when_time_is_up_the_first_trial_is_finished_and_none_is_begun(run_file: Path, tmp_path: Path) -> None:
    result = tune(asked(run_file, tmp_path / "a", timeout_s=0.0), Quiet(), Stop())
    assert [each["state"] for each in result["trials"]] == ["finished"]
    assert result["best"] == 0


@pytest.mark.long
def test_several_at_a_time_make_as_many_trials_and_never_drop_the_first(run_file: Path, tmp_path: Path) -> None:
    result = tune(asked(run_file, tmp_path / "a", workers=WorkerSpec(2)), Quiet(), Stop())
    assert sum(each["state"] in ("finished", "pruned") for each in result["trials"]) == 4
    assert result["trials"][0]["state"] == "finished"


@pytest.mark.long
def test_a_small_space_is_tried_once_and_then_there_is_nothing_new(run_file: Path, tmp_path: Path) -> None:
    result = tune(asked(run_file, tmp_path / "a", trials=30, keys=("private_tops",), overrides=("training.steps=2",)),
                  Quiet(), Stop())  # fmt: skip
    kept = [each for each in result["trials"] if each["state"] != "repeated"]
    assert len({json.dumps(each["changes"]) for each in kept}) == len(kept) <= 6
    assert len(kept) > 2


@pytest.mark.long
def test_a_trial_that_diverges_is_noted_and_one_that_fails_ends_the_tuning(
    run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(status: int, words: str) -> Any:
        class Failing(ForkWorker):
            def start(self, module: str, payload: Mapping[str, Any]) -> None:
                self.bad = bool(payload["job"]["changes"])
                if not self.bad:
                    super().start(module, payload)

            def poll(self) -> Exit | None:
                return Exit(status, words) if self.bad else super().poll()

        @contextmanager
        def workers(spec: WorkerSpec) -> Iterator[list[Any]]:
            yield [Failing(tmp_path / "said")]

        return workers

    monkeypatch.setattr(command, "open_workers", ends(3, "loss is nan"))
    result = tune(asked(run_file, tmp_path / "a", trials=2), Quiet(), Stop())
    assert [(each["state"], each["words"]) for each in result["trials"]] == [
        ("finished", ""),
        ("diverged", "loss is nan"),
    ]
    monkeypatch.setattr(command, "open_workers", ends(1, "no memory"))
    with pytest.raises(
        TrainingError, match="a trial failed: trial 1: no memory; fix that, and run the same command to continue"
    ):
        tune(asked(run_file, tmp_path / "b", trials=2), Quiet(), Stop())


@pytest.mark.long
def test_a_trial_that_falls_behind_is_stopped_and_leaves_no_checkpoint(run_file: Path, tmp_path: Path) -> None:
    result = tune(asked(run_file, tmp_path / "a", overrides=("training.steps=16", "training.evaluate_every=2")),
                  Quiet(), Stop())  # fmt: skip
    pruned = [each for each in result["trials"] if each["state"] == "pruned"]
    assert pruned
    for each in pruned:
        folder = tmp_path / "a" / "runs" / each["run"]
        assert not checkpoints(folder)
        assert each["evaluations"][-1]["part"] in (0.25, 0.5)
        assert each["score"] is None
        assert "stopped at" in each["note"]


# The study


def study(folder: Path, seed: int = 0, identity: str = "this") -> Study:
    settings = (Setting("learning_rate", 1e-4, 1e-5, 1e-3), Setting("steps", 10, 3, 30, whole=True),
                Setting("private_tops", "no task", choices=("no task", "every task")))  # fmt: skip
    return Study(folder, Space(settings, {}, 6, ("a", "b")), seed=seed, identity=identity)


def ended(score: float) -> Outcome:
    return Outcome(score, {"a": score}, {"a": 100}, 10)


def test_proposals_follow_from_the_seed_and_the_journal(tmp_path: Path) -> None:
    def proposals(folder: str, seed: int, *, opened_again: bool) -> list[Mapping[str, Any]]:
        (tmp_path / folder).mkdir()
        one, found = study(tmp_path / folder, seed), []
        for number in range(14):
            if opened_again:
                one = study(tmp_path / folder, seed)
            trial = one.propose()
            found.append(trial.values)
            one.finish(trial, ended(1.0 / (1 + number)))
        return found

    whole = proposals("a", 0, opened_again=False)
    assert whole == proposals("b", 0, opened_again=True)
    assert whole != proposals("c", 1, opened_again=False)
    assert len({json.dumps(dict(values)) for values in whole}) > 10
    assert whole[0] == {"learning_rate": 1e-4, "steps": 10, "private_tops": "no task"}


def test_the_worse_half_falls_out_at_a_quarter_and_at_half(tmp_path: Path) -> None:
    one = study(tmp_path)
    good = one.propose()
    assert not any(one.report(good, step, 100, 0.8) for step in (10, 25, 50, 75, 100))
    one.finish(good, ended(0.8))
    bad, late = one.propose(), one.propose()
    assert not one.report(bad, 10, 100, 0.1), "before the first rung nobody falls out"
    assert one.report(bad, 30, 100, 0.1)
    one.prune(bad)
    assert not one.report(late, 25, 100, 0.9)
    assert one.report(late, 50, 100, 0.7)
    assert not one.report(one.propose(), 100, 100, 0.1), "at its end a trial is finished, however bad"


def test_a_trial_under_way_is_given_out_again_as_it_was(tmp_path: Path) -> None:
    one = study(tmp_path)
    first = one.propose()
    one.finish(first, ended(0.5))
    second = one.propose()
    one.report(second, 1, 8, 0.4)
    again = study(tmp_path)
    assert [(trial.number, trial.values) for trial in again.unfinished()] == [(1, second.values)]
    assert again.history()[1].evaluations == [(0.125, 0.4)]
    assert (again.outcome(0), again.outcome(1)) == (ended(0.5), None)


def test_a_journal_cut_off_by_a_power_cut_is_repaired(tmp_path: Path) -> None:
    one = study(tmp_path)
    one.finish(one.propose(), ended(0.5))
    with (tmp_path / "study.journal").open("ab") as file:
        file.write(b'{"op_code":4,"work')
    (tmp_path / "study.journal.lock").write_text("")
    assert study(tmp_path).propose().number == 1


def test_a_journal_of_another_tuning_or_of_none_is_refused(tmp_path: Path) -> None:
    study(tmp_path)
    with pytest.raises(UsageError, match="holds a tuning of another run file"):
        study(tmp_path, identity="that")
    (tmp_path / "study.journal").write_text("{}\nnone\n")
    with pytest.raises(UsageError, match="cannot be read"):
        study(tmp_path)


def test_what_is_better_by_less_than_noise_is_not_taken() -> None:
    recipe = Outcome(0.9, {"a": 0.9}, {"a": 1000}, 10)  # half a standard error: 0.0047

    def tried(*scores: float | None) -> list[TrialRecord]:
        return [TrialRecord(Trial(i, {}), "finished" if score else "pruned", score, [], "") for i, score in enumerate(scores)]

    assert best_trial(tried(0.9, 0.904, 0.85), recipe) == (0, pytest.approx(0.00474, abs=1e-5))
    assert best_trial(tried(0.9, 0.904, 0.906, 0.906), recipe)[0] == 2
    assert best_trial(tried(0.9, None, 0.4), recipe)[0] == 0
    assert best_trial(tried(None, None, 0.4), None)[0] == 2, "the run file's own settings diverged"


# Wrong use


def test_wrong_use_is_one_sentence_with_status_2_and_nothing_is_written(
    run_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "a"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    for more, message in (
        (["--keys", "learning_rte"], "did you mean 'learning_rate'"),
        (["--set", "training.setps=1"], "setps"),
        (["--set", "training.freeze=all"], "nothing to tune"),
        (["--address", "somewhere:1"], "--address requires --engine ray"),
        (["-o", str(tmp_path / "full")], "holds thesis.txt but no tuning"),
        (["-o", str(run_file)], "is a file; give -o a new folder"),
    ):
        assert main(["tune", str(run_file), "-o", str(output), *more]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert "Traceback" not in said
        assert not output.exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    for given in ("--trials", "--timeout"):
        with pytest.raises(SystemExit):
            main(["tune", str(run_file), "-o", str(output), given, "0"])


@pytest.mark.long
def test_a_task_without_validation_data_is_refused_unless_it_does_not_count(run_file: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(run_file.read_text(encoding="utf-8"))
    del values["tasks"]["section"]["data"]["validation"]
    values["tasks"]["section"]["validation_fraction"] = 0
    other = run_file.parent / "without.yaml"
    other.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(UsageError, match="task 'section' has no validation data, by which trials are compared; give"):
        tune(asked(other, tmp_path / "a"), Quiet(), Stop())
    assert not (tmp_path / "a").exists()
    counts = asked(other, tmp_path / "a", trials=1, overrides=(*FEW, "training.select={entities.f1: 1}"))
    assert tune(counts, Quiet(), Stop())["best"] == 0


def test_a_changed_run_file_is_refused(run_file: Path, made: tuple[Path, dict[str, Any]]) -> None:
    with pytest.raises(
        UsageError, match="holds a tuning of another run file, other data, another encoder or other --keys"
    ):
        tune(asked(run_file, made[0], overrides=(*FEW, "training.clip=2.0")), Quiet(), Stop())


def test_without_optuna_the_extra_is_named(
    run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith(("manyheads.tune", "optuna"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["tune", str(run_file), "-o", str(tmp_path / "a")]) == 2
    assert 'tune needs optuna; pip install "path/to/manyheads[tune]"' in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.timeout(600)  # three interpreters start
def test_the_command_goes_on_after_a_kill_in_a_process_of_its_own(run_file: Path, tmp_path: Path) -> None:
    command_line = [sys.executable, "-W", "error", "-m", "manyheads", "tune", str(run_file), "-o", str(tmp_path / "a"),
                    "--trials", "1", "--keys", "learning_rate", "--set", "training.steps=20", "--set",
                    "training.evaluate_every=10", "--set", "training.save_every=5"]  # fmt: skip
    first = subprocess.Popen(command_line, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 120
    while not list((tmp_path / "a").glob("runs/*/history.jsonl")) and time.monotonic() < limit:
        time.sleep(0.02)
    first.kill()
    first.wait()
    done = subprocess.run(command_line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["trial", "learning_rate", "score"]
    assert f"run file: {tmp_path / 'a' / 'run.yaml'}" in done.stdout
    assert (tmp_path / "a" / "model" / "manyheads.json").exists()
    assert "Warning" not in done.stderr
