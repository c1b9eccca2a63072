"""Bodies: what keys there are, and vectors as they are sent."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from manyheads.serve.schema import EmbeddingsRequest, PredictRequest, encode_vector


def test_requests_to_predict_are_strict_and_those_of_openai_clients_are_not() -> None:
    PredictRequest.model_validate({"inputs": ["a"]})
    EmbeddingsRequest.model_validate({"input": "a", "model": "m", "something_new": 1})
    for wrong in ({}, {"inputs": []}, {"inputs": "a"}, {"inputs": ["a"], "tasks": []}, {"inputs": ["a"], "taks": ["x"]},
                  {"inputs": ["a"], "tasks": [1]}, []):  # fmt: skip
        with pytest.raises(ValidationError):
            PredictRequest.model_validate(wrong)
    for wrong in ({}, {"input": 1}, {"input": [1, 2]}, {"input": "a", "dimensions": 0}, {"input": "a", "dimensions": "8"},
                  {"input": "a", "encoding_format": "hex"}):  # fmt: skip
        with pytest.raises(ValidationError):
            EmbeddingsRequest.model_validate(wrong)


@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=8))
def test_base64_holds_the_same_numbers_as_the_list(vector: list[float]) -> None:
    for dimensions in (None, 1, 2, len(vector)):
        numbers = encode_vector(vector, dimensions, "float")
        packed = encode_vector(vector, dimensions, "base64")
        assert isinstance(packed, str)
        assert np.frombuffer(base64.b64decode(packed), "<f4").tolist() == numbers


def test_fewer_dimensions_are_the_first_ones_at_length_one() -> None:
    assert encode_vector([0.6, 0.0, 0.8], 2, "float") == [1.0, 0.0]
    assert encode_vector([0.0, 0.0, 1.0], 2, "float") == [0.0, 0.0]
    assert encode_vector([3.0, 4.0], 2, "float") == [3.0, 4.0], "all of them: as the model made them"
