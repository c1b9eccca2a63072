"""Tasks that train the encoder alone before all tasks train it together."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from manyheads.config.recipe import ANCHOR
from manyheads.errors import DataError, StoppedError, UsageError
from manyheads.training import run
from manyheads.training.checkpoint import Checkpoints
from manyheads.training.progress import WithCallbacks
from manyheads.training.step_record import StepRecord
from manyheads.training.stop import Stop
from plans import plan, weights
from runs import PulledError, Watch, assert_same, history, outcome, run_training, went

FIRST = ("training.first_tasks=[similarity]", "training.steps=12", "training.tokens_per_step=800",
         "training.evaluate_every=6", "training.save_every=3", "training.anchor=1.0")  # fmt: skip


def test_all_tasks_start_from_the_encoder_that_the_first_ones_train(project: Path) -> None:
    made = plan(project, *FIRST)
    assert made.first is not None
    alone, before = made.first(), weights(made.model.encoder)
    assert list(alone.tasks) == ["similarity"]
    watch = went(made)
    anchor = made.trainer.components.anchor
    assert anchor is not None
    reached = weights(anchor.encoder)
    assert any(not torch.equal(before[name], value) for name, value in reached.items())
    kept = history(made.output)
    assert any("first_tasks" in row for row in kept)
    by_hand = replace(made.first(), output=made.output.with_name("alone"))
    went(by_hand)
    assert all(torch.equal(reached[name], value) for name, value in weights(by_hand.model.encoder).items())
    assert watch.lines("training similarity alone first")
    assert watch.lines("continue with the encoder that similarity trained")


def test_a_task_that_joins_late_trains_first_from_its_first_step(project: Path) -> None:
    made = plan(project, *FIRST, "tasks.similarity.start_step=6", "tasks.similarity.tokens_per_step=100")
    went(made)
    [alone] = [row["first_tasks"] for row in history(made.output) if "first_tasks" in row]
    assert alone["similarity"]["tokens"] > 0  # type: ignore[index]


def test_the_mix_of_layers_that_a_first_task_trains_is_kept(project: Path) -> None:
    made = plan(project, *FIRST, "sharing.layer_mix=true")
    assert made.first is not None
    by_hand = replace(made.first(), output=made.output.with_name("alone"))
    went(by_hand)
    before = weights(made.model.mixes["section"])
    run._follow_first(made, Watch(), Checkpoints(made.output / "checkpoints"), Stop())
    reached = weights(made.model.mixes["similarity"])
    assert all(torch.equal(reached[name], value) for name, value in weights(by_hand.model.mixes["similarity"]).items())
    assert any(not torch.equal(reached[name], value) for name, value in before.items())
    assert all(torch.equal(before[name], value) for name, value in weights(made.model.mixes["section"]).items())


def test_callbacks_follow_the_steps_of_the_run_alone(project: Path) -> None:
    seen: list[object] = []
    made = plan(project, *FIRST)
    run_training(made, WithCallbacks(Watch(), [seen.append]))
    assert [record.step for record in seen if isinstance(record, StepRecord)] == list(range(12))


def test_it_takes_as_long_as_alone_but_a_quarter_of_the_runs_tokens_at_most(project: Path) -> None:
    per_step = 32 * 117 // 6  # 32 pairs, of which six have 117 tokens
    for steps, epochs in ((1, 800 / 4 / 117), (12, 15)):
        made = plan(project, *FIRST, f"training.steps={steps}")
        assert made.first is not None
        assert made.first().steps == math.ceil(epochs * 117 / per_step)


def test_history_scores_the_untrained_encoder_first_and_then_the_first_tasks(project: Path) -> None:
    made = plan(project, *FIRST, "training.fit_heads=true")
    went(made)
    rows = history(made.output)
    untrained = next(row for row in rows if "combined" in row)
    first = next(row for row in rows if "first_tasks" in row)
    assert rows.index(untrained) < rows.index(first)
    assert set(first["first_tasks"]) == {"similarity"}  # type: ignore[call-overload]


@pytest.mark.parametrize("step", [1, 3, 8, 13])
def test_a_run_that_is_cut_off_in_either_part_goes_on_bit_for_bit(project: Path, step: int) -> None:
    whole = plan(project, *FIRST, "training.fit_heads=true", "output=runs/whole")
    watch = went(whole)
    assert len(watch.records) > 13

    with pytest.raises(PulledError):
        run_training(plan(project, *FIRST, "training.fit_heads=true"), Watch(cut=step))
    if step > 3:
        with pytest.raises(UsageError, match="did not finish"):
            run_training(plan(project, *FIRST, "training.fit_heads=true"), Watch())
    again = plan(project, *FIRST, "training.fit_heads=true")
    went(again, resume=True)
    expected, seen = outcome(whole), outcome(again)
    for name in ("history.jsonl", "run.yaml"):
        expected.pop(name), seen.pop(name)
    assert_same(seen, expected)


def test_a_run_that_is_asked_to_stop_in_its_first_part_is_saved(project: Path) -> None:
    stop = Stop()
    with pytest.raises(StoppedError, match="it is saved"):
        run_training(plan(project, *FIRST), Watch(stop=stop, after=1), stop=stop)
    again = plan(project, *FIRST)
    went(again, resume=True)
    assert (again.output / "manyheads.json").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("training.first_tasks=[similarty]",), "training.first_tasks: there is no task 'similarty'; did you mean 'similarity'"),
        (("training.first_tasks=[entities, section, answers, similarity]",), "no other task is left"),
        (("training.first_tasks=[similarity]", "training.freeze=embeddings"), "remove it, or init_from, lora"),
        (("training.first_tasks=[similarity]", "sharing.shared_layers=1"), "remove it, or init_from, lora"),
    ],
)
def test_what_cannot_be_is_refused_before_training(project: Path, settings: tuple[str, ...], words: str) -> None:
    with pytest.raises(DataError, match=words.replace("(", r"\(")):
        plan(project, *settings)


def test_the_recipe_lets_pairs_train_first_if_their_own_training_is_a_quarter_of_the_run_at_most(project: Path) -> None:
    own = ("training.recipe=auto", "tasks.similarity.projection=null")
    long = plan(project, *own, "training.steps=100", "training.tokens_per_step=256")
    short = plan(project, *own, "training.steps=1", "training.tokens_per_step=256")
    assert any("first_tasks: similarity (alone for" in line for line in long.recipe)
    assert any(f"anchor: {ANCHOR:g} (keeps what the encoder has learned" in line for line in long.recipe)
    assert not any("first_tasks" in line for line in short.recipe)
    assert any(f"anchor: {ANCHOR:g} (keeps what the encoder already knows" in line for line in short.recipe)
    assert long.first is not None
    assert short.first is None
    none = plan(project, *own, "training.steps=100", "training.tokens_per_step=256", "training.first_tasks=[]")
    assert none.first is None
    assert any(f"anchor: {ANCHOR:g} (keeps what the encoder already knows" in line for line in none.recipe)


@pytest.mark.parametrize("timed", ["tasks.similarity.start_step=6", "tasks.similarity.stop_step=50"])
def test_the_recipe_leaves_tasks_out_whose_steps_the_run_file_sets(project: Path, timed: str) -> None:
    own = ("training.recipe=auto", "tasks.similarity.projection=null", "training.steps=100", "training.tokens_per_step=256")
    assert plan(project, *own).first is not None
    assert plan(project, *own, timed).first is None


def test_paired_runs_have_none(project: Path) -> None:
    from manyheads.config.build import plan_of
    from manyheads.config.dataset import read_dataset
    from manyheads.config.files import load_run
    from manyheads.text.tokenizer import Tokenizer

    file = load_run(project, list(FIRST))
    made = plan_of(file, read_dataset(file), made_folder := project.parent / "paired",
                   Tokenizer.from_encoder(file.run.encoder.name), only=("similarity",))  # fmt: skip
    assert made.first is None
    assert not made_folder.exists()
    assert list(made.validation) == ["similarity"]
