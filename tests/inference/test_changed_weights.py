"""Weights that were changed through the torch module of a model, saved as a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import manyheads as mh
from inference.test_padded_model import KINDS
from manyheads.errors import BundleError, UsageError
from toys import SENTENCES

Models = Callable[..., Path]


def bias_of(model: mh.Model) -> torch.nn.Parameter:
    """The bias of the head `section`, by way of the torch module."""
    parameters = dict(model.torch_module.named_parameters())
    [bias] = [value for name, value in parameters.items() if ".heads.section." in name and name.endswith("bias") and len(value) == 3]
    return bias


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_bias_is_saved_and_answers_change_by_it_alone(kind: str, toy_models: Models, tmp_path: Path) -> None:
    family, overrides = KINDS[kind]
    model = mh.load(toy_models(family, *overrides))
    before, others = model.predict_proba(SENTENCES), model.predict(SENTENCES, tasks=["entities", "similarity"])
    shift = np.array([0.0, 3.0, -1.0])
    with torch.no_grad():
        bias_of(model).add_(torch.tensor(shift))
    copy = mh.load(model.save(tmp_path / "copy"))
    temperature = model.tasks["section"].temperature  # type: ignore[attr-defined]
    expected = before * np.exp(shift / temperature)
    assert copy.predict_proba(SENTENCES) == pytest.approx(expected / expected.sum(1, keepdims=True), abs=1e-5)
    for row, other in zip(copy.predict(SENTENCES, tasks=["entities", "similarity"]), others, strict=True):
        assert row["tasks"]["similarity"] == pytest.approx(other["tasks"]["similarity"], abs=1e-5)
        assert [span["text"] for span in row["tasks"]["entities"]] == [span["text"] for span in other["tasks"]["entities"]]
    assert copy.bundle.hash != model.bundle.hash
    assert copy.bundle.manifest["started_from"] == {"model": model.bundle.hash, "labels": {}}
    assert (copy.metrics, copy.report) == ({}, None)
    assert "Weights changed from Python after training" in (copy.folder / "README.md").read_text(encoding="utf-8")
    assert mh.load(copy.save(tmp_path / "again")).bundle.hash == copy.bundle.hash


def test_weights_of_the_encoder_are_saved_and_a_module_that_nothing_changed_makes_a_plain_copy(young_model: Path, tmp_path: Path) -> None:
    model = mh.load(young_model)
    values = dict(model.torch_module.named_parameters())
    assert mh.load(model.save(tmp_path / "same")).bundle.hash == model.bundle.hash
    with torch.no_grad():
        next(value for name, value in values.items() if "encoder" in name and value.ndim == 2).mul_(1.5)
    copy = mh.load(model.save(tmp_path / "copy"))
    assert (copy.predict_proba(SENTENCES) == model.predict_proba(SENTENCES)).all()
    assert (copy.predict_proba(SENTENCES) != mh.load(young_model).predict_proba(SENTENCES)).any()


def test_weights_that_cannot_be_saved_are_refused_with_the_reason(young_model: Path, tmp_path: Path) -> None:
    model = mh.load(young_model)
    with torch.no_grad():
        bias_of(model)[0] = float("nan")
    with pytest.raises(UsageError, match=r"the changed weights cannot be saved, as no model .* numbers that are not finite"):
        model.save(tmp_path / "copy")
    with pytest.raises(UsageError, match=r"the weights were changed since .* save the model, and upload the copy"):
        model.push_to_hub("me/it")
    model = mh.load(young_model)
    head = model.torch_module.model.heads["section"]
    name, _ = next(iter(head.named_parameters()))
    owner = head.get_submodule(name.rpartition(".")[0])
    setattr(owner, name.rpartition(".")[2], torch.nn.Parameter(torch.zeros(1)))
    with pytest.raises(UsageError, match=r"the parameter model\.heads\.section\..* was put into torch_module in place of the model's"):
        model.save(tmp_path / "copy")
    model = mh.load(mh.load(young_model).save(tmp_path / "model"))
    _ = model.torch_module
    manifest = model.folder / "manyheads.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('"python"', '"snake"'), encoding="utf-8")
    with pytest.raises(BundleError, match="holds another model since this one was loaded"):
        model.save(tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
