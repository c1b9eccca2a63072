"""Tensors of the V2 protocol, against those of tritonclient."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyheads.serve.errors import InvalidRequestError
from manyheads.serve.v2.tensors import read_request, texts_tensor, vectors_tensor

NAMES = ("text", "question")
http = pytest.importorskip("tritonclient.http")


def body(*tensors: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"inputs": tensors, **more}).encode()


def text(**changes: Any) -> dict[str, Any]:
    return {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]} | changes


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=5), st.booleans(), st.booleans())
def test_what_tritonclient_writes_is_read(rows: list[tuple[str, str]], binary: bool, mixed: bool) -> None:
    inputs = []
    for name, column, how in zip(NAMES, zip(*rows, strict=True), (binary, binary ^ mixed), strict=True):
        tensor = http.InferInput(name, [len(rows)], "BYTES")
        tensor.set_data_from_numpy(np.array([one.encode() for one in column], np.object_), binary_data=how)
        inputs.append(tensor)
    sent, json_size = http.InferenceServerClient.generate_request_body(inputs, request_id="7")
    found = read_request(sent, None if json_size is None else str(json_size), NAMES)
    assert found.id == "7"
    assert found.rows == [{"text": one, **({"question": other} if other else {})} for one, other in rows]
    assert found.is_binary("any"), "what tritonclient asks for where no output is named"


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_reads_what_is_written(binary: bool) -> None:
    values: list[Any] = [{"label": "é\n"}, None, [], "x" * 300]
    vectors = [[0.25, -1.5], [1e-30, 3.0]]
    made = [texts_tensor("t", values, binary=binary), vectors_tensor("v", vectors, binary=binary)]
    head = json.dumps({"outputs": [tensor for tensor, _ in made]}).encode()
    sent = head + b"".join(data for _, data in made)
    result = http.InferResult.from_response_body(sent, header_length=len(head) if binary else None)
    assert [json.loads(one) for one in result.as_numpy("t")] == values
    assert result.as_numpy("v").dtype == np.float32
    np.testing.assert_array_equal(result.as_numpy("v"), np.array(vectors, np.float32))


@pytest.mark.parametrize(("sent", "size", "complaint"), [
    (b"{", None, "is not valid JSON"), (b"[]", None, "the body must be an object"), (b"{}", None, "inputs must be a list"),
    (body(), None, "inputs must be a list of tensors"), (body({"name": 3}), None, "a tensor has no name"),
    (body({"name": "txt"}), None, "input 'txt' is unknown; inputs are text, question"),
    (body(text(), text()), None, "input 'text' is there twice"), (body(text(datatype="FP32")), None, "datatype BYTES, seen 'FP32'"),
    (body(text(name="question")), None, "no tensor 'text'"), (body(text(shape=[3])), None, "the shape [3] and 2 elements"),
    (body(text(shape=None)), None, "the shape None"), (body(text(data="ab")), None, "needs data, as a list of texts"),
    (body(text(data=["a", 5])), None, "must hold texts, seen int"),
    (body(text(), text(name="question", data=["a"], shape=[1])), None, "same number of elements; seen text 2, question 1"),
    (body(text(parameters={"binary_data_size": 3})), None, "binary_data_size 3; 0 bytes are left"),
    (body(text(parameters={"binary_data_size": True})), None, "binary_data_size True"),
    (body(text(parameters=[1])), None, "parameters must be an object"), (body(text(), id=5), None, "id must be a string"),
    (body(text()), "9999", "must be the length of the JSON in a body of"), (body(text()), "x", "must be the length"),
    (body(text()) + b"abc", str(len(body(text()))), "3 bytes of the body belong to no input"),
    (body(text(), outputs="similarity"), None, "outputs must be a list of tensors"),
])  # fmt: skip
def test_what_is_no_request_says_why(sent: bytes, size: str | None, complaint: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        read_request(sent, size, NAMES)
    assert complaint in str(refused.value)


@pytest.mark.parametrize(("data", "complaint"), [
    (b"\x05\0\0\0abc", "ends within an element"), (b"\x01\0", "ends within an element"), (b"\x01\0\0\0\xff", "is not in UTF-8"),
    (b"\xff\xff\xff\xffabc", "ends within an element"),
])  # fmt: skip
def test_broken_bytes_say_why(data: bytes, complaint: str) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(data)}}
    head = body(tensor)
    with pytest.raises(InvalidRequestError, match=complaint):
        read_request(head + data, str(len(head)), NAMES)


@given(st.binary(max_size=40), st.integers(0, 40))
def test_any_bytes_are_read_or_refused(data: bytes, size: int) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": size}}
    head = body(tensor)
    with suppress(InvalidRequestError):
        assert len(read_request(head + data, str(len(head)), NAMES).rows) == 1
