"""Streams, probabilities and vectors of `Model`."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import manyheads as mh
from manyheads.errors import RowError, UsageError
from manyheads.predict import CHUNK_ROWS
from toys import SENTENCES

ROWS = [{"id": i, "text": text, "question": "What lowered fever?"} for i, text in enumerate(SENTENCES)]


@pytest.fixture(scope="module")
def model(young_model: Path) -> mh.Model:
    return mh.load(young_model)


def test_a_stream_gives_the_rows_of_a_list_and_reads_no_more_than_a_chunk_ahead(model: mh.Model) -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            yield SENTENCES[read % len(SENTENCES)]
            read += 1

    stream = model.predict(endless(), "section", stream=True)
    assert read == 0
    first = list(islice(stream, len(SENTENCES)))
    assert first == model.predict(SENTENCES, "section")
    assert read < CHUNK_ROWS
    assert len(list(islice(stream, CHUNK_ROWS))) == CHUNK_ROWS
    assert read < 2 * CHUNK_ROWS


def test_a_stream_refuses_wrong_arguments_at_once(model: mh.Model) -> None:
    with pytest.raises(UsageError, match="has no task 'other'"):
        model.predict(SENTENCES, "other", stream=True)
    with pytest.raises(UsageError, match="the input must be a text, a row"):
        model.predict(7, stream=True)
    with pytest.raises(UsageError, match="min_score must be a number from 0 to 1"):
        model.predict(SENTENCES, min_score=7, stream=True)


def test_predictions_are_a_list_of_plain_rows_that_keeps_its_inputs(model: mh.Model) -> None:
    found = model.predict(ROWS)
    assert type(found) is mh.Predictions
    assert found == list(found) == json.loads(json.dumps(found))
    assert found.inputs == ROWS
    assert (found[1:3], found[1:3].inputs) == (list(found)[1:3], ROWS[1:3])
    again = pickle.loads(pickle.dumps(found))
    assert (again, again.inputs) == (found, ROWS)
    assert again._repr_html_() == found._repr_html_()


def test_probabilities_are_the_scores_of_predict_in_the_order_of_the_labels(model: mh.Model) -> None:
    found = model.predict_proba(SENTENCES)
    assert (found.shape, found.dtype) == ((len(SENTENCES), 3), np.float32)
    assert found.sum(1) == pytest.approx(1, abs=1e-6)
    for row, chances in zip(model.predict(SENTENCES, "section"), found, strict=True):
        scores = row["tasks"]["section"]["scores"]
        assert chances == pytest.approx([scores[label] for label in model.labels("section")], abs=1e-6)
    assert model.predict_proba([]).shape == (0, 3)
    with pytest.raises(UsageError, match="no task that answers classes called 'entities'; it has section"):
        model.predict_proba(SENTENCES, task="entities")


def test_labels_are_those_of_the_named_task_or_of_the_only_one(model: mh.Model) -> None:
    assert model.labels("entities") == ["Chemical", "Disease"]
    for name in (None, "similarity", "other"):
        with pytest.raises(UsageError, match="the tasks with labels are entities, section; "):
            model.labels(name)


def test_probabilities_of_words_are_of_the_words_given_or_found(model: mh.Model) -> None:
    text, given = model.word_probabilities([SENTENCES[0], {"tokens": ["do", "n't", "go."]}])
    assert text.words == ["Aspirin", "lowered", "fever", "in", "children", "with", "influenza", "."]
    assert [SENTENCES[0][start:end] for start, end in text.offsets] == text.words
    assert given.words == ["do", "n't", "go."]
    for found in (text, given):
        assert found.tags == ("O", "B-Chemical", "I-Chemical", "B-Disease", "I-Disease")
        assert found.probabilities.shape == (len(found), 5)
        assert found.probabilities.sum(1) == pytest.approx(1, abs=1e-5)
    assert text.probabilities[0, 2] < 1e-6, "no span begins with I-"
    with pytest.raises(UsageError, match="no task that tags words called 'section'; it has entities"):
        model.word_probabilities("a", task="section")


def test_encode_is_embed_with_the_shapes_of_sentence_transformers(model: mh.Model) -> None:
    vectors = model.embed(SENTENCES)
    assert (model.encode(SENTENCES) == vectors).all()
    assert model.encode(SENTENCES[0]) == pytest.approx(vectors[0], abs=1e-6)
    unit = model.encode(SENTENCES, normalize_embeddings=True)
    assert np.linalg.norm(unit, axis=1) == pytest.approx(1, abs=1e-6)
    assert (unit * np.linalg.norm(vectors, axis=1, keepdims=True)) == pytest.approx(vectors, abs=1e-6)
    assert model.encode([]).shape == (0, 16)
    with pytest.raises(RowError, match="input 0: 'text' is null"):
        model.encode([{"text": None}])
