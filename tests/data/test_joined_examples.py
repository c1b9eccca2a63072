"""Rows that are drawn as one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from manyheads.data.joined_examples import join_examples, not_joined

SPECIALS = 2
rows_of = st.lists(
    st.tuples(st.integers(SPECIALS + 1, 40), st.integers(0, 3)).map(
        lambda pair: (pair[0], ("", "a", "b", "b")[pair[1]])
    ),
    min_size=1,
)


@given(rows_of, st.floats(0, 1), st.integers(8, 64), st.integers(0, 5))
def test_units_part_the_rows_keep_to_documents_and_to_the_room(rows, share, room, seed):
    lengths_N = np.array([length for length, _ in rows], np.int64)
    documents = [document for _, document in rows]
    units = join_examples(lengths_N, documents, share, room=room, specials=SPECIALS, seed=seed, name="ner")
    held = [list(units.rows(i)) for i in range(len(units))]
    assert [row for unit in held for row in unit] == list(range(len(rows)))
    tokens = units.lengths(lengths_N, SPECIALS)
    for unit, size in zip(held, tokens.tolist(), strict=True):
        assert size == sum(rows[row][0] - SPECIALS for row in unit) + SPECIALS
        assert len({documents[row] for row in unit}) == 1
        assert size <= room or len(unit) == 1


def test_the_share_is_kept_and_joined_units_are_full():
    lengths_N = np.full(60_000, 12, np.int64)
    for share in (0.0, 0.25, 0.5, 1.0):
        units = join_examples(lengths_N, ["a"] * len(lengths_N), share, room=64, specials=SPECIALS, seed=1, name="ner")
        counts = np.diff(units.first_N)
        assert set(counts.tolist()) <= {1, 6}  # 6 times 10 tokens and 2
        assert abs(counts[counts > 1].sum() / len(lengths_N) - share) < 0.02


def test_the_same_rows_are_joined_each_time_and_others_for_another_seed_or_name():
    lengths_N = np.full(600, 12, np.int64)

    def firsts(seed, name):
        units = join_examples(lengths_N, ["a"] * 600, 0.5, room=64, specials=SPECIALS, seed=seed, name=name)
        return units.first_N.tolist()

    assert firsts(0, "ner") == firsts(0, "ner") != firsts(1, "ner")
    assert firsts(0, "ner") != firsts(0, "other")


def test_alone_is_every_row_by_itself():
    units = not_joined(3)
    assert [list(units.rows(i)) for i in range(len(units))] == [[0], [1], [2]]
    assert units.lengths(np.array([5, 6, 7]), SPECIALS).tolist() == [5, 6, 7]
