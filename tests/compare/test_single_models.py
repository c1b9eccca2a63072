"""The best single-task models: the run file with one task alone, and a learning rate that validation data chose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from manyheads.cli import main
from manyheads.compare.command import CompareOptions, compare, open_comparison
from manyheads.compare.outcome import OUTCOME, Outcome
from manyheads.compare.single_models import Candidate, best_candidate, scaled_rate, training_length
from manyheads.config.build import plan_of
from manyheads.config.files import load_run
from manyheads.jobs.job import Job
from manyheads.jobs.single_task import single_task_run
from manyheads.training.progress import Quiet
from manyheads.training.stop import Stop
from toys import write_project

FEW = ("training.steps=4", "training.evaluate_every=2")
TWO = """
encoder: {{name: {encoder}, max_length: 48}}
tasks:
  entities: {{type: token-classification, data: {{train: {data}/entities.jsonl, validation: {data}/entities.jsonl}}}}
  section:
    type: text-classification
    weight: 0.5
    start_step: 1
    learning_rate_factor: 3
    data: {{train: {data}/sections.csv, validation: {data}/sections.csv}}
{more}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    return write_project(tmp_path_factory.mktemp("singles"), toy_encoder)


def run_file(folder: Path, project: Path, encoder: Path, more: str) -> Path:
    """A run file of two tasks."""
    path = folder / "run.yaml"
    path.write_text(TWO.format(encoder=encoder, data=project.parent / "data", more=more), encoding="utf-8")
    return path


def test_a_task_alone_keeps_what_the_run_file_says_of_it_and_loses_what_speaks_of_several(
    project: Path, tmp_path: Path, toy_encoder: Path
) -> None:
    more = """
sharing: {shared_layers: 1, layer_mix: true}
training:
  learning_rate: 2.0e-5
  steps: 40
  balancing: pcgrad
  anchor: 0.3
  sampling: uniform
  select: {section.macro_f1: 1, entities.f1: 2}
  freeze: {layers: 1, heads: [entities]}
  weight_decay: 0.2
"""
    file = load_run(run_file(tmp_path, project, toy_encoder, more))
    made = single_task_run(file, "section", {"epochs": 2.5}).run
    assert list(made.tasks) == ["section"]
    section = made.tasks["section"]
    assert (section.weight, section.start_step, section.learning_rate_factor) == (1.0, 0, 3.0)
    assert (made.sharing.shared_layers, made.sharing.layer_mix) == (None, True)
    assert made.training.model_fields_set == {"learning_rate", "epochs", "select", "freeze", "weight_decay"}
    assert (made.training.epochs, made.training.select) == (2.5, {"section.macro_f1": 1.0})
    assert (made.training.freeze.layers, made.training.freeze.heads) == (1, [])


def test_a_task_alone_has_the_passes_that_the_steps_of_all_tasks_give_it(
    project: Path, tmp_path: Path, toy_encoder: Path
) -> None:
    for more, expected in (
        ("training: {steps: 40, tokens_per_step: 256}", {"epochs": 2.25, "tokens_per_step": None}),
        ("training: {recipe: none, steps: 40, tokens_per_step: 256}", {"epochs": 2.25, "tokens_per_step": 61}),
        ("training: {epochs: 2}", {}),
        ("", {}),
    ):
        file = load_run(run_file(tmp_path, project, toy_encoder, more))
        assert training_length(file.run.training, epochs=2.25, tokens_per_step=61.4) == expected


def test_by_the_recipe_a_single_model_is_what_its_own_run_file_would_make(
    project: Path, tmp_path: Path, toy_encoder: Path
) -> None:
    path = run_file(tmp_path, project, toy_encoder, "")
    experiment = open_comparison(CompareOptions(path, tmp_path / "out"))
    job = Job(0, ("entities",), single=())
    by_itself = tmp_path / "alone.yaml"
    text = path.read_text(encoding="utf-8")
    by_itself.write_text(text[: text.index("  section:")], encoding="utf-8")
    file = load_run(by_itself)
    data = {"entities": experiment.dataset["entities"]}
    ours = plan_of(experiment.run_file(job), experiment.data(job), tmp_path / "a", experiment.tokenizer)
    theirs = plan_of(file, data, tmp_path / "b", experiment.tokenizer)
    assert ours.phases == theirs.phases
    assert ours.recipe == theirs.recipe
    assert [ours.trainer.batcher.draw(step).rows for step in range(4)] == [
        theirs.trainer.batcher.draw(step).rows for step in range(4)
    ]


def test_the_rate_with_the_best_validation_score_is_taken_and_the_usual_one_among_equals() -> None:
    rates = [Candidate(1.0, 1e-4, Job(0), 0.8), Candidate(0.5, 5e-5, Job(0), 0.8), Candidate(2.0, 2e-4, Job(0), 0.81)]
    assert best_candidate(rates).factor == 2.0
    assert best_candidate(rates[:2]).factor == 1.0
    assert best_candidate([Candidate(1.0, 1e-4, Job(0))]).factor == 1.0
    own = dict(scaled_rate({"epochs": 2.0}, 1e-4, 5e-4, 2.0))
    assert own == {"epochs": 2.0, "learning_rate": 2e-4, "head_learning_rate": 5e-4}
    assert dict(scaled_rate({"epochs": 2.0}, 1e-4, 5e-4, 1.0)) == {"epochs": 2.0}


@pytest.mark.long
def test_a_comparison_is_with_single_models_whose_rate_the_first_seed_chose_beside_paired_runs(
    project: Path, tmp_path: Path, toy_encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = "training: {recipe: none, steps: 4, tokens_per_step: 128, evaluate_every: 2, learning_rate: 1.0e-3, device: cpu}"
    path = run_file(tmp_path, project, toy_encoder, more)
    given = ["compare", str(path), "-o", str(tmp_path / "out"), "--seeds", "0,1"]
    assert main([*given, "--singles", "both"]) == 0
    said = capsys.readouterr().out
    result = json.loads((tmp_path / "out/compare.json").read_text(encoding="utf-8"))
    assert result["single"] == "best"
    experiment = open_comparison(CompareOptions(path, tmp_path / "out"))
    for name, task in result["tasks"].items():
        own = task["own"]
        assert [each["factor"] for each in own["tried"]] == [1.0, 0.5, 2.0]
        assert [each["learning_rate"] for each in own["tried"]] == pytest.approx([1e-3, 5e-4, 2e-3])
        best = max(own["tried"], key=lambda each: each["validation"])
        assert own["learning_rate"] == best["learning_rate"]
        settings = tuple(own["settings"].items())
        runs = [Outcome.load(experiment.folder_of(Job(seed, (name,), single=settings))) for seed in (0, 1)]
        assert task["single"] == pytest.approx([run.scores[name][task["metric"]] for run in runs if run])
        paired = [Outcome.load(experiment.folder_of(Job(seed, (name,)))) for seed in (0, 1)]
        assert task["twin"]["single"] == pytest.approx([run.scores[name][task["metric"]] for run in paired if run])
        assert task["twin"]["shared"] == task["shared"]
    tokens = {side: result["cost"][side]["training_tokens"] for side in ("shared", "single")}
    assert 4 * 100 < tokens["shared"] <= 4 * 128 + 8
    assert tokens["single"] == pytest.approx(tokens["shared"], rel=0.15), "as many passes over the same examples"
    assert "every task no worse than its best single-task model" in said
    assert f"tokens trained on: {tokens['shared']:,} by a shared model" in said
    outcomes = len(list((tmp_path / "out").glob(f"runs/*/{OUTCOME}")))
    assert outcomes == 2 + 4 + 2 * (3 + 1), "shared, paired, and for each task three rates and another seed"
    again = compare(CompareOptions(path, tmp_path / "out", seeds=(0, 1)), Quiet(), Stop())
    assert len(list((tmp_path / "out").glob(f"runs/*/{OUTCOME}"))) == outcomes
    assert "twin" not in again["tasks"]["section"]
    assert again["tasks"]["section"]["single"] == result["tasks"]["section"]["single"]


def test_without_validation_data_the_usual_rate_stands(project: Path, tmp_path: Path, toy_encoder: Path) -> None:
    more = "training: {recipe: none, steps: 2, tokens_per_step: 128, device: cpu}"
    path = run_file(tmp_path, project, toy_encoder, more)
    text = path.read_text(encoding="utf-8").replace("validation:", "test:").replace("weight: 0.5", "validation_fraction: 0")
    text = text.replace("type: token-classification,", "type: token-classification, validation_fraction: 0,")
    path.write_text(text, encoding="utf-8")
    result = compare(CompareOptions(path, tmp_path / "out", seeds=(0,)), Quiet(), Stop())
    for task in result["tasks"].values():
        assert [(each["factor"], each["validation"]) for each in task["own"]["tried"]] == [(1.0, None)]
