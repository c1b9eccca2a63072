"""A run from start to end: early stopping of phases and tasks, the best weights, partial labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import manyheads.training.evaluation as evaluation_module
from manyheads.api import load
from manyheads.cli import main
from manyheads.start import train_run
from manyheads.training.log import RunLog
from manyheads.training.plan import Plan
from manyheads.training.progress import Quiet
from manyheads.training.session import TrainingSession
from manyheads.training.step_record import StepRecord
from plans import plan, weights
from toys import SENTENCES, entity_rows, write_jsonl

TASKS = ("entities", "section", "answers", "similarity")
Weights = dict[str, torch.Tensor]


class Watch(Quiet):
    """Remembers what was said, and the weights after each step and at each line."""

    def __init__(self, made: Plan) -> None:
        self.made = made
        self.said: list[tuple[str, Weights]] = []
        self.after: dict[int, Weights] = {}
        self.records: list[StepRecord] = []

    def say(self, line: str) -> None:
        self.said.append((line, weights(self.made.model)))

    def step(self, record: StepRecord, steps: int) -> None:
        self.records.append(record)
        self.after[record.step + 1] = weights(self.made.model)

    def lines(self, words: str) -> list[str]:
        return [line for line, _ in self.said if words in line]


def session(
    made: Plan, scores: Sequence[float | Mapping[str, float]], monkeypatch: pytest.MonkeyPatch
) -> tuple[TrainingSession, Watch]:
    """A plan's session with an evaluation after every step that gives these scores, of all tasks or of each."""
    script = iter(scores)

    def calibrate(predictor: Any, tables: Any) -> Any:
        score = next(script)
        each = score if isinstance(score, Mapping) else dict.fromkeys(made.tasks, score)
        return dict(made.tasks), {n: dict.fromkeys(task.metric_names, each[n]) for n, task in made.tasks.items()}

    monkeypatch.setattr(evaluation_module, "calibrate", calibrate)
    watch = Watch(made)
    log = RunLog(made.output)
    run = TrainingSession(made, log, watch)
    run.run()
    log.close()
    return run, watch


def same(one: Weights, two: Weights, prefix: str = "") -> bool:
    return all(torch.equal(one[name], two[name]) for name in one if name.startswith(prefix))


# Early stopping


def test_the_last_phase_ends_when_patience_runs_out_with_the_best_weights(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(project, "training.evaluate_every=1", "training.patience=2")
    run, watch = session(made, [0.1, 0.5, 0.4, 0.3], monkeypatch)
    assert run.position.step == 4
    assert same(weights(made.model), watch.after[2])
    assert not same(weights(made.model), watch.after[4])
    assert watch.lines("step 4: phase 'all' ends: 2 evaluations without improvement")


def test_without_patience_all_steps_are_made_and_the_best_weights_kept(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(project, "training.steps=5", "training.evaluate_every=2")
    run, watch = session(made, [0.5, 0.4, 0.5], monkeypatch)
    assert run.position.step == 5
    assert same(weights(made.model), watch.after[5]), "of equal scores the later one has learned more"
    assert [line.split(":")[0] for line in watch.lines("combined")] == ["step 2", "step 4", "step 5"]


def test_a_later_score_that_few_examples_cannot_tell_from_the_best_is_taken_and_one_that_is_clearly_worse_is_not(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(project, "training.steps=3", "training.evaluate_every=1")
    _, watch = session(made, [0.5, 0.49, 0.1], monkeypatch)
    assert same(weights(made.model), watch.after[2])


def test_a_phase_that_runs_out_of_patience_hands_its_best_weights_to_the_next(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = (
        "training.phases=[{name: one, steps: 8, patience: 2}, {name: two, steps: 2, schedule: constant, warmup: 0}]"
    )
    made = plan(project, "training.steps=null", phases, "training.evaluate_every=1")
    run, watch = session(made, [0.5, 0.4, 0.3, 0.2, 0.1], monkeypatch)
    assert run.position.step == 5
    assert [record.phase for record in watch.records] == ["one"] * 3 + ["two"] * 2
    [start] = [state for line, state in watch.said if line == "phase 'two': 2 steps"]
    assert same(start, watch.after[1])
    assert [record.rate for record in watch.records][3:] == pytest.approx([1e-3, 1e-3]), "its schedule starts afresh"
    assert same(weights(made.model), watch.after[1]), "the best of all phases"


def test_patience_that_runs_out_at_the_end_of_a_phase_counts_too(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = "training.phases=[{name: one, steps: 3, patience: 2}, {name: two, steps: 1}]"
    made = plan(project, "training.steps=null", phases, "training.evaluate_every=1")
    _, watch = session(made, [0.5, 0.4, 0.3, 0.9], monkeypatch)
    [start] = [state for line, state in watch.said if line.startswith("phase 'two'")]
    assert same(start, watch.after[1])
    assert same(weights(made.model), watch.after[4])


def test_each_phase_waits_for_its_own_best(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phases = "training.phases=[{name: one, steps: 2}, {name: two, steps: 4, patience: 2}]"
    made = plan(project, "training.steps=null", phases, "training.evaluate_every=1")
    run, _ = session(made, [0.8, 0.9, 0.1, 0.2, 0.3, 0.4], monkeypatch)
    assert run.position.step == 6, "worse than the phase before, but rising"


@pytest.mark.parametrize("model", ["sharing.shared_layers=1", "training.seed=0"])
@pytest.mark.parametrize("task", ["section", "entities"])
def test_a_task_that_runs_out_of_patience_trains_no_more_and_gets_its_best_weights_back(
    project: Path, monkeypatch: pytest.MonkeyPatch, task: str, model: str
) -> None:
    made = plan(project, "training.steps=7", "training.evaluate_every=1", f"tasks.{task}.patience=2", model)
    rising = [0.1 * i for i in range(1, 8)]
    own = [0.2, 0.9, 0.8, 0.7, 0.7, 0.7, 0.7]
    scores = [dict.fromkeys(TASKS, all_) | {task: one} for all_, one in zip(rising, own, strict=True)]
    run, watch = session(made, scores, monkeypatch)
    assert run.position.step == 7
    assert [task in record.tokens for record in watch.records] == [True] * 4 + [False] * 3
    assert watch.lines(f"step 4: {task} stops training: 2 evaluations without improvement")
    mine = [name for name, p in made.model.named_parameters()
            if any(p is q for part in made.trainer.parts if part.tasks == (task,) for q in part.parameters)]  # fmt: skip
    assert any(name.startswith("encoder") or name.startswith("branch") for name in mine) == (model != "training.seed=0")
    final = weights(made.model)
    assert all(torch.equal(final[name], watch.after[2][name]) for name in mine)
    still = [name for name in mine if final[name].ndim > 1 and torch.equal(final[name], watch.after[4][name])]
    assert all(".inner." in name for name in still), "what is learned of words inside pieces, of which the toys have none"
    assert all(sum(record.tokens.values()) > 0.5 * 256 for record in watch.records), "the others take its tokens"


def test_what_is_kept_as_best_is_what_was_scored_before_a_head_was_put_back(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(project, "training.steps=3", "training.evaluate_every=1", "tasks.section.patience=1")
    scores = [dict.fromkeys(TASKS, all_) | {"section": one} for all_, one in ((0.1, 0.5), (0.9, 0.4), (0.1, 0.1))]
    _, watch = session(made, scores, monkeypatch)
    assert watch.lines("step 2: section stops training")
    assert same(weights(made.model), watch.after[2])


def test_the_last_task_is_never_stopped(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patience = [f"tasks.{task}.patience=1" for task in TASKS]
    made = plan(project, "training.steps=4", "training.evaluate_every=1", *patience)
    run, watch = session(made, [0.5, 0.4, 0.3, 0.2], monkeypatch)
    assert run.position.step == 4
    assert len(watch.lines("stops training")) == 3
    assert [len(record.tokens) for record in watch.records] == [4, 4, 1, 1]


def test_scores_reach_a_difficulty_driven_sampler(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(project, "training.sampling=difficulty", "training.steps=2", "training.evaluate_every=1")
    sampler = made.trainer.batcher.sampler
    before = sampler.draw(0)
    session(made, [dict.fromkeys(TASKS, 0.9) | {"section": 0.1}] * 2, monkeypatch)
    assert sampler.draw(0) == before
    assert sampler.draw(1)["section"] > 1.2 * before["section"]


def test_a_chosen_metric_that_validation_data_does_not_give_ends_the_run_at_its_first_evaluation(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from manyheads.errors import UsageError

    with pytest.raises(UsageError, match=r"training.select: similarity.recall_at_1 is not measured on this data"):
        train_run(project, None, ["training.select={similarity.recall_at_1: 1}", "training.steps=1"], Quiet())
    assert not (project.parent / "runs/model/manyheads.json").exists()


def test_a_chosen_metric_that_test_data_does_not_give_does_not_cost_the_run(project: Path) -> None:
    answerable = [
        row
        for row in map(json.loads, (project.parent / "data/questions.jsonl").read_text().splitlines())
        if row["answers"]
    ]
    write_jsonl(project.parent / "data/answerable.jsonl", answerable)
    options = ["training.select={answers.no_answer_f1: 1, section.accuracy: 1}", "training.steps=1",
               "tasks.answers.data.test=data/answerable.jsonl"]  # fmt: skip
    folder, scores = train_run(project, None, options, Quiet())
    assert "no_answer_f1" not in scores["answers"]["test"]
    assert scores["_all"]["test"]["combined"] == scores["section"]["test"]["accuracy"]
    assert load(folder)


# Partial labels


def partial(project: Path) -> Path:
    """One file for all tasks, in which most rows lack some targets."""
    rows: list[dict[str, object]] = []
    for i in range(12):
        text, targets = SENTENCES[i % 6], dict[str, object]()
        targets["entities"] = entity_rows()[i % 6]["entities"] if i % 2 else None
        if i % 3:
            targets["section"] = "RESULTS" if i % 2 else "METHODS"
        if i % 4 == 0:
            targets["answers"] = {"question": "Who?", "answers": [{"text": text.split()[0], "start": 0}]}
        if i % 5:
            targets["similarity"] = {"text_b": SENTENCES[(i + 1) % 6], "score": i % 5}
        rows.append({"text": text, "targets": targets})
    write_jsonl(project.parent / "data/all.jsonl", rows)
    text = project.read_text()
    for name in ("entities.jsonl", "sections.csv", "questions.jsonl", "pairs.csv"):
        text = text.replace(f"data/{name}", "data/all.jsonl")
    project.write_text(text)
    return project


def test_rows_without_a_target_are_skipped_and_counted_and_the_others_train(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = partial(project)
    report = project.parent / "report.json"
    assert main(["validate", str(run), "--json", str(report)]) == 0
    shown = capsys.readouterr().out
    used = {"entities": 6, "section": 8, "answers": 3, "similarity": 9}
    found = {split["task"]: split for split in json.loads(report.read_text())["splits"] if split["split"] == "train"}
    for task, count in used.items():
        assert (found[task]["rows"], found[task]["used"]) == (12, count)
        assert found[task]["skipped"][f"no target '{task}'"]["count"] == 12 - count
        assert f"no target '{task}', the first at " in shown
    folder, scores = train_run(run, None, ["training.steps=8"], Quiet())
    assert set(scores) == {*TASKS, "_all"}
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    tokens = [row["tokens"] for row in history if "tokens" in row]
    assert all(any(task in row for row in tokens) for task in TASKS)
    assert set(load(folder).tasks) == set(TASKS)
