"""Steps whose packs have a tail give the losses, gradients and records of those without."""

from __future__ import annotations

from pathlib import Path

import pytest

from manyheads.text.pack import STEADY
from manyheads.training.plan import Plan
from plans import assert_equal, stepped, still

WEIGHTED = ("tasks.section.weight=3", "tasks.answers.weight=0.5")
BRANCHED = "sharing.shared_layers=1"


def steady(made: Plan, multiple: int) -> Plan:
    """The plan, with packs of a multiple of tokens."""
    made.trainer.batcher.multiple = multiple
    return made


@pytest.mark.parametrize("packs", [(), ("training.max_tokens_per_pack=96",)], ids=["one pack", "small packs"])
@pytest.mark.parametrize("model", [(), (BRANCHED,), ("sharing.layer_mix=true",)], ids=["shared", "branched", "mixed"])
@pytest.mark.parametrize("method", ["static", "gradnorm", "pcgrad"])
def test_no_figure_of_a_step_depends_on_the_tail(
    project: Path, method: str, model: tuple[str, ...], packs: tuple[str, ...]
) -> None:
    options = (*WEIGHTED, *model, *packs, f"training.balancing={method}")
    plain, record = stepped(still(project, *options))
    made = steady(still(project, *options), 48)
    found, steady_record = stepped(made)
    assert_equal(found, plain, tolerance=1e-6)
    assert steady_record.losses == pytest.approx(record.losses, rel=1e-6, abs=1e-6)
    assert steady_record.gradient_norm == pytest.approx(record.gradient_norm, rel=1e-5)
    assert sum(steady_record.tokens.values()) == sum(batch.tokens[name] for batch in made.trainer.batcher.batch(0)
                                                     for name in batch.tokens)  # fmt: skip
    if not packs:
        assert steady_record.tokens == record.tokens


@pytest.mark.parametrize("limit", [None, 96, 100])
def test_packs_are_steady_and_keep_to_their_limit_with_their_tail(project: Path, limit: int | None) -> None:
    made = steady(still(project), 48)
    made.trainer.batcher.max_tokens = limit
    tails = 0
    for step in range(5):
        for batch in made.trainer.batcher.batch(step):
            assert batch.pack.tokens % 48 == 0
            assert limit is None or batch.pack.tokens <= limit
            read = max(stop for _, stop in batch.reads.values())
            lengths = batch.pack.segments.lengths
            assert sum(lengths[:read]) == sum(batch.tokens.values())
            assert sum(lengths[read:]) < 48
            tails += len(lengths) - read
    assert tails


def test_packs_that_must_be_smaller_than_the_multiple_have_no_tail(project: Path) -> None:
    made = steady(still(project), STEADY)
    for batch in made.trainer.batcher.packed(made.trainer.batcher.draw(0), 60):
        assert batch.pack.tokens == sum(batch.tokens.values())


def test_twenty_steps_with_and_without_a_tail_have_the_same_losses(project: Path) -> None:
    one, two = still(project), steady(still(project), 64)
    records = [list(made.trainer.run(made.phases[0], 0, 20)) for made in (one, two)]
    for plain, other in zip(*records, strict=True):
        assert other.losses == pytest.approx(plain.losses, rel=1e-5, abs=1e-5)
