"""Tensors of the V2 protocol: texts come in and JSON goes out as BYTES, vectors as FP32.

In JSON a tensor has `data`, nested or flat. In the binary extension its bytes follow the JSON of the whole request, in the
order of the tensors: numbers as they are in memory, BYTES each with its length before it, in four bytes, the lowest first.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from manyheads.data.strict_json import read_json
from manyheads.serve.errors import InvalidRequestError

HEADER = "Inference-Header-Content-Length"
"""Bytes of the JSON at the start of a body that has binary data."""
MAX_LEVELS = 50
MAX_TENSORS = 100
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request for answers."""

    id: str | None
    columns: Mapping[str, Sequence[str]]
    """Texts by the name of their tensor, all of the same length."""
    parameters: Mapping[str, Any]
    outputs: Mapping[str, Mapping[str, Any]]
    """Parameters of the outputs that are asked for; empty: all."""

    @property
    def rows(self) -> list[dict[str, str]]:
        """A row for each element; an empty text of another tensor than `text` counts as absent."""
        return [
            {name: value for name, value in zip(self.columns, values, strict=True) if value or name == "text"}
            for values in zip(*self.columns.values(), strict=True)
        ]

    def is_binary(self, output: str) -> bool:
        """Whether an output is wanted in the binary extension."""
        default = self.parameters.get("binary_data_output", False)
        return bool(self.outputs.get(output, {}).get("binary_data", default))


def read_request(body: bytes, json_bytes: str | None, names: Sequence[str]) -> InferRequest:
    """A request from its body. `json_bytes`: the header; `names`: inputs that there are. Raises InvalidRequestError."""
    if json_bytes is not None and not (json_bytes.isdecimal() and int(json_bytes[:20]) <= len(body)):
        seen = f"{HEADER} is {json_bytes[:40]!r}"
        raise InvalidRequestError(f"{seen}; it must be the length of the JSON in a body of {len(body):,} bytes")
    size = len(body) if json_bytes is None else int(json_bytes)
    try:
        request = read_json(body[:size], MAX_LEVELS)
    except ValueError as error:
        raise InvalidRequestError(f"the body {error}") from None
    found = _object(request, "the body")
    columns = dict(_columns(_tensors(found, "inputs"), memoryview(body)[size:], names))
    if "text" not in columns:
        raise InvalidRequestError("inputs have no tensor 'text'; send one of type BYTES with a text for each row")
    if len({len(values) for values in columns.values()}) > 1:
        seen = ", ".join(f"{name} {len(values)}" for name, values in columns.items())
        raise InvalidRequestError(f"inputs must have the same number of elements; seen {seen}")
    outputs = {_name(one, "outputs"): _parameters(one) for one in _tensors(found, "outputs", needed=False)}
    request_id = found.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidRequestError("id must be a string")
    return InferRequest(request_id, columns, _parameters(found), outputs)


def _tensors(request: Mapping[str, Any], key: str, *, needed: bool = True) -> list[Mapping[str, Any]]:
    tensors = request.get(key)
    if tensors is None and not needed:
        return []
    if not isinstance(tensors, list) or len(tensors) > MAX_TENSORS or (needed and not tensors):
        raise InvalidRequestError(f"{key} must be a list of tensors")
    return [_object(one, f"{key}: a tensor") for one in tensors]


def _columns(
    tensors: Sequence[Mapping[str, Any]], binary: memoryview, names: Sequence[str]
) -> Iterator[tuple[str, Sequence[str]]]:
    """The texts of each input tensor."""
    seen, place = set(), 0
    for tensor in tensors:
        name = _name(tensor, "inputs")
        if name not in names or name in seen:
            problem = "there twice" if name in seen else "unknown"
            raise InvalidRequestError(f"input {name[:80]!r} is {problem}; inputs are {', '.join(names)}")
        seen.add(name)
        if tensor.get("datatype") != "BYTES":
            raise InvalidRequestError(f"input {name!r} must have the datatype BYTES, seen {tensor.get('datatype')!r:.40}")
        size = _parameters(tensor).get("binary_data_size")
        if size is None:
            values = list(_flat(tensor.get("data"), name))
        else:
            left = len(binary) - place
            if type(size) is not int or not 0 <= size <= left:
                raise InvalidRequestError(f"input {name!r} has binary_data_size {size!r:.40}; {left:,} bytes are left")
            values = list(_texts_of_bytes(binary[place : place + size], name))
            place += size
        yield name, _shaped(values, tensor.get("shape"), name)
    if place != len(binary):
        raise InvalidRequestError(f"{len(binary) - place:,} bytes of the body belong to no input; is {HEADER} right?")


def _shaped(values: list[str], shape: Any, name: str) -> list[str]:
    """The values, if the shape is `[N]` or `[N, 1]`. Raises InvalidRequestError."""
    count = len(values)
    if shape not in ([count], [count, 1], [1, count]):
        seen = f"input {name!r} has the shape {shape!r:.40} and {count:,} elements"
        raise InvalidRequestError(f"{seen}; give the shape [{count}]")
    return values


def _flat(data: Any, name: str) -> Iterator[str]:
    if not isinstance(data, list):
        raise InvalidRequestError(f"input {name!r} needs data, as a list of texts")
    for value in data:
        if isinstance(value, list):
            yield from _flat(value, name)
        elif isinstance(value, str):
            yield value
        else:
            raise InvalidRequestError(f"input {name!r} must hold texts, seen {type(value).__name__}")


def _texts_of_bytes(data: memoryview, name: str) -> Iterator[str]:
    """The texts in the bytes of a BYTES tensor."""
    place = 0
    while place < len(data):
        start = place + _LENGTH.size
        if start > len(data) or (end := start + _LENGTH.unpack_from(data, place)[0]) > len(data):
            raise InvalidRequestError(f"input {name!r} ends within an element")
        try:
            yield str(data[start:end], "utf-8")
        except UnicodeDecodeError as error:
            raise InvalidRequestError(f"input {name!r} is not in UTF-8 ({error.reason})") from None
        place = end


def texts_tensor(name: str, values: Sequence[Any], *, binary: bool) -> tuple[dict[str, Any], bytes]:
    """An output of JSON values, `(N,)`, and its binary data."""
    texts = [json.dumps(value, separators=(",", ":")) for value in values]
    data = b"".join(_LENGTH.pack(len(text)) + text.encode("ascii") for text in texts) if binary else b""
    return _tensor(name, "BYTES", [len(texts)], None if binary else texts, len(data)), data


def vectors_tensor(name: str, vectors: Sequence[Sequence[float]], *, binary: bool) -> tuple[dict[str, Any], bytes]:
    """An output of vectors, `(N, D)`, and its binary data."""
    array = np.asarray(vectors, "<f4")
    data = array.tobytes() if binary else b""
    return _tensor(name, "FP32", list(array.shape), None if binary else array.ravel().tolist(), len(data)), data


def _tensor(name: str, datatype: str, shape: list[int], values: list[Any] | None, size: int) -> dict[str, Any]:
    how = {"parameters": {"binary_data_size": size}} if values is None else {"data": values}
    return {"name": name, "datatype": datatype, "shape": shape, **how}


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidRequestError(f"{what} must be an object")
    return value


def _parameters(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    return _object(holder.get("parameters") or {}, "parameters")


def _name(tensor: Mapping[str, Any], key: str) -> str:
    name = tensor.get("name")
    if not isinstance(name, str):
        raise InvalidRequestError(f"{key}: a tensor has no name")
    return name
