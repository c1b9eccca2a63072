"""Batches are pure functions of the step; together they show every example once an epoch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manyheads.data.sampler import ConstantSampler
from manyheads.data.stream import Stream
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import Facts
from manyheads.text.tokenizer import Tokenizer
from manyheads.training.batches import Batcher, Feed, prefetched
from toys import SENTENCES


def feeds(tokenizer: Tokenizer) -> list[Feed]:
    made = []
    for name, label in (("one", "a"), ("two", "b")):
        task: Any = TASK_TYPES["text-classification"](name=name)
        table = [task.read({"text": text, "label": label if i % 2 else "z"}) for i, text in enumerate(SENTENCES)]
        task = task.fitted(sum((task.facts(example) for example in table), Facts()))
        lengths = [sum(map(len, windows)) for windows in tokenizer.encode([task.asks(e)[0].source for e in table], 64)]
        made.append(Feed(task, table, Stream(np.array(lengths), 0, name)))  # type: ignore[arg-type]
    return made


@pytest.fixture
def batcher(toy_encoder: Path) -> Batcher:
    tokenizer = Tokenizer.load(toy_encoder)
    made = feeds(tokenizer)
    sampler = ConstantSampler({feed.task.name: feed.stream.tokens_per_epoch for feed in made}, 40)
    return Batcher(made, sampler, tokenizer, max_length=64, budget=64)


def test_a_batch_depends_on_its_step_alone(batcher: Batcher) -> None:
    forward = [batcher.batch(step) for step in range(6)]
    for step in reversed(range(6)):
        again, first = batcher.batch(step), forward[step]
        assert again is not None
        assert first is not None
        assert again.pack.ids_T.tolist() == first.pack.ids_T.tolist()
        assert again.reads == first.reads


def test_tasks_read_their_own_stretch_of_the_pack(batcher: Batcher) -> None:
    batch = batcher.batch(0)
    assert batch is not None
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


def test_prefetching_changes_nothing_and_hands_errors_on(batcher: Batcher) -> None:
    ahead = [batch.pack.ids_T.tolist() for batch in prefetched(batcher, 2, 7) if batch is not None]
    assert ahead == [batch.pack.ids_T.tolist() for step in range(2, 7) if (batch := batcher.batch(step)) is not None]

    def broken(step: int) -> None:
        raise OSError("the disk has gone")

    batcher.batch = broken  # type: ignore[method-assign,assignment]
    with pytest.raises(OSError, match="the disk has gone"):
        list(prefetched(batcher, 0, 3))
