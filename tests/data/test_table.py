"""Tables of examples: what of them is refused, clusters, and counts of a selection."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from datafiles import jsonl, labelled
from manyheads.data.build import build_table
from manyheads.data.readers import Files
from manyheads.errors import DataError
from manyheads.tasks.base import DataStatistics


def test_a_label_that_training_never_shows_is_told_with_place_and_neighbour(write, words, texts):
    known = dataclasses.replace(words, labels=("Chemical", "Disease"))
    path = write("dev.tsv", "He\tO\ntook\tO\nvery\tB-Chemcial\nmuch\tI-Chemcial\n\naspirin\tB-Chemical\n")
    table, _ = build_table(known, Files((path,)), "validation")
    with pytest.raises(DataError) as caught:
        table.check()
    assert str(caught.value) == (
        "dev.tsv:3: label 'Chemcial' is not among the labels of the task, which are Chemical, Disease; did you mean "
        "'Chemical'? add it to tasks.entities.labels, or leave 'labels' out, so that all labels of the data count"
    )
    table.check(trains=False)  # other data may hold it: a miss
    table, _ = build_table(texts, Files((write("dev.jsonl", labelled(60)),)), "validation")
    with pytest.raises(DataError) as caught:
        table.with_task(texts.fit(DataStatistics({"A": 1}))).check()
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("dev.jsonl:2: label 'B' is not among the labels of the task, which are A; add it to")
    assert len(lines) == 21


def test_questions_are_clustered_by_article_and_long_names_are_hashed(write, questions):
    rows = [{"question": "?", "context": "long " * 30, "title": title, "answers": []} for title in ("Paris", "", "")]
    table, report = build_table(questions, Files((write("a.jsonl", jsonl(*rows)),)), "train")
    clusters = table.clusters()
    assert clusters[0] == "Paris"
    assert clusters[1] == clusters[2]
    assert len(clusters[1]) == 32
    assert report.statistics.labels == {"unanswerable": 3}


def test_a_survey_counts_a_part_as_reading_counts_the_whole(write, texts):
    path = write("a.jsonl", labelled(50, "ABC"))
    table, report = build_table(texts, Files((path,)), "train")
    assert dataclasses.replace(table.survey(), formats=report.formats) == report
    assert table.take(np.array([1, 4])).survey().statistics.labels == {"B": 2}
    assert table.take(np.array([1, 4])).survey().places == {"B": "a.jsonl:2"}
