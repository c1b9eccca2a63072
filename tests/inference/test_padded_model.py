"""The model as a torch module: its outputs are those that predictions are made of, and its parameters are the model's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

import manyheads as mh
from exporting import KINDS, TEXTS, Models
from manyheads.errors import UsageError
from manyheads.nn.sharing import own_parameters
from toys import SENTENCES

SHORT = [text for text in TEXTS if len(text) < 60 and text.isascii() and "[" not in text]


def batch_of(model: mh.Model, texts: list[str]) -> dict[str, torch.Tensor]:
    """What transformers' own tokenizer makes of texts."""
    return dict(AutoTokenizer.from_pretrained(model.folder / "encoder")(texts, padding=True, return_tensors="pt"))


def loss_of(outputs: Mapping[str, Mapping[str, torch.Tensor]]) -> torch.Tensor:
    return sum((value.square().mean() for found in outputs.values() for value in found.values()), torch.zeros(()))


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_those_of_predictions(kind: str, toy_models: Models) -> None:
    family, overrides = KINDS[kind]
    model = mh.load(toy_models(family, *overrides))
    batch = batch_of(model, SHORT)
    with torch.no_grad():
        outputs = model.torch_module(**batch)
    assert list(outputs) == list(model.tasks)
    for name in ("entities", "section", "similarity"):
        task = model.tasks[name]
        items = model.predictor.items(name, [task.source_of_row({"text": text}) for text in SHORT])
        for row, item in enumerate(items):
            for key, level in task.outputs.items():
                expected, found = item.outputs[0][key], outputs[name][key].detach().numpy()
                mine = {"token": np.s_[row, : len(expected)], "sequence": np.s_[row : row + 1], "constant": np.s_[:]}
                assert found[mine[level]] == pytest.approx(expected, abs=1e-5), (name, key)


@pytest.mark.parametrize("kind", KINDS)
def test_it_has_the_parameters_of_the_model_and_a_gradient_for_each_that_a_task_reads(kind: str, toy_models: Models) -> None:
    family, overrides = KINDS[kind]
    model = mh.load(toy_models(family, *overrides))
    module, trained = model.torch_module, model.bundle.model
    assert {id(value) for value in module.parameters()} == {id(value) for value in trained.parameters()}
    loss_of(module(**batch_of(model, SENTENCES))).backward()
    owned = [set(own_parameters(branch.encoder, trained.encoder)) for branch in trained.branches]
    everyone_s = sum(len(branch.tasks) for branch in trained.branches) == len(model.tasks)
    unread = set.intersection(*owned) if everyone_s else set()  # of the shared encoder, since each task has its own
    missing = {name for name, value in module.named_parameters() if value.grad is None}
    assert missing == {f"model.encoder.model.{name.removeprefix('model.')}" for name in unread}
    assert bool(missing) == (kind == "adapters of tasks")


def test_training_it_changes_answers_and_its_dropout_does_not(young_model: Path) -> None:
    model = mh.load(young_model)
    before = model.predict_proba(SENTENCES)
    module = model.torch_module
    assert module is model.torch_module
    assert not module.training
    batch = batch_of(model, SENTENCES)
    module.train()
    one, two = (module(**batch)["section"]["logits_SK"] for _ in range(2))
    assert not torch.equal(one, two), "dropout is on in the module"
    assert (model.predict_proba(SENTENCES) == before).all(), "and off in the model"
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    torch.nn.functional.cross_entropy(one, torch.zeros(len(SENTENCES), dtype=torch.long)).backward()
    optimizer.step()
    after = model.predict_proba(SENTENCES)
    assert (after[:, 0] > before[:, 0]).all()


def test_a_mask_and_token_types_may_be_left_out(young_model: Path) -> None:
    module = mh.load(young_model).torch_module
    ids = torch.tensor([[2, 9, 8, 3]])
    given: dict[str, Any] = {"attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    with torch.no_grad():
        assert torch.equal(module(ids)["section"]["logits_SK"], module(ids, **given)["section"]["logits_SK"])


def test_weights_rounded_to_bf16_have_no_module(young_model: Path) -> None:
    model = mh.load(young_model, precision="bf16")
    with pytest.raises(UsageError, match=r"rounded to bf16 .* load the model again with precision='float32'"):
        _ = model.torch_module
