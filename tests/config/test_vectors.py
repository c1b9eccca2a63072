"""A folder of sentence-transformers as encoder: an embedding head begins with the vectors of the real package, or says why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as models
from torch import nn

from manyheads.config.build import build_plan
from manyheads.config.files import load_run
from manyheads.nn.sentence_folder import sentence_folder
from manyheads.predict import Predictor, TorchBackend
from toys import SENTENCES


def saved(
    encoder: Path, folder: Path, *, pooling: str, dense: nn.Module | None = None, normalize: bool = False
) -> Path:
    """A folder that sentence-transformers wrote."""
    torch.manual_seed(3)
    modules: list[Any] = [models.Transformer(str(encoder)), models.Pooling(32, pooling_mode=pooling)]
    if dense is not None:
        modules.append(models.Dense(32, 12, activation_function=dense))
    if normalize:
        modules.append(models.Normalize())
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    return folder


def started(project: Path, folder: Path, *overrides: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Vectors of the embedding head before the first step, and what is said."""
    values = f"encoder={{name: {folder}, max_length: 48}}"
    plan = build_plan(load_run(project, [values, *overrides]))
    predictor = Predictor(TorchBackend(plan.model, torch.device("cpu")), plan.tasks, plan.tokenizer, max_length=48)
    rows = list(predictor.predict([{"text": text} for text in SENTENCES], ["similarity"]))
    notes = tuple(note for note in plan.notes if note.startswith("warning: similarity"))
    return np.array([row["tasks"]["similarity"] for row in rows]), notes


@pytest.fixture
def plain(project: Path) -> Path:
    """The run file without a projection of its own."""
    project.write_text(project.read_text().replace("    projection: 16\n", ""))
    return project


@pytest.mark.parametrize(
    ("pooling", "dense", "normalize"),
    [("mean", None, True), ("cls", None, False), ("mean", nn.Tanh(), True), ("cls", nn.Identity(), False)],
)
def test_a_head_begins_with_the_vectors_of_the_folder(
    pooling: str, dense: nn.Module | None, normalize: bool, plain: Path, toy_encoder: Path, tmp_path: Path
) -> None:
    folder = saved(toy_encoder, tmp_path / "st", pooling=pooling, dense=dense, normalize=normalize)
    found, notes = started(plain, folder)
    theirs = SentenceTransformer(str(folder), device="cpu").encode(SENTENCES)
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    assert found.shape == theirs.shape
    assert np.allclose((found * theirs).sum(1), 1, atol=1e-5)
    assert notes == ()


def test_what_the_head_cannot_do_is_said(plain: Path, toy_encoder: Path, tmp_path: Path) -> None:
    folder = saved(toy_encoder, tmp_path / "max", pooling="max")
    found, notes = started(plain, folder)
    assert found.shape == (len(SENTENCES), 32)
    assert len(notes) == 1
    assert "of which the head leaves out its pooling, max" in notes[0]
    assert notes[0].endswith("(only mean and cls are supported)")
    folder = saved(toy_encoder, tmp_path / "relu", pooling="mean", dense=nn.ReLU())
    assert "leaves out its dense layer, whose activation ReLU is not supported" in started(plain, folder)[1][0]


def test_a_run_file_that_says_otherwise_is_followed_and_the_dense_layer_named(
    plain: Path, toy_encoder: Path, tmp_path: Path
) -> None:
    folder = saved(toy_encoder, tmp_path / "st", pooling="cls", dense=nn.Tanh())
    found, notes = started(plain, folder, "tasks.similarity.projection=8")
    assert found.shape == (len(SENTENCES), 8)
    assert notes[0].endswith("leaves out its dense layer, because the run file sets projection or pooling")


def test_prompts_are_taken_over_and_strange_modules_and_damage_are_said(toy_encoder: Path, tmp_path: Path) -> None:
    assert sentence_folder(toy_encoder) is None
    folder = saved(toy_encoder, tmp_path / "st", pooling="mean")
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": {"query": "query: "}, "default_prompt_name": "query"})
    )
    listed = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([*listed, {"idx": 9, "path": "", "type": "elsewhere.Odd"}]))
    found = sentence_folder(folder)
    assert found is not None
    assert found.pooling == "mean"
    assert found.left_out == ("the module Odd",)
    assert found.prompts == {"query": "query: "}
    assert found.default_prompt_name == "query"
    (folder / "modules.json").write_text("{")
    found = sentence_folder(folder)
    assert found is not None
    assert "everything in modules.json, which cannot be read" in found.left_out[0]
