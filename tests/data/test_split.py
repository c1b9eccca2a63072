"""How a validation part is divided from train."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datafiles import jsonl
from manyheads.data.build import build_table
from manyheads.data.readers import Files
from manyheads.data.split import split_table
from manyheads.errors import DataError
from manyheads.tasks.question_answering import QuestionAnswering


def parts_of(table, fraction=0.2, seed=0):
    return [{example["text"] for example in part} for part in split_table(table, fraction, seed)[:2]]


def test_the_split_does_not_depend_on_order_and_keeps_equal_texts_together(write, texts):
    lines = [json.dumps({"text": f"text {i % 400}", "label": "AB"[i % 2]}) for i in range(500)]
    table, _ = build_table(texts, Files((write("a.jsonl", "\n".join(lines)),)), "train")
    shuffled, _ = build_table(
        texts, Files((write("b.jsonl", "\n".join(random.Random(1).sample(lines, 500))),)), "train"
    )
    train, held = parts_of(table)
    assert not train & held
    assert 50 < len(held) < 115
    assert parts_of(shuffled) == [train, held]
    assert parts_of(table, seed=1)[1] != held
    assert sum(map(len, split_table(table, 0.2, 0)[:2])) == 500


def test_documents_are_not_torn(write, texts):
    rows = ({"text": f"text {i}", "label": "AB"[i % 2], "document": f"d{i // 10}"} for i in range(300))
    table, _ = build_table(texts, Files((write("a.jsonl", jsonl(*rows)),)), "train")
    train, held, _ = split_table(table, 0.3, 0)
    assert not set(train.clusters()) & set(held.clusters())
    assert len(held) % 10 == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.lists(st.sampled_from("ABCD"), min_size=4, max_size=30), st.integers(0, 100), st.floats(0, 1))
def test_train_keeps_every_label_and_no_part_is_empty(write, texts, labels, seed, fraction):
    rows = ({"text": f"text {i}", "label": label} for i, label in enumerate(labels))
    table, _ = build_table(texts, Files((write("a.jsonl", jsonl(*rows)),)), "train")
    if len(set(labels)) == len(labels):
        with pytest.raises(DataError, match="too little data for a validation split"):
            split_table(table, fraction, seed)
        return
    train, held, _ = split_table(table, fraction, seed)
    assert set(train.survey().statistics.labels) == set(labels)
    assert len(train) + len(held) == len(labels)
    assert len(held) > 0


def test_one_document_for_the_whole_file_is_divided_by_its_texts_and_that_is_told(write, texts):
    path = write("a.jsonl", jsonl(*({"text": f"{i}", "label": "AB"[i % 2], "document": "d"} for i in range(40))))
    parts = split_table(build_table(texts, Files((path,)), "train")[0], 0.2, 0)
    assert len(parts.train) + len(parts.validation) == 40
    assert 0 < len(parts.validation) < 20
    assert parts.notes == (
        "a.jsonl:1: the data names 1 document, which cannot be divided into train and validation; its passages or "
        "sentences are, so a document is on both sides: give a validation file for scores on new documents",
    )


def test_one_title_for_the_whole_file_is_divided_by_paragraphs(write):
    rows = [
        {"question": f"What {k}?", "context": f"paragraph {i}", "answers": [], "title": "all"}
        for i in range(20)
        for k in range(3)
    ]
    table, _ = build_table(QuestionAnswering(name="answers"), Files((write("a.jsonl", jsonl(*rows)),)), "train")
    parts = split_table(table, 0.2, 0)
    assert {e.context for e in parts.train}.isdisjoint(e.context for e in parts.validation)
    assert len(parts.validation) % 3 == 0
    assert "names 1 document" in parts.notes[0]


def test_a_few_large_documents_are_kept_whole_and_the_size_of_the_part_is_told(write, texts):
    rows = ({"text": f"text {i}", "label": "AB"[i // 2 % 2], "document": f"d{i % 2}"} for i in range(300))
    parts = split_table(build_table(texts, Files((write("a.jsonl", jsonl(*rows)),)), "train")[0], 0.1, 0)
    assert not set(parts.train.clusters()) & set(parts.validation.clusters())
    assert parts.notes == (
        "a.jsonl:1: 50% of the data is used for validation, not 10%, because there are only 2 documents or "
        "separate texts; give a validation file",
    )


def test_one_text_cannot_be_divided(write, texts):
    path = write("a.jsonl", jsonl(*({"text": "same", "label": "AB"[i % 2]} for i in range(20))))
    with pytest.raises(DataError) as caught:
        split_table(build_table(texts, Files((path,)), "train")[0], 0.2, 0)
    assert str(caught.value) == (
        "a.jsonl:1: too little data for a validation split (20 examples, 1 separate texts or documents); "
        "give a validation file"
    )
