"""Heads solved on the frozen encoder: the optimum of an independent solver, and the course of a run that begins with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import manyheads.training.head_problem as head_problem
from manyheads.nn.pooling import mean_pool
from manyheads.training.head_fit import SHRUNK, HeadFit, fit_heads, shrink_heads
from manyheads.training.head_problem import PENALTIES, STEPS
from manyheads.training.plan import Plan
from manyheads.training.stop import Stop
from plans import plan, weights
from runs import StopAtPass, Watch, outcome, run_training, went
from toys import SENTENCES, write_csv

FIT = ("training.fit_heads=true", "training.steps=4", "training.evaluate_every=2", "training.save_every=0")


@pytest.fixture
def sections(project: Path) -> Path:
    """A larger table of sections: some words tell the label."""
    draw = np.random.default_rng(0)
    rows = [
        [f"{SENTENCES[i % 6]} {' '.join(draw.choice(['fever', 'glucose', 'nausea'], 4))}", "AB"[i % 2]]
        for i in range(60)
    ]
    write_csv(project.parent / "data/sections.csv", ["text", "label"], rows)
    return project


@pytest.fixture
def all_penalties(monkeypatch: pytest.MonkeyPatch) -> None:
    """What users have: imported before conftest.py leaves some out."""
    monkeypatch.setattr(head_problem, "PENALTIES", PENALTIES)
    monkeypatch.setattr(head_problem, "STEPS", STEPS)


def solved(made: Plan, *names: str) -> dict[str, HeadFit]:
    """Solves the heads of these tasks, or of all."""
    tasks = {name: made.tasks[name] for name in names or made.tasks}
    return {fit.task: fit for fit in fit_heads(made.model, tasks, made.trainer.batcher)}


def features(made: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Pooled vectors and labels of the task `section`."""
    made.model.eval()
    vectors, labels = [], []
    with torch.no_grad():
        for batch in made.trainer.batcher.epoch_of("section", 4096, 1, 10**9):
            vectors.append(mean_pool(made.model.encoder(batch.pack), batch.pack.segments))
            labels.append(batch.targets["section"]["label_BK"].argmax(-1))
    return torch.cat(vectors).double().numpy(), torch.cat(labels).numpy()


@pytest.mark.parametrize("penalty", PENALTIES[:3])
def test_a_solved_head_is_that_of_scikit_learn(sections: Path, penalty: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_problem, "PENALTIES", (penalty,))
    monkeypatch.setattr(head_problem, "SCALES", (1.0,))
    made = plan(sections, *FIT)
    assert solved(made, "section")["section"].penalty == penalty
    x_ND, y_N = features(made)
    square = float((x_ND**2).sum(-1).mean())
    # Ours: mean loss / log 2 + penalty * square * |W|^2 / 2 with both classes' weights; theirs: C * sum of losses + |w|^2 / 2.
    # Two classes' optimal weights are opposite, w = 2 W, so |W|^2 over both is |w|^2 / 2.
    strength = 2 / (np.log(2) * len(y_N) * penalty * square)
    theirs = LogisticRegression(C=strength, max_iter=5000, tol=1e-10).fit(x_ND, y_N)
    weight_KD = made.model.heads["section"].layers[-1].weight.detach().double().numpy()
    np.testing.assert_allclose(weight_KD[1] - weight_KD[0], theirs.coef_[0], atol=0.02 * np.abs(theirs.coef_).max())


@pytest.mark.long
def test_every_head_with_a_loss_of_its_own_is_solved_and_knows_more_than_before(project: Path) -> None:
    made = plan(project, *FIT)
    before = weights(made.model)
    fits = solved(made)
    after = weights(made.model)
    assert set(fits) == {"entities", "section", "answers"}
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith(("heads.entities", "heads.section", "heads.answers")) for name in moved)
    assert not any(p.grad is not None for p in made.model.parameters())


@pytest.mark.long
def test_a_head_without_a_finite_solution_stays_as_it_began(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(project, *FIT)
    before = weights(made.model)
    monkeypatch.setattr(head_problem.HeadProblem, "losses", lambda self, features: torch.tensor([float("nan")]))
    assert solved(made) == {}
    assert all(torch.equal(before[name], value) for name, value in weights(made.model).items())


def test_a_solution_whose_scores_are_small_is_brought_to_their_scale(
    sections: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_problem, "PENALTIES", (0.005,))
    found = {}
    for scales in ((1.0,), head_problem.SCALES):
        monkeypatch.setattr(head_problem, "SCALES", scales)
        made = plan(sections, *FIT)
        found[scales] = solved(made, "section")["section"].loss, weights(made.model.heads["section"])
    (loss, small), (less, large) = found.values()
    assert less < loss
    ratios = {float(value.abs().max() / small[name].abs().max()) for name, value in large.items()}
    assert all(ratio == pytest.approx(max(ratios), rel=1e-3) for ratio in ratios)
    assert any(max(ratios) == pytest.approx(scale, rel=1e-3) for scale in head_problem.SCALES[1:])


@pytest.mark.long
@pytest.mark.usefixtures("all_penalties")
def test_a_penalty_is_chosen_where_each_fold_lacks_labels(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty labels, each of them once or twice: held-out rows of labels that the others lack do not decide."""
    rows = [[f"{SENTENCES[i % 6]} word{i % 20} word{i % 20}", f"label {i % 20}"] for i in range(32)]
    write_csv(project.parent / "data/sections.csv", ["text", "label"], rows)
    made = plan(project, *FIT)
    fit = solved(made, "section")["section"]
    assert np.isfinite(fit.loss)
    assert fit.loss < 1.5
    assert fit.penalty < PENALTIES[0]


def test_shrinking_keeps_directions_and_how_common_labels_are(sections: Path) -> None:
    made = plan(sections, *FIT)
    solved(made, "section")
    before = weights(made.model.heads["section"])
    shrink_heads(made.model, ["section"])
    for name, value in weights(made.model.heads["section"]).items():
        assert torch.allclose(value, before[name] * (SHRUNK if value.ndim > 1 else 1.0))


@pytest.mark.long
def test_heads_alone_are_a_candidate_and_are_scored_before_the_first_step(project: Path) -> None:
    watch = went(plan(project, *FIT))
    assert watch.lines("step 0: validation")
    assert len(watch.lines("head solved on the frozen encoder")) == 3


@pytest.mark.long
@pytest.mark.parametrize("passes", [1, 3])
def test_a_run_that_is_stopped_while_its_solved_heads_are_scored_goes_on_bit_for_bit(
    project: Path, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from manyheads.errors import StoppedError

    monkeypatch.setenv("MANYHEADS_CACHE", str(project.parent / "whole"))
    whole = plan(project, *FIT, "output=runs/whole")
    went(whole)
    stop: Stop = StopAtPass(passes)
    with pytest.raises(StoppedError):
        run_training(plan(project, *FIT), Watch(stop=stop), stop=stop)
    again = plan(project, *FIT)
    went(again, resume=True)
    assert outcome(again)["heads.safetensors"] == outcome(whole)["heads.safetensors"]
