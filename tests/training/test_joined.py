"""Sentences that are joined in training: their words and tags, their tokens, and whole rows in each epoch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manyheads.data.joined_examples import join_examples
from manyheads.data.sampler import build_sampler
from manyheads.data.stream import Stream
from manyheads.tasks.base import DataStatistics
from manyheads.tasks.token_classification import TokenClassification
from manyheads.text.entities import EntityExample
from manyheads.text.pack import Source
from manyheads.text.tokenizer import Tokenizer
from manyheads.training.batch import encode_examples
from manyheads.training.batches import Batcher
from manyheads.training.distributed.team import Team
from manyheads.training.feed import Feed
from toys import SENTENCES

ROOM = 48


def batcher_of(toy_encoder: Path, share: float, team: Team | None = None) -> Batcher:
    tokenizer = Tokenizer.load(toy_encoder)
    task = TokenClassification(name="ner", join_sentences=share)
    table: list[EntityExample] = []
    for i, text in enumerate(SENTENCES):
        words = text.split()
        tags = ["O"] * len(words)
        tags[i % len(words)] = "B-A" if i % 2 else "B-B"
        table.append(task.read({"tokens": words, "tags": tags}))
    task = task.fit(sum((task.collect(example) for example in table), DataStatistics()))
    lengths = np.array(
        [sum(map(len, w)) for w in tokenizer.encode([task.sources_of_example(e)[0].source for e in table], 64)], np.int64
    )
    specials = int(sum(tokenizer.lengths([Source("")], 64)[0]))
    units = join_examples(lengths, ["a"] * len(table), share, room=ROOM, specials=specials, seed=0, name="ner")
    feed: Any = Feed(task, table, Stream(units.lengths(lengths, specials), 0, "ner"), units)  # type: ignore[arg-type]
    sampler = build_sampler("proportional", {"ner": feed.stream.tokens_per_epoch}, 100, steps=1000)
    return Batcher([feed], sampler, tokenizer, max_length=64, budget=64, **({"team": team} if team else {}))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_tokens_are_what_was_counted_and_rows_come_once_an_epoch(toy_encoder: Path, share: float) -> None:
    batcher = batcher_of(toy_encoder, share)
    [feed] = batcher.feeds
    seen: Counter[int] = Counter()
    for step in range(-(-feed.stream.tokens_per_epoch // 100)):
        assert sum(batch.tokens["ner"] for batch in batcher.batch(step)) == batcher.draw(step).tokens.get("ner", 0)
        seen.update(batcher.draw(step).rows.get("ner", []))
    assert set(seen) == set(range(len(SENTENCES)))
    assert set(seen.values()) <= {1, 2}  # the last step reaches into the second epoch
    if share == 1.0:
        assert len(feed.examples) < len(SENTENCES)


def test_a_joined_unit_has_the_words_and_tags_of_its_sentences(toy_encoder: Path) -> None:
    batcher = batcher_of(toy_encoder, 1.0)
    [feed] = batcher.feeds
    for unit in range(len(feed.examples)):
        rows = [feed.table[row] for row in feed.examples.rows(unit)]
        whole = feed.example(unit)
        assert [whole.text[a:b] for a, b, _ in whole.spans] == [e.text[a:b] for e in rows for a, b, _ in e.spans]
        tags = []
        for examples in (rows, [whole]):
            encoded = encode_examples(feed.task, examples, batcher.tokenizer, max_length=64, budget=64)
            targets = feed.task.targets(examples, encoded)
            tags.append(targets["tag_PN"][:, 0].tolist())
        assert tags[0] == tags[1]
        assert targets["words_S"].tolist() == [len(tags[1])]


def test_two_processes_share_out_the_units_of_one(toy_encoder: Path) -> None:
    alone = batcher_of(toy_encoder, 0.5)
    parts = [batcher_of(toy_encoder, 0.5, Team(rank, 2)) for rank in range(2)]
    for step in range(4):
        whole = Counter(texts(alone, step))
        assert whole == Counter(text for part in parts for text in texts(part, step))


def texts(batcher: Batcher, step: int) -> list[tuple[int, ...]]:
    found = []
    for batch in batcher.batch(step):
        found += [tuple(batch.pack.ids_T[where].tolist()) for where in batch.pack.segments.slices()]
    return found
