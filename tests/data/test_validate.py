"""The report of a data set: counts, percentiles, warnings, and the errors that it would be folly to train on."""

from __future__ import annotations

import json

import numpy as np
import pytest

from manyheads.data.build import build_table
from manyheads.data.readers import Files
from manyheads.data.validate import examine, measure, overview
from manyheads.data.warnings import Loaded
from manyheads.text.pack import Source


def window_lengths(sources: list[Source]) -> list[list[int]]:
    """A word a token, windows of at most four."""
    assert len(sources) <= 1000
    counts = [len(source.first.split()) + len((source.second or "").split()) for source in sources]
    return [[min(4, count - start) for start in range(0, count, 4)] for count in counts]


@pytest.fixture
def loaded(write, texts):
    train = [{"text": "one two", "label": "A"}, {"text": "a b c d e f", "label": "B"}, {"text": "x", "label": "A"}]
    train += [{"text": "y", "targets": {"other": 1}}, {"text": "a b c d e f g h i", "label": "B"}]
    held = [{"text": "one two", "label": "B"}, {"text": "three", "label": "A"}]
    fitted, splits = texts, {}
    for split, rows in (("train", train), ("validation", held)):
        path = write(f"{split}.jsonl", "\n".join(map(json.dumps, rows)))
        table, report = build_table(fitted, Files((path,)), split)
        fitted = texts.fit(report.statistics) if split == "train" else fitted
        splits[split] = Loaded(table.with_task(fitted), report)
    return splits


def test_measuring_counts_tokens_and_windows_of_any_number_of_examples(write, texts):
    path = write("a.jsonl", "\n".join(json.dumps({"text": "w " * (i % 9 + 1), "label": "A"}) for i in range(2500)))
    measured = measure(build_table(texts, Files((path,)), "train")[0], window_lengths)
    assert measured.tokens_N.tolist() == [i % 9 + 1 for i in range(2500)]
    assert measured.windows_N.tolist() == [i % 9 // 4 + 1 for i in range(2500)]


def test_the_report_of_a_split_reads_as_a_table(loaded):
    measured = {split: measure(part.table, window_lengths) for split, part in loaded.items()}
    train, held = examine(loaded, measured, windows_trained=2)
    assert train.lines() == [
        "section · train",
        "  format     JSON lines",
        "  rows read  5",
        "  used       4",
        "  truncated  1  too long for a step, read up to its limit",
        "  windowed   2  longer than the encoder, read in overlapping windows",
        "  skipped    1  no target 'section', the first at train.jsonl:4",
        "  tokens     p50 6 · p90 9 · p99 9 · max 9",
        "  labels     A 2 · B 2",
    ]
    assert held.lines()[-1] == (
        "  warning    1 of 2 examples have the same text as one of train, the first at validation.jsonl:1; "
        "they inflate the scores"
    )
    assert held.truncated == 0
    assert overview([train, held]) == [
        "task     split       rows  used  truncated  windowed  skipped  labels  p50  p90  p99  max",
        "section  train          5     4          1         2        1       2    6    9    9    9",
        "section  validation     2     2          0         0        0       2    2    2    2    2",
    ]
    assert json.loads(json.dumps(train.to_json())) == {
        "task": "section", "split": "train", "rows": 5, "used": 4, "truncated": 1, "windowed": 2,
        "labels": {"A": 2, "B": 2}, "tokens": {"p50": 6, "p90": 9, "p99": 9, "max": 9},
        "skipped": {"no target 'section'": {"count": 1, "first": "train.jsonl:4"}}, "warnings": [],
        "left_out": {}, "formats": ["JSON lines"],
    }  # fmt: skip


def test_many_labels_are_cut_in_print_and_whole_in_json(write, texts):
    path = write("a.jsonl", "\n".join(json.dumps({"text": f"{i}", "label": f"L{i:03}"}) for i in range(150)))
    table, report = build_table(texts, Files((path,)), "train")
    (made,) = examine({"train": Loaded(table, report)}, {"train": measure(table, window_lengths)})
    assert made.lines()[-1].endswith("L019 1 · and 130 more")
    assert len(made.to_json()["labels"]) == 150


def test_a_listed_label_without_an_example_is_a_warning(loaded):
    table, report = loaded["train"].table, loaded["train"].report
    listed = Loaded(table.with_task(type(table.task)(name="section", labels=("A", "B", "C"))), report)
    (made,) = examine({"train": listed}, {"train": measure(table, window_lengths)})
    assert made.warnings == (
        "task 'section' does not learn 1 label that no training row has: 'C'; add rows with it, or leave it out",
    )


def test_measures_are_what_a_stream_takes(loaded):
    from manyheads.data.stream import Stream

    tokens_N = measure(loaded["train"].table, window_lengths).tokens_N
    assert tokens_N.dtype == np.int32
    assert Stream(tokens_N, 0, "section").tokens_per_epoch == 18
