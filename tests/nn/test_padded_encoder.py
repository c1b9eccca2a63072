"""Families that are not tested by name are tried on a small pack; parity is in `test_encoder.py`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AlbertConfig, AutoModel, ConvBertConfig, LongformerConfig

from manyheads.errors import EncoderError
from manyheads.nn.pretrained import wrap
from nn.test_encoder import SMALL, bare


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ConvBertConfig(**SMALL, embedding_size=32), "answer differently"),
        (AlbertConfig(**SMALL, embedding_size=16), "keep their layers in an unknown place"),
        (LongformerConfig(**SMALL, attention_window=8), "do not run here"),
    ],
)
def test_a_family_that_fails_its_trial_is_refused(config: Any, message: str) -> None:
    model = AutoModel.from_config(config)
    with pytest.raises(EncoderError, match=message):
        wrap(model)


def test_a_trial_leaves_the_model_as_it_was() -> None:
    model = bare("ernie").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    encoder = wrap(model)
    assert model.training
    assert encoder.training
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
