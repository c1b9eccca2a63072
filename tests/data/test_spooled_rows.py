"""Rows of iterators are kept in a file, read with the memory of one, and leave nothing behind."""

from __future__ import annotations

import copy
import gc
import pickle
import tracemalloc

import numpy as np
import pytest

from manyheads.data.build import build_table
from manyheads.data.python_rows import PythonRows, PythonSource
from manyheads.data.spooled_rows import SpooledRows
from manyheads.errors import DataError
from manyheads.tasks import TASK_TYPES

ROWS = [{"text": f"text {i} \ud800 ü", "label": "AB"[i % 2], "scores": [0.1, i]} for i in range(50)]


def test_a_generator_gives_the_rows_and_the_name_of_a_list(cache):
    spooled = PythonRows(dict(row) for row in ROWS)
    assert isinstance(spooled.rows, SpooledRows)
    assert list(spooled.rows) == list(spooled.rows) == ROWS
    assert spooled.name == PythonRows(ROWS).name
    assert len(spooled) == 50


def test_the_file_ends_with_the_rows_and_copies_share_it(cache):
    spooled = PythonRows(iter(ROWS))
    (file,) = cache.iterdir()
    copied, sent = copy.deepcopy(spooled), pickle.loads(pickle.dumps(spooled))
    del spooled, sent
    gc.collect()
    assert list(copied.rows) == ROWS
    del copied
    gc.collect()
    assert not file.exists()


def test_a_generator_that_fails_leaves_no_file(cache):
    def rows():
        yield ROWS[0]
        raise LookupError("the database is gone")

    with pytest.raises(LookupError):
        PythonRows(rows())
    with pytest.raises(DataError, match=r"rows\[1\] is of type tuple"):
        PythonRows(iter([ROWS[0], ("a", "b")]))
    assert list(cache.iterdir()) == []


def test_arrays_are_lists_and_other_objects_are_no_text(cache):
    spooled = PythonRows(iter([{"text": "a", "label": "x", "made": object(), "v": [np.float32(0.5)]}]))
    (row,) = spooled.rows
    assert row["v"] == [0.5]
    task = TASK_TYPES["text-classification"](name="t")
    assert len(build_table(task, PythonSource(spooled), "train", cache=cache)[0]) == 1
    wrong = PythonSource(PythonRows(iter([{"text": object(), "label": "x"}])))
    with pytest.raises(DataError, match=r"rows\[0\]: 'text' must be a string"):
        build_table(task, wrong, "train", cache=cache)


def test_memory_does_not_grow_with_the_rows(cache):
    def peak(count: int) -> int:
        tracemalloc.start()
        spooled = PythonRows({"text": f"{i} " * 50, "label": "x"} for i in range(count))
        assert sum(1 for _ in spooled.rows) == count
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(20_000) < 2 * peak(200) + 100_000
