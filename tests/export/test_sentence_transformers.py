"""Folders for sentence-transformers: the same vectors from `SentenceTransformer(folder)`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

import manyheads as mh
from exporting import Models
from manyheads.errors import UsageError
from manyheads.export import ExportRequest, export_model
from toys import SENTENCES

PROMPTS = "tasks.similarity.prompts={query: 'fever: ', passage: 'glucose: '}"


@pytest.mark.parametrize(
    ("family", "overrides", "modules"),
    [
        ("bert", [], ["Transformer", "Pooling", "Dense", "Normalize"]),
        ("bert", ["tasks.similarity={projection: null, layer_norm: true, normalize: false}"],
         ["Transformer", "Pooling", "LayerNorm"]),
        ("roberta", ["sharing.shared_layers=1", "tasks.similarity={pooling: cls, layer_norm: true}"],
         ["Transformer", "Pooling", "Dense", "LayerNorm", "Normalize"]),
        ("modernbert", ["tasks.entities.decoder=softmax"], ["Transformer", "Pooling", "Dense", "Normalize"]),
    ],
)  # fmt: skip
def test_vectors_are_ours(
    family: str, overrides: list[str], modules: list[str], toy_models: Models, tmp_path: Path
) -> None:
    keys = [key for override in overrides for key in _flat(override)]
    model = toy_models(family, *keys)
    lines: list[str] = []
    folder = export_model(model, ExportRequest("sentence-transformers", tmp_path / "out"), lines.append)
    assert lines[0].startswith("parity: ")
    found = SentenceTransformer(str(folder), device="cpu").encode(SENTENCES)
    expected = mh.load(model).embed(SENTENCES)
    assert np.abs(found - expected).max() < 1e-5
    listed = json.loads((folder / "modules.json").read_text())
    assert [module["type"].rpartition(".")[2] for module in listed] == modules
    assert "SentenceTransformer" in (folder / "README.md").read_text()


def test_exports_to_sentence_transformers_have_the_prompts_and_give_the_same_vectors(
    toy_models: Models, tmp_path: Path
) -> None:
    model = toy_models("bert", PROMPTS, "tasks.similarity.default_prompt_name=passage")
    folder = export_model(model, ExportRequest("sentence-transformers", tmp_path / "out"), lambda _: None)
    ours, theirs = mh.load(model), SentenceTransformer(str(folder), device="cpu")
    pairs = [
        (ours.embed(SENTENCES, prompt="query"), theirs.encode(SENTENCES, prompt_name="query")),
        (ours.embed(SENTENCES, prompt="query"), theirs.encode_query(SENTENCES)),
        (ours.embed(SENTENCES, prompt="passage"), theirs.encode_document(SENTENCES)),
        (ours.encode(SENTENCES), theirs.encode(SENTENCES)),
    ]
    for mine, other in pairs:
        assert np.abs(mine - other).max() < 1e-5
    assert np.abs(pairs[0][0] - pairs[2][0]).max() > 1e-3
    settings = json.loads((folder / "config_sentence_transformers.json").read_text())
    assert settings["prompts"] == {"query": "fever: ", "passage": "glucose: ", "document": "glucose: "}
    assert settings["default_prompt_name"] == "passage"


def _flat(override: str) -> list[str]:
    """`tasks.x={a: 1, b: 2}` as one override for each key."""
    place, _, value = override.partition("=")
    if not value.startswith("{"):
        return [override]
    return [f"{place}.{pair.replace(': ', '=')}" for pair in value.strip("{}").split(", ")]


def test_other_heads_and_mixes_are_refused_and_nothing_else_is_written(
    toy_models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="task 'section' is text-classification, whose answers are not vectors"):
        export_model(toy_models("bert"), ExportRequest("sentence-transformers", tmp_path / "out", "section"), print)
    mix = toy_models("mpnet", "sharing.layer_mix=true", "tasks.section.hidden=8", "tasks.entities.decoder=softmax")
    with pytest.raises(UsageError, match="reads a learned mix of layers"):
        export_model(mix, ExportRequest("sentence-transformers", tmp_path / "out"), print)
    monkeypatch.setattr("manyheads.export.sentence_transformers.MAX_DIFFERENCE", -1.0)
    with pytest.raises(UsageError, match="the folder, as SentenceTransformer loads it, does not answer like the model"):
        export_model(toy_models("bert"), ExportRequest("sentence-transformers", tmp_path / "out"), print)
    assert not list(tmp_path.iterdir())
