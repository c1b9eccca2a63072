"""Comparisons of a toy run: paired runs differ in the sharing alone, and interruptions do not change the result."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from manyheads.cli import main
from manyheads.compare.command import CompareOptions, compare, open_comparison
from manyheads.compare.outcome import OUTCOME, Outcome
from manyheads.compare.runs import run_job
from manyheads.config.build import plan_of
from manyheads.config.files import load_run
from manyheads.errors import StoppedError, UsageError
from manyheads.jobs.job import Job
from manyheads.jobs.workers import WorkerSpec
from manyheads.start import validate
from manyheads.training.batches import Draw, StepBatch
from manyheads.training.plan import Plan
from manyheads.training.progress import Quiet
from manyheads.training.step_record import StepRecord
from manyheads.training.stop import Stop
from runs import Child
from toys import write_project

FEW = ["training.steps=4", "training.evaluate_every=2"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    return write_project(tmp_path_factory.mktemp("compare"), toy_encoder)


@pytest.fixture(scope="module")
def done(project: Path) -> Path:
    """A finished comparison of two seeds."""
    output = project.parent / "done"
    compare(asked(project, output), Quiet(), Stop())
    return output


def asked(project: Path, output: Path, **more: object) -> CompareOptions:
    return CompareOptions(project, output, seeds=(0, 1), overrides=tuple(FEW), **{"singles": "twin", **more})  # type: ignore[arg-type]


def planned(project: Path, output: Path, *only: str) -> Plan:
    experiment = open_comparison(asked(project, output))
    file = load_run(project, FEW)
    return plan_of(file, experiment.dataset, output, experiment.tokenizer, only=only)


def test_a_paired_run_starts_from_the_same_weights_and_sees_the_same_examples_in_the_same_steps(
    project: Path, tmp_path: Path
) -> None:
    whole, paired = planned(project, tmp_path / "a"), planned(project, tmp_path / "b", "section")
    for (name, one), (_, other) in zip(whole.model.named_parameters(), paired.model.named_parameters(), strict=True):
        assert torch.equal(one, other), name
    for step in range(6):
        assert paired.trainer.batcher.draw(step).rows == {
            name: rows for name, rows in whole.trainer.batcher.draw(step).rows.items() if name == "section"
        }
    assert [phase.rates for phase in whole.phases] == [phase.rates for phase in paired.phases]
    assert set(paired.validation) == set(paired.test) == {"section"}
    assert whole.identity.run != paired.identity.run


def test_by_the_recipe_a_paired_run_trains_at_the_rate_of_a_single_task(project: Path, tmp_path: Path) -> None:
    """The shared run's rate makes up for what each task loses to the others; alone it loses nothing."""
    text = project.read_text(encoding="utf-8")
    run = tmp_path / "run.yaml"
    run.write_text(text[: text.index("training:")].replace("data/", f"{project.parent}/data/") + "training: {device: cpu, steps: 4}\n")
    experiment = open_comparison(CompareOptions(run, tmp_path / "c", seeds=(0,), overrides=()))
    file = load_run(run, [])
    whole, paired = (plan_of(file, experiment.dataset, tmp_path / name, experiment.tokenizer, only=only)
                   for name, only in (("a", ()), ("b", ("section",))))  # fmt: skip
    assert whole.phases[0].rates.base == pytest.approx(2 * paired.phases[0].rates.base)
    assert whole.phases[0].rates.head == paired.phases[0].rates.head
    assert [len(made.phases) and made.phases[0].steps for made in (whole, paired)] == [4, 4]
    assert paired.trainer.gradients.objective.anchor is None


def test_steps_without_the_task_of_a_paired_run_leave_its_weights_alone(project: Path, tmp_path: Path) -> None:
    paired = planned(project, tmp_path / "a", "section")
    before = [parameter.detach().clone() for parameter in paired.model.parameters()]
    paired.trainer.prepare(paired.phases[0])
    record = paired.trainer.step(paired.phases[0], 0, StepBatch((), Draw()))
    assert record.losses == {}
    assert all(torch.equal(*pair) for pair in zip(before, paired.model.parameters(), strict=True))


def test_the_scores_of_a_comparison_are_those_of_its_runs(project: Path, done: Path) -> None:
    result = json.loads((done / "compare.json").read_text(encoding="utf-8"))
    assert set(result["tasks"]) == {"entities", "section", "answers", "similarity"}
    experiment = open_comparison(asked(project, done))
    for name, task in result["tasks"].items():
        for key, tasks in (("shared", ()), ("single", (name,))):
            outcomes = [Outcome.load(experiment.folder_of(Job(seed, tasks))) for seed in (0, 1)]
            scores = [outcome.scores[name][task["metric"]] for outcome in outcomes if outcome]
            assert task[key] == pytest.approx(scores)
        difference = [one - other for one, other in zip(task["shared"], task["single"], strict=True)]
        assert task["difference"]["mean"] == pytest.approx(sum(difference) / 2)
        assert task["verdict"] in ("helps", "hurts", "equivalent", "no worse", "inconclusive")
        assert {"remedy", "reason", "changes", "cost"} == set(task["advice"])
        examples = [point["examples"] for point in task["curves"]["shared"]]
        assert examples == [point["examples"] for point in task["curves"]["single"]], "at equal examples"
    assert (done / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert result["cost"]["single"]["parameters"] > 3 * result["cost"]["shared"]["parameters"]
    assert len(result["diagnostics"]["pairs"]) == 6
    reports = [report.to_json() for report in validate(project, []).reports]
    counts = {"read", "used", "windowed", "skipped"}
    counted = {name: {split: {key: rows[key] for key in counts} for split, rows in splits.items()}
            for name, splits in result["data"].items()}  # fmt: skip
    assert counted == {
        name: {each["split"]: {"read": each["rows"], "used": each["used"], "windowed": each["windowed"],
                               "skipped": sum(skip["count"] for skip in each["skipped"].values())}
               for each in reports if each["task"] == name}
        for name in result["tasks"]
    }  # fmt: skip


@pytest.mark.long
def test_a_comparison_that_is_killed_ends_in_the_same_bytes(project: Path, done: Path) -> None:
    output = project.parent / "killed"
    (output).mkdir()
    (output / "cost.json").write_bytes((done / "cost.json").read_bytes())  # seconds are measured once

    def work() -> int:
        compare(asked(project, output), Quiet(), Stop())
        return 0

    for runs in (1, 4):
        child = Child(work, project.parent / "said")
        until = time.monotonic() + 60
        while len(list(output.glob(f"runs/*/{OUTCOME}"))) < runs and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        assert child.status() == -signal.SIGKILL
        assert not (output / "compare.json").exists()
    compare(asked(project, output), Quiet(), Stop())
    for name in ("compare.json", "report.html"):
        assert (output / name).read_bytes() == (done / name).read_bytes()


@pytest.mark.long
def test_a_stopped_run_resumes_where_it_was(project: Path, tmp_path: Path) -> None:
    experiment, job, stop = open_comparison(asked(project, tmp_path / "a")), Job(0), Stop()

    class Asks(Quiet):
        def step(self, record: StepRecord, steps: int) -> None:
            stop.asked = "SIGTERM"

    with pytest.raises(StoppedError, match="after step 1 of 4"):
        run_job(experiment, job, Asks(), stop)
    assert Outcome.load(experiment.folder_of(job)) is None
    again = run_job(experiment, job, Quiet(), Stop())
    whole = run_job(open_comparison(asked(project, tmp_path / "b")), job, Quiet(), Stop())
    assert again.scores == whole.scores
    assert again.curves == whole.curves
    assert again.diagnostics == whole.diagnostics


@pytest.mark.long
def test_more_seeds_and_subsets_train_only_what_is_missing(project: Path, done: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in done.glob(f"runs/*/{OUTCOME}")}
    assert len(times) == 10
    result = compare(asked(project, done, subsets=("leave-one-out",)), Quiet(), Stop())
    assert set(result["subsets"]) == {"section, answers, similarity", "entities, answers, similarity",
                                      "entities, section, similarity", "entities, section, answers"}  # fmt: skip
    assert all(path.stat().st_mtime_ns == then for path, then in times.items())
    assert len(list(done.glob(f"runs/*/{OUTCOME}"))) == 18


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("tasks.section.patience=1", "tasks.section.patience stops training a task by its score"),
        ("training.sampling.method=difficulty", "paired runs would not see the same examples"),
    ],
)
def test_runs_whose_paired_runs_would_see_other_examples_are_refused(
    project: Path, tmp_path: Path, change: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        open_comparison(CompareOptions(project, tmp_path / "a", overrides=(*FEW, change), singles="both"))
    open_comparison(CompareOptions(project, tmp_path / "a", overrides=(*FEW, change)))  # single models see what they like


def test_wrong_use_of_the_command_is_one_sentence_with_status_2(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full/runs").mkdir(parents=True)
    (tmp_path / "full/thesis.txt").write_text("mine")
    for more, message in (
        (["--seeds", "0,0"], "seeds are 0, 0; give different ones"),
        (["--set", "training.setps=1"], "setps"),
        (["-o", str(tmp_path / "full")], f"{tmp_path / 'full'} holds thesis.txt but no comparison; give -o a new folder"),
    ):
        assert main(["compare", str(project), "-o", str(tmp_path / "a"), *more]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert "Traceback" not in said
    with pytest.raises(SystemExit):
        main(["compare", str(project), "-o", str(tmp_path / "a"), "--seeds", "a"])
    for wrong in ("2", "x"):
        with pytest.raises(SystemExit):
            main(["compare", str(project), "-o", str(tmp_path / "a"), "--margin", wrong])
        assert f"must be a fraction between 0 and 1, such as 0.01 for 1 point, seen '{wrong}'" in capsys.readouterr().err
    assert main(["compare", str(project), "-o", str(project / "a")]) == 2
    assert "run.yaml/a cannot be created (Not a directory); give a folder where you can write" in capsys.readouterr().err


def test_an_empty_folder_and_one_with_results_are_used(project: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    open_comparison(asked(project, tmp_path / "a"))
    for name in ("runs", "remedy"):  # of a comparison that was stopped
        (tmp_path / "a" / name).mkdir()
    for name in ("cost.json", "report.html", "compare.json.unfinished"):
        (tmp_path / "a" / name).write_text("")
    open_comparison(asked(project, tmp_path / "a"))
    (tmp_path / "a/compare.json").write_text("")
    (tmp_path / "a/notes.txt").write_text("mine")
    open_comparison(asked(project, tmp_path / "a"))


def test_the_command_prints_a_table_and_fails_only_on_request(
    project: Path, done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["compare", str(project), "-o", str(done), "--seeds", "0,1", "--singles", "twin", *(x for one in FEW for x in ("--set", one))]
    assert main([*given, "--fail-if-hurts"]) == 0, "two seeds of a toy show nothing"
    said = capsys.readouterr().out.splitlines()
    assert said[0].split()[:4] == ["task", "metric", "shared", "single"]
    assert [line.split()[0] for line in said[1:5]] == ["entities", "section", "answers", "similarity"]
    assert said[-1] == f"report: {done / 'report.html'}"


@pytest.mark.long
def test_several_workers_give_what_one_process_gives(project: Path, done: Path) -> None:
    output = project.parent / "beside"
    (output).mkdir()
    (output / "cost.json").write_bytes((done / "cost.json").read_bytes())
    more = CompareOptions(project, output, seeds=(0, 1), overrides=tuple(FEW), workers=WorkerSpec(2), singles="twin")
    for path in sorted((done / "runs").iterdir())[2:]:  # all but two are there
        (output / "runs").mkdir(exist_ok=True)
        (output / "runs" / path.name).symlink_to(path)
    compare(more, Quiet(), Stop())
    one, other = (json.loads((folder / "compare.json").read_text(encoding="utf-8")) for folder in (done, output))
    assert {**other, "subsets": one.get("subsets")} == {**one, "subsets": one.get("subsets")}
