"""The store of frozen layers' outputs: reads back what was written, survives damage and company, keeps its bound."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from manyheads.nn.pretrained import load_encoder
from manyheads.text.pack import Pack, Segments
from manyheads.training.frozen_store import KEPT_S, LEFT_S, FrozenStore, digests_of, layers_key, open_store

WIDTH = 8


def states(count: int, seed: int = 0) -> tuple[list[bytes], torch.Tensor, list[int]]:
    generator = np.random.default_rng(seed)
    lengths = [int(n) for n in generator.integers(1, 9, count)]
    hidden = torch.from_numpy(generator.normal(size=(sum(lengths), WIDTH)).astype(np.float32))
    return [generator.bytes(16) for _ in range(count)], hidden, lengths


def pack_of(rows: list[list[int]], types: list[list[int]] | None = None) -> Pack:
    flat = torch.tensor([i for row in rows for i in row])
    kinds = torch.tensor([i for row in types or [[0] * len(row) for row in rows] for i in row])
    places = torch.tensor([i for row in rows for i in range(len(row))])
    return Pack(flat, places, kinds, Segments.of([len(row) for row in rows]))


def test_what_is_written_is_read_in_any_order_and_by_the_next_run(tmp_path: Path) -> None:
    names, hidden, lengths = states(30)
    store = FrozenStore(tmp_path, WIDTH, 1 << 20)
    assert store.known(names) == [False] * 30
    store.write(names, hidden, lengths)
    parts = dict(zip(names, hidden.split(lengths), strict=True))
    order = names[::-1][:7] + names[3:5]
    assert torch.equal(store.read(order), torch.cat([parts[name] for name in order]))
    store.close()
    again = FrozenStore(tmp_path, WIDTH, 1 << 20)
    assert all(again.known(names))
    assert torch.equal(again.read(names), hidden)


def test_two_runs_share_a_folder_and_neither_reads_what_the_other_has_not_published(tmp_path: Path) -> None:
    names, hidden, lengths = states(4)
    others, more, sizes = states(5, seed=1)
    one, two = FrozenStore(tmp_path, WIDTH, 1 << 20), FrozenStore(tmp_path, WIDTH, 1 << 20)
    one.write(names, hidden, lengths)
    two.write(others, more, sizes)
    assert not any(FrozenStore(tmp_path, WIDTH, 1 << 20).known([*names, *others])), "nothing is published yet"
    one.flush()
    two.flush()
    third = FrozenStore(tmp_path, WIDTH, 1 << 20)
    assert torch.equal(third.read([*others, *names]), torch.cat([more, hidden]))


def test_the_bound_counts_what_other_runs_wrote_and_is_kept(tmp_path: Path) -> None:
    names, hidden, lengths = states(50)
    store = FrozenStore(tmp_path, WIDTH, sum(lengths[:20]) * WIDTH * 4)
    store.write(names, hidden, lengths)
    assert store.full
    assert store.known(names) == [i < 20 for i in range(50)]
    store.close()
    again = FrozenStore(tmp_path, WIDTH, sum(lengths[:20]) * WIDTH * 4)
    again.write(names[20:], hidden[sum(lengths[:20]) :], lengths[20:])
    assert again.full
    assert len(again) == 20


@pytest.mark.parametrize("damage", ["index", "cut", "places", "width", "no segment"])
def test_a_damaged_segment_is_computed_again_instead_of_read(tmp_path: Path, damage: str) -> None:
    names, hidden, lengths = states(5)
    store = FrozenStore(tmp_path, WIDTH, 1 << 20)
    store.write(names, hidden, lengths)
    store.close()
    (index,), (segment,) = tmp_path.glob("*.json"), tmp_path.glob("*.bin")
    facts = json.loads(index.read_text())
    if damage == "index":
        index.write_text(index.read_text()[:40])
    elif damage == "cut":
        os.truncate(segment, segment.stat().st_size - 1)
    elif damage == "places":
        facts["sequences"][names[0].hex()] = [10**9, 4]
        index.write_text(json.dumps(facts))
    elif damage == "width":
        index.write_text(json.dumps({**facts, "width": WIDTH + 1}))
    else:
        segment.unlink()
    again = FrozenStore(tmp_path, WIDTH, 1 << 20)
    assert not any(again.known(names))
    again.write(names, hidden, lengths)
    assert torch.equal(again.read(names), hidden)


def test_a_file_that_is_cut_off_while_open_is_an_error_and_not_other_numbers(tmp_path: Path) -> None:
    names, hidden, lengths = states(5)
    store = FrozenStore(tmp_path, WIDTH, 1 << 20)
    store.write(names, hidden, lengths)
    os.truncate(next(tmp_path.glob("*.bin")), 10)
    with pytest.raises(OSError, match="is truncated"):
        store.read(names)


def test_what_a_killed_run_left_goes_after_a_day(tmp_path: Path) -> None:
    names, hidden, lengths = states(3)
    FrozenStore(tmp_path, WIDTH, 1 << 20).write(names, hidden, lengths)
    (left,) = tmp_path.glob("*.bin")
    FrozenStore(tmp_path, WIDTH, 1 << 20)
    assert left.exists(), "it may belong to a run that is going on"
    os.utime(left, (0, time.time() - LEFT_S - 60))
    FrozenStore(tmp_path, WIDTH, 1 << 20)
    assert not left.exists()


def test_sequences_are_known_by_ids_and_types() -> None:
    one = digests_of(pack_of([[1, 2, 3], [4], [1, 2, 3], [1, 2, 3]], [[0, 0, 0], [0], [0, 0, 0], [0, 0, 1]]))
    assert one[0] == one[2]
    assert len(set(one)) == 3
    assert digests_of(pack_of([[1, 2], [3]])) != digests_of(pack_of([[1], [2, 3]]))


def test_the_key_names_the_layers_below_and_nothing_above(toy_encoder: Path) -> None:
    encoder, other = load_encoder(str(toy_encoder)), load_encoder(str(toy_encoder))
    assert layers_key(encoder, 1) == layers_key(other, 1)
    assert layers_key(encoder, 1) != layers_key(encoder, 2)
    with torch.no_grad():
        next(other.layer_modules()[1].parameters()).add_(1.0)
    assert layers_key(encoder, 1) == layers_key(other, 1)
    assert layers_key(encoder, 2) != layers_key(other, 2)
    with torch.no_grad():
        next(other.embedding_module().parameters()).add_(1.0)
    assert layers_key(encoder, 1) != layers_key(other, 1)


def test_folders_that_no_run_used_for_a_month_go(toy_encoder: Path, tmp_path: Path) -> None:
    encoder = load_encoder(str(toy_encoder))
    open_store(tmp_path, encoder, 1, "float32", 1 << 20).close()
    (old,) = (tmp_path / "frozen").iterdir()
    os.utime(old, (0, time.time() - KEPT_S - 60))
    open_store(tmp_path, encoder, 2, "float32", 1 << 20).close()
    assert not old.exists()
