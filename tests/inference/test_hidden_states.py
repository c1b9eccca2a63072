"""Hidden states of tokens are those of transformers, and those that heads read; every token of a long text comes once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

import manyheads as mh
from exporting import KINDS, TEXTS, Models
from manyheads.errors import RowError, UsageError
from manyheads.text.pack import Segments, Source
from manyheads.text.windows import owned
from toys import SENTENCES

LONG = " ".join(SENTENCES * 3)


def of_transformers(folder: Path, text: str, layer: int) -> np.ndarray:
    """Hidden states of a text after a layer, without those of special tokens."""
    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", return_special_tokens_mask=True)
    special = tokens.pop("special_tokens_mask")[0].bool()
    with torch.no_grad():
        states = AutoModel.from_pretrained(folder).eval()(**tokens, output_hidden_states=True).hidden_states
    return states[layer][0][~special].numpy()


@pytest.mark.parametrize(("kind", "shared"), [("hard", 2), ("private layers", 1), ("layer mix", 2)])
def test_the_last_shared_layer_is_that_of_transformers(kind: str, shared: int, toy_models: Models) -> None:
    family, overrides = KINDS[kind]
    model = mh.load(toy_models(family, *overrides))
    for text, found in zip(SENTENCES, model.hidden_states(SENTENCES), strict=True):
        assert found.vectors == pytest.approx(of_transformers(model.folder / "encoder", text, shared), abs=1e-5)
        words = [text[start:end].lower() for start, end in found.offsets]
        assert [token.removeprefix("##").lower() for token in found.tokens] == words
        assert set(found.parts.tolist()) == {0}


@pytest.mark.parametrize("kind", KINDS)
def test_with_a_task_they_are_what_its_head_reads(kind: str, toy_models: Models) -> None:
    family, overrides = KINDS[kind]
    model = mh.load(toy_models(family, *overrides))
    assert isinstance(model.bundle, mh.api.model.Bundle)
    entities = model.tasks["entities"]
    key = next(key for key, level in entities.outputs.items() if level == "token")
    items = model.predictor.items("entities", [entities.source_of_row({"text": text}) for text in TEXTS])
    for item, found in zip(items, model.hidden_states(TEXTS, task="entities"), strict=True):
        mine = zip(item.outputs, owned(item.encodings, 0), strict=True)
        expected = np.concatenate([output[key][own] for output, own in mine])
        vectors = torch.from_numpy(found.vectors)
        with torch.no_grad():
            output = model.bundle.model.heads["entities"](vectors, Segments.of([len(vectors)]))[key]
        assert output.numpy() == pytest.approx(expected, abs=1e-4)


def test_every_token_of_a_long_text_comes_once_from_the_window_with_most_context(young_model: Path) -> None:
    model = mh.load(young_model)
    found, alone = model.hidden_states([LONG, SENTENCES[0]])
    whole = model.predictor.tokenizer.encode([Source(LONG)], 10_000)[0][0]
    inside = whole.part_L == 0
    assert found.offsets.tolist() == np.stack([whole.start_L, whole.end_L], 1)[inside].tolist()
    assert len(found) == len(found.tokens) == len(found.vectors) > 3 * model.predictor.max_length
    # Windows begin where tokens do, so transformers reads the first and the last as texts of their own.
    windows = model.predictor.tokenizer.encode([Source(LONG)], model.predictor.max_length)[0]
    for window, rows in ((windows[0], slice(0, 20)), (windows[-1], slice(-20, None))):
        text = LONG[window.start_L[1] : window.end_L[-2]]
        expected = of_transformers(young_model / "encoder", text, 2)
        assert found.vectors[rows] == pytest.approx(expected[rows], abs=1e-5)
    assert alone.vectors == pytest.approx(model.hidden_states(SENTENCES[0])[0].vectors, abs=1e-6), "whatever is beside it"


def test_pairs_have_the_tokens_of_both_parts(young_model: Path) -> None:
    model = mh.load(young_model)
    row = {"question": "What lowered fever?", "context": LONG}
    found = model.hidden_states(row, task="answers")[0]
    texts = [row["question"], row["context"]]
    spelled = [texts[part][start:end].lower() for part, (start, end) in zip(found.parts, found.offsets, strict=True)]
    assert [token.removeprefix("##") for token in found.tokens] == ["[UNK]" if text == "?" else text for text in spelled]
    for part, text in enumerate(texts):
        ends = found.offsets[found.parts == part][:, 1]
        assert (np.diff(ends) > 0).all(), "each token once, in order"
        assert ends[-1] == len(text)


def test_texts_without_tokens_have_none_and_what_is_no_text_is_named(young_model: Path) -> None:
    model = mh.load(young_model)
    assert [found.vectors.shape for found in model.hidden_states(["", "  "])] == [(0, 32), (0, 32)]
    assert model.hidden_states([]) == []
    with pytest.raises(RowError, match="input 1: has no 'text'; its keys are id"):
        model.hidden_states(["a", {"id": 1}])
    with pytest.raises(RowError, match="input 0: has no input for task 'answers'"):
        model.hidden_states(["a"], task="answers")
    with pytest.raises(UsageError, match="has no task 'other'"):
        model.hidden_states(["a"], task="other")


def test_tasks_that_share_no_layer_must_be_named(toy_models: Models) -> None:
    model = mh.load(toy_models("bert", "sharing.shared_layers=0"))
    with pytest.raises(UsageError, match="the tasks share no layer of the encoder; name one of entities, section"):
        model.hidden_states(["a"])
    assert model.hidden_states(["a"], task="section")[0].vectors.shape == (1, 32)
