"""A run made again on all rows once everything is chosen on those that were set aside."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from manyheads.api import load
from manyheads.errors import StoppedError
from manyheads.start import evaluate_model
from manyheads.training.stop import Stop
from plans import plan, weights
from runs import PulledError, Watch, outcome, run_training, went
from toys import SENTENCES, write_csv

REFIT = ("training.refit=true", "training.steps=4", "training.evaluate_every=2", "training.save_every=1")


@pytest.fixture
def alone(project: Path) -> Path:
    """One task, without validation data of its own."""
    rows = [
        [f"{sentence} {word}", "AB"[i % 2]] for i, sentence in enumerate(SENTENCES * 5) for word in ("fever", "glucose")
    ]
    write_csv(project.parent / "data/sections.csv", ["text", "label"], rows)
    text = project.read_text(encoding="utf-8")
    tasks = (
        "tasks:\n  section: {type: text-classification, data: {train: data/sections.csv, test: data/sections.csv}}\n"
    )
    project.write_text(text[: text.index("tasks:")] + tasks + text[text.index("training:") :], encoding="utf-8")
    return project


@pytest.mark.long
def test_the_model_is_that_of_a_run_on_all_rows_and_its_validation_scores_are_of_the_run_without_them(
    alone: Path,
) -> None:
    made = plan(alone, *REFIT, "output=runs/refitted")
    held_out = len(made.validation["section"])
    went(made)
    scores = json.loads((made.output / "metrics.json").read_text(encoding="utf-8"))

    first = replace(plan(alone, *REFIT, "output=runs/first"), refit=None)
    went(first)
    alike = json.loads((first.output / "metrics.json").read_text(encoding="utf-8"))
    assert scores["section"]["validation"] == alike["section"]["validation"]

    assert made.refit is not None
    whole = made.refit(1.0)
    assert len(whole.trainer.batcher.feeds[0].table) == len(made.trainer.batcher.feeds[0].table) + held_out
    assert not whole.validation
    went(replace(whole, output=whole.output.with_name("by-hand")))
    if scores["section"]["test"] != alike["section"]["test"]:
        assert torch.equal(weights(whole.model)["heads.section.layers.1.weight"],
                           load_file(made.output / "heads.safetensors")["section.layers.1.weight"])  # fmt: skip
    assert not (made.output / "checkpoints").exists()


def test_who_evaluates_on_rows_that_were_trained_on_in_the_end_is_told(alone: Path) -> None:
    made = plan(alone, *REFIT)
    went(made)
    assert "before the model was trained again on all rows" in (made.output / "README.md").read_text(encoding="utf-8")
    told: list[str] = []
    evaluate_model(load(made.output), data=None, split="validation", names=None, say=told.append)
    assert any("section · validation: the final model was also trained on these rows" in line for line in told)
    evaluate_model(load(made.output), data=None, split="test", names=None, say=pytest.fail)


def test_a_second_run_ends_where_the_first_was_best(alone: Path) -> None:
    made = plan(alone, *REFIT)
    assert made.refit is not None
    half = made.refit(0.5)
    assert (half.steps, sum(phase.steps for phase in half.phases)) == (2, 4)
    watch = went(half)
    assert [record.step for record in watch.records] == [0, 1]
    nothing = made.refit(0.0)
    before = weights(nothing.model)
    went(replace(nothing, output=nothing.output.with_name("none")))
    assert all(torch.equal(before[name], value) for name, value in weights(nothing.model).items())


@pytest.mark.parametrize("step", [2, 4, 5])
def test_a_run_that_is_cut_off_in_either_part_goes_on_bit_for_bit(
    alone: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANYHEADS_CACHE", str(alone.parent / "whole"))
    whole = plan(alone, *REFIT, "output=runs/whole")
    went(whole)

    with pytest.raises(PulledError):
        run_training(plan(alone, *REFIT), Watch(cut=step))
    again = plan(alone, *REFIT)
    went(again, resume=True)
    assert outcome(again)["heads.safetensors"] == outcome(whole)["heads.safetensors"]


def test_a_run_that_is_asked_to_stop_in_its_second_part_is_saved(alone: Path) -> None:
    stop = Stop()

    class Asked(Watch):
        def say(self, line: str) -> None:
            super().say(line)
            if "on all rows, validation rows included" in line:
                stop.asked = "SIGTERM"

    made = plan(alone, *REFIT, "training.fit_heads=false")
    with pytest.raises(StoppedError, match="it is saved"):
        run_training(made, Asked(), stop=stop)
    went(plan(alone, *REFIT, "training.fit_heads=false"), resume=True)
    assert (made.output / "manyheads.json").exists()


def test_validation_data_of_the_users_own_is_never_trained_on(project: Path) -> None:
    assert plan(project, *REFIT).refit is None
