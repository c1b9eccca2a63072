"""Batches are pure functions of the step; together they show every example once an epoch, in packs of any size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manyheads.data.joined_examples import not_joined
from manyheads.data.sampler import build_sampler
from manyheads.data.stream import Stream
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import DataStatistics
from manyheads.text.tokenizer import Tokenizer
from manyheads.training.batch import Batch
from manyheads.training.batches import Batcher, prefetched
from manyheads.training.feed import Feed
from toys import SENTENCES


def feeds(tokenizer: Tokenizer) -> list[Feed]:
    made = []
    for name, label in (("one", "a"), ("two", "b")):
        task: Any = TASK_TYPES["text-classification"](name=name)
        table = [task.read({"text": text, "label": label if i % 2 else "z"}) for i, text in enumerate(SENTENCES)]
        task = task.fit(sum((task.collect(example) for example in table), DataStatistics()))
        lengths = [sum(map(len, windows)) for windows in tokenizer.encode([task.sources_of_example(e)[0].source for e in table], 64)]
        made.append(Feed(task, table, Stream(np.array(lengths), 0, name), not_joined(len(lengths))))  # type: ignore[arg-type]
    return made


def batcher_of(toy_encoder: Path, per_step: int, max_tokens: int | None = None, one_task: bool = False) -> Batcher:
    tokenizer = Tokenizer.load(toy_encoder)
    made = feeds(tokenizer)
    tokens = {feed.task.name: feed.stream.tokens_per_epoch for feed in made}
    sampler = build_sampler("temperature", tokens, per_step, steps=100)
    return Batcher(made, sampler, tokenizer, max_length=64, budget=64, max_tokens=max_tokens, one_task=one_task)


@pytest.fixture
def batcher(toy_encoder: Path) -> Batcher:
    return batcher_of(toy_encoder, 40)


def ids_of(batches: Sequence[Batch]) -> list[list[int]]:
    return [batch.pack.ids_T.tolist() for batch in batches]


def sequences(batches: Sequence[Batch], task: str) -> list[list[int]]:
    """The texts of a task, in order."""
    found = []
    for batch in batches:
        slices = list(batch.pack.segments.slices())
        for i in range(*batch.reads.get(task, (0, 0))):
            found.append(batch.pack.ids_T[slices[i]].tolist())
    return found


def test_a_batch_depends_on_its_step_alone(batcher: Batcher) -> None:
    forward = [batcher.batch(step) for step in range(6)]
    for step in reversed(range(6)):
        again, first = batcher.batch(step), forward[step]
        assert ids_of(again) == ids_of(first)
        assert [batch.reads for batch in again] == [batch.reads for batch in first]


def test_tasks_read_their_own_stretch_of_the_pack(batcher: Batcher) -> None:
    [batch] = batcher.batch(0)
    ends = [batch.reads[name] for name in ("one", "two")]
    assert ends[0][1] == ends[1][0]
    assert ends[1][1] == len(batch.pack.segments)
    assert batch.pack.tokens == sum(batch.tokens.values())


def test_an_epoch_shows_every_example_once(batcher: Batcher) -> None:
    seen: Counter[int] = Counter()
    feed, step = batcher.feeds[0], 0
    while sum(seen.values()) < len(SENTENCES):
        quota = batcher.sampler.quota
        seen.update(feed.stream.between(quota("one", step), quota("one", step + 1)))
        step += 1
    assert all(count <= 2 for count in seen.values())
    assert len(seen) >= len(SENTENCES) - 1


@pytest.mark.parametrize("one_task", [False, True])
@pytest.mark.parametrize("limit", [None, 1, 15, 24, 40, 60, 1000])
def test_packs_hold_what_the_step_holds_in_order_and_keep_to_their_limit(
    toy_encoder: Path, limit: int | None, one_task: bool
) -> None:
    whole = batcher_of(toy_encoder, 120)
    divided = batcher_of(toy_encoder, 120, limit, one_task)
    for step in range(5):
        [batch], packs = whole.batch(step), divided.batch(step)
        for task in ("one", "two"):
            assert sequences(packs, task) == sequences([batch], task)
            assert sum(pack.denominators.get(task, 0) for pack in packs) == pytest.approx(batch.denominators[task])
            assert sum(pack.tokens.get(task, 0) for pack in packs) == batch.tokens[task]
            if limit and batch.tokens[task] <= limit:
                assert sum(task in pack.reads for pack in packs) == 1, "what fits into one pack is not cut"
        for pack in packs:
            assert limit is None or pack.pack.tokens <= limit or len(pack.pack.segments) == 1
            assert set(pack.reads) == set(pack.targets) == set(pack.tokens) == set(pack.denominators)
            assert not one_task or len(pack.reads) == 1
        assert limit is not None or len(packs) == (2 if one_task else 1)


def test_a_lower_limit_can_be_asked_for_one_step(toy_encoder: Path) -> None:
    batcher = batcher_of(toy_encoder, 120, 60)
    assert ids_of(batcher.packed(batcher.draw(0), 30)) == ids_of(batcher_of(toy_encoder, 120, 30).batch(0))
    assert ids_of(batcher.packed(batcher.draw(0), 90)) == ids_of(batcher.batch(0)), "the batcher's own limit stays in force"


def test_a_step_shorter_than_every_next_example_has_no_pack(toy_encoder: Path) -> None:
    batcher = batcher_of(toy_encoder, 2)
    assert not all(batcher.batch(step) for step in range(10))


def test_prefetching_changes_nothing_and_hands_errors_on(batcher: Batcher) -> None:
    ahead = [ids_of(batches) for batches in prefetched(batcher, 2, 7)]
    assert ahead == [ids_of(batcher.batch(step)) for step in range(2, 7)]

    def broken(step: int) -> list[Batch]:
        raise OSError("the disk has gone")

    batcher.batch = broken  # type: ignore[method-assign,assignment]
    with pytest.raises(OSError, match="the disk has gone"):
        list(prefetched(batcher, 0, 3))
