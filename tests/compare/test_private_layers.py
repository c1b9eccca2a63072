"""Private layers: one task gets its head, then layers of its own; nothing else moves, and the search always ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import manyheads
from manyheads.bundle import load_bundle
from manyheads.bundle.private_layers import PrivateLayers, with_private_layers
from manyheads.compare import command
from manyheads.compare.command import CompareOptions, compare, open_comparison
from manyheads.compare.model_folders import save_with_private_layers
from manyheads.compare.outcome import OUTCOME, Outcome
from manyheads.compare.private_layers import Search, Step, is_wholly_shared, search, steps_of
from manyheads.compare.runner import Runner
from manyheads.compare.single_models import Candidate, SingleModel
from manyheads.compare.verdict import Judgement
from manyheads.config.files import load_run
from manyheads.errors import BundleError
from manyheads.jobs.experiment import Experiment
from manyheads.jobs.job import Job, LayerSplit
from manyheads.jobs.workers import WorkerSpec
from manyheads.training.progress import Quiet
from manyheads.training.stop import Stop
from toys import SENTENCES, write_project

OWN = (("epochs", 1.0), ("tokens_per_step", 64), ("learning_rate", 0.01))
DEPTH = 2
"""Of the toy encoder."""
STEPS = [LayerSplit(private, DEPTH) for private in range(DEPTH + 1)]
RUN = """
encoder: {{name: {encoder}, max_length: 48}}
tasks:
  section: {{type: text-classification, data: {{train: {data}/sections.csv, validation: {data}/sections.csv}}}}
  other: {{type: text-classification, data: {{train: {data}/sections.csv, validation: {data}/sections.csv}}}}
  similarity: {{type: sentence-embedding, data: {{train: {data}/pairs.csv, validation: {data}/pairs.csv}}}}
training: {{recipe: none, steps: 2, tokens_per_step: 128, learning_rate: 1.0e-3, device: cpu}}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    """A run file of two classifiers and of sentence embeddings, whose head has no weights."""
    folder = tmp_path_factory.mktemp("private")
    data = write_project(folder, toy_encoder).parent / "data"
    path = folder / "two.yaml"
    path.write_text(RUN.format(encoder=toy_encoder, data=data), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def runner(run: Path) -> Runner:
    """With the shared model of seed 0."""
    made = Runner(open_comparison(CompareOptions(run, run.parent / "out")), WorkerSpec(), Quiet(), Stop())
    made.outcomes([Job(0, keep=True)])
    return made


def single(score: float, name: str) -> SingleModel:
    """As if trained, with this score on validation data."""
    run = Outcome({name: {}}, {}, {name: [{"examples": 6, "score": score}]})
    rate = Candidate(1.0, 1e-3, Job(0, (name,), single=OWN), score)
    return SingleModel(OWN, (rate,), rate, (run,))


def job(private: int, name: str) -> Job:
    return Job(0, (name,), single=OWN, layer_split=LayerSplit(private, DEPTH), keep=True)


def found(experiment: Experiment, private: int, name: str) -> Search:
    """As if this number of private layers was found."""
    step = Step(LayerSplit(private, DEPTH), 0.5)
    return Search(0.5, (step,), step, (), experiment.folder_of(job(private, name)))


def test_the_first_step_within_the_margin_of_the_single_model_is_taken(runner: Runner) -> None:
    found = search(runner, "section", single(0.9, "section"), [0], margin=0.9, steps=STEPS)
    assert found is not None
    assert [step.split.private for step in found.tried] == [0]
    assert (found.target, found.chosen.cost, found.to_json()["reached"]) == (0.0, 1.0, True)


@pytest.mark.long
def test_the_search_ends_where_nothing_is_shared_and_the_best_step_is_taken(runner: Runner) -> None:
    found = search(runner, "section", single(2.0, "section"), [0], margin=0.01, steps=STEPS)
    assert found is not None
    assert [step.split.private for step in found.tried] == [0, 1, 2]
    assert [step.cost for step in found.tried] == [1.0, 1.5, 2.0], "(L + m) / L passes"
    assert found.chosen.score == max(step.score for step in found.tried)
    assert found.to_json()["reached"] is False


def test_a_head_without_weights_is_not_trained_again(runner: Runner) -> None:
    found = search(runner, "similarity", single(0.0, "similarity"), [0], margin=1.0, steps=STEPS)
    assert found is not None
    assert [step.split.private for step in found.tried] == [1]


def test_without_validation_data_there_is_no_search(runner: Runner) -> None:
    unknown = replace(single(0.5, "section"), runs=(Outcome({}, {}, {"section": []}),))
    assert search(runner, "section", unknown, [0], margin=0.01, steps=STEPS) is None


def test_with_relative_positions_there_are_two_steps() -> None:
    for kind, own in (("bert", [0, 1, 2, 3]), ("mpnet", [0, 3])):
        assert [split.private for split in steps_of(SimpleNamespace(model_type=kind, num_hidden_layers=3))] == own


def test_training_private_layers_moves_no_layer_below_them(runner: Runner) -> None:
    shared = dict(load_bundle(runner.experiment.folder_of(Job(0))).model.encoder.named_parameters())
    for own in range(DEPTH + 1):
        runner.outcomes([job(own, "section")])
        encoder = load_bundle(runner.experiment.folder_of(job(own, "section"))).model.encoder
        layers = [{id(value) for value in layer.parameters()} for layer in encoder.layer_modules()]
        moved = {
            next((i for i, ids in enumerate(layers) if id(value) in ids), "embeddings")
            for name, value in encoder.named_parameters()
            if not torch.equal(value, shared[name])
        }
        assert moved <= {*range(DEPTH - own, DEPTH), *(["embeddings"] if own == DEPTH else [])}


@pytest.mark.long
def test_tasks_without_private_layers_answer_as_before_to_the_last_bit_and_the_others_as_their_own_models(
    runner: Runner, tmp_path: Path
) -> None:
    runner.outcomes([job(1, "section"), job(2, "other")])
    searches = {"section": found(runner.experiment, 1, "section"), "other": found(runner.experiment, 2, "other")}
    private = {name: (one.model, one.chosen.split.private) for name, one in searches.items()}
    save_with_private_layers(runner.experiment.folder_of(Job(0)), private, tmp_path / "model")
    made, before = load_bundle(tmp_path / "model"), load_bundle(runner.experiment.folder_of(Job(0)))
    assert {branch.name: branch.start for branch in made.model.branches} == {"section": 1, "other": 0}
    for name, value in before.model.encoder.named_parameters():
        assert torch.equal(value, made.model.encoder.get_parameter(name))
    ours, theirs = manyheads.load(tmp_path / "model"), manyheads.load(runner.experiment.folder_of(Job(0)))
    assert (ours.embed(SENTENCES) == theirs.embed(SENTENCES)).all()
    company = [row["tasks"] for row in ours.predict(SENTENCES)]
    for name, one in searches.items():
        alone = [row["tasks"] for row in manyheads.load(one.model).predict(SENTENCES)]
        assert all(near(row[name], other[name]) for row, other in zip(alone, company, strict=True)), name
    scores = json.loads((tmp_path / "model/metrics.json").read_text(encoding="utf-8"))
    sources = {"similarity": before.folder, **{name: one.model for name, one in searches.items()}}
    for split in ("validation", "test"):
        kept = scores["_all"].get(split, {}).get("warnings", {})
        for name, folder in sources.items():
            old = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["_all"].get(split, {}).get("warnings", {})
            assert kept.get(name) == old.get(name)
    assert set(scores) == {"section", "other", "similarity", "_all"}


def near(one: Any, other: Any) -> bool:
    """Equal, but for the last digits of numbers."""
    if isinstance(one, Mapping):
        return set(one) == set(other) and all(near(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(near, one, other))
    return bool(one == pytest.approx(other, abs=1e-4)) if isinstance(one, float) else bool(one == other)


def test_a_top_that_was_trained_on_another_encoder_is_refused(runner: Runner) -> None:
    shared, other = (load_bundle(runner.experiment.folder_of(Job(0))) for _ in range(2))
    with torch.no_grad():
        other.model.encoder.layer_modules()[0].get_parameter("attention.output.dense.bias").add_(1e-3)
    assert with_private_layers(shared, {"other": PrivateLayers(other, 2)})[0].branches[0].start == 0, "all of it is the task's own"
    for own in (0, 1):
        with pytest.raises(BundleError, match="the layers below the private ones of 'other' differ from the shared encoder"):
            with_private_layers(shared, {"other": PrivateLayers(other, own)})


def test_a_run_whose_tasks_own_layers_already_is_not_wholly_shared(run: Path) -> None:
    assert is_wholly_shared(load_run(run))
    for change in ("sharing.shared_layers=1", "sharing.layer_mix=true", "lora.rank=2"):
        assert not is_wholly_shared(load_run(run, [change]))


@pytest.mark.long
def test_try_remedy_gives_private_layers_to_the_task_that_falls_behind_and_keeps_a_model(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def behind(*args: Any) -> dict[str, Judgement]:
        found = judge_outcomes(*args)
        for name, one in found.items():
            mean = -0.5 if name == "section" else 0.0
            found[name] = replace(one, no_worse=False, difference=replace(one.difference, mean=mean))
        return found

    judge_outcomes = command.judge_outcomes
    monkeypatch.setattr(command, "judge_outcomes", behind)
    options = CompareOptions(run, tmp_path / "out", seeds=(0, 1), try_remedy=True)
    result = compare(options, Quiet(), Stop())
    remedy = result["remedy"]
    assert list(remedy["climbs"]) == ["section"]
    entry = remedy["climbs"]["section"]
    assert entry["reached"] or len(entry["rungs"]) == DEPTH + 1
    assert remedy["tasks"]["similarity"]["shared"] == result["tasks"]["similarity"]["shared"]
    assert set(manyheads.load(tmp_path / "out/remedy").tasks) == {"section", "other", "similarity"}
    assert "head retrained" in (tmp_path / "out/report.html").read_text(encoding="utf-8")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob(f"runs/*/{OUTCOME}")}
    assert compare(options, Quiet(), Stop()) == result
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob(f"runs/*/{OUTCOME}")} == times


@pytest.mark.parametrize(("training", "rate"), [
    ("{steps: 2, device: cpu}", 0.02),
    ("{steps: 2, device: cpu, learning_rate: 0.005}", 0.01),
    ("{recipe: none, steps: 2, device: cpu}", 0.01),
])  # fmt: skip
def test_private_layers_learn_faster_than_a_whole_encoder_where_the_recipe_decides(run: Path, training: str, rate: float) -> None:
    text = run.read_text(encoding="utf-8").partition("training:")[0]
    path = run.with_name("faster.yaml")
    path.write_text(f"{text}training: {training}\n", encoding="utf-8")
    experiment = open_comparison(CompareOptions(path, run.parent / "faster"))
    rates = [experiment.run_file(job(private, "section")).run.training.learning_rate for private in (1, 2)]
    assert rates == [pytest.approx(rate), pytest.approx(0.01)]
