"""Training above frozen layers whose outputs are kept: the same losses, and the layers run once for each sequence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from manyheads.training.frozen import frozen_layers
from manyheads.training.plan import Plan
from plans import plan, still

FROZEN = {
    "backbone": (["training.freeze=encoder"], 2),
    "bottom layer": (["training.freeze={layers: 1}"], 1),
    "under private layers": (["training.freeze=encoder", "sharing.shared_layers=1"], 1),
    "with pcgrad": (["training.freeze={layers: 1}", "training.balancing=pcgrad"], 1),
    "with equal norms": (["training.freeze={layers: 1}", "training.balancing=equal-norm"], 1),
    "with gradnorm": (["training.freeze={layers: 1}", "training.balancing=gradnorm"], 1),
    "in small packs": (["training.freeze={layers: 1}", "training.max_tokens_per_pack=64"], 1),
    "in bf16, with tails": (["training.freeze={layers: 1}", "training.precision=bf16"], 1),
    "under adapters": (["training.freeze={layers: 1}", "lora={layers: [1]}"], 1),
}
LONG = ("training.steps=20", "training.tokens_per_step=160")


def losses_of(made: Plan) -> list[dict[str, float]]:
    losses = [dict(record.losses) for record in made.trainer.run(made.phases[0], 0, made.steps)]
    made.trainer.close()
    return losses


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYHEADS_CACHE", str(tmp_path / "cache"))


def calls(made: Plan, layer: int) -> list[int]:
    """Tokens that go through a layer, call by call."""
    seen: list[int] = []
    made.model.encoder.layer_modules()[layer].register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[-2]))
    return seen


@pytest.mark.long
@pytest.mark.parametrize("name", FROZEN)
def test_losses_of_twenty_steps_are_those_without_the_store(name: str, project: Path) -> None:
    overrides, layers = FROZEN[name]
    kept, computed = plan(project, *LONG, *overrides), plan(project, *LONG, *overrides, "training.frozen_store_gb=0")
    kept.trainer.prepare(kept.phases[0])
    assert frozen_layers(kept.model) == layers
    # Dropout of the layers above draws from the same generator, in the same order: nothing below draws.
    for one, two in zip(losses_of(kept), losses_of(computed), strict=True):
        assert one == pytest.approx(two, abs=1e-5)


def test_each_sequence_goes_through_the_frozen_layers_once_and_a_second_run_reads_them(project: Path) -> None:
    made = plan(project, *LONG, "training.freeze={layers: 1}")
    seen = calls(made, 0)
    losses = losses_of(made)
    store = next((project.parent / "cache" / "frozen").iterdir())
    distinct = {bytes(window.ids_L.tobytes() + window.type_L.tobytes()) for window in windows_of(made)}
    assert sum(seen) <= sum(len(name) // 8 for name in distinct), "the toy texts have two int32 a token"
    again = plan(project, *LONG, "training.freeze={layers: 1}")
    more = calls(again, 0)
    assert losses_of(again) == losses
    assert more == []
    assert len(list(store.glob("*.bin"))) == 1


def test_the_layers_above_see_whole_packs_whose_shapes_are_few(project: Path) -> None:
    made = plan(project, *LONG, "training.freeze={layers: 1}", "training.precision=bf16")
    seen = calls(made, 1)
    losses_of(made)
    assert seen == [pack.pack.tokens for step in range(made.steps) for pack in made.trainer.batcher.batch(step)]
    assert {tokens % 16 for tokens in seen} == {0}


def windows_of(made: Plan) -> list[object]:
    from manyheads.training.batch import encode_examples

    found = []
    for feed in made.trainer.batcher.feeds:
        examples = [feed.example(unit) for unit in range(len(feed.examples))]
        asked = encode_examples(feed.task, examples, made.tokenizer, max_length=made.max_length, budget=10**6)
        found += [window for sources in asked for source in sources for window in source]
    return found


def test_what_drops_out_or_trains_is_not_kept(project: Path) -> None:
    for overrides in (
        ["lora={}"],
        [],
        ["training.freeze={layers: [1]}"],
        ["sharing.layer_mix=true", "training.freeze=encoder"],
    ):
        made = plan(project, *LONG, *overrides)
        made.trainer.prepare(made.phases[0])
        assert frozen_layers(made.model) == 0, overrides
        assert made.trainer.gradients.passes.frozen is None


def test_a_phase_of_one_epoch_keeps_nothing(project: Path) -> None:
    made = plan(project, "training.steps=2", "training.tokens_per_step=160", "training.freeze=encoder")
    losses_of(made)
    assert not list((project.parent / "cache").rglob("*.bin"))


def test_past_the_bound_everything_still_trains_and_the_user_is_told_once(project: Path) -> None:
    made = plan(project, *LONG, "training.freeze=encoder", "training.frozen_store_gb=1.0e-5")
    losses = losses_of(made)
    assert [note for note in made.trainer.notes if "training.frozen_store_gb" in note] == made.trainer.notes
    assert len(made.trainer.notes) == 1
    computed = plan(project, *LONG, "training.freeze=encoder", "training.frozen_store_gb=0")
    for one, two in zip(losses, losses_of(computed), strict=True):
        assert one == pytest.approx(two, abs=1e-5)


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = still(project, *LONG, "training.freeze=encoder")
    (project.parent / "a-file").write_text("")
    monkeypatch.setenv("MANYHEADS_CACHE", str(project.parent / "a-file"))
    assert len(losses_of(made)) == 20


def test_a_thawed_phase_leaves_the_store(project: Path) -> None:
    made = plan(project, *LONG, "training.phases=heads-then-all")
    first, second = made.phases
    list(made.trainer.run(first, 0, first.steps))
    made.trainer.prepare(second)
    assert made.trainer.gradients.passes.frozen is None
    with torch.no_grad():
        assert frozen_layers(made.model) == 0
