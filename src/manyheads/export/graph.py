"""The model as one ONNX graph: rows padded to one length go in, every output of every head comes out.

    input_ids, attention_mask (, token_type_ids)  int64 (rows, length)     both dynamic
    TASK/OUTPUT                                   (rows, length, ...) of tokens, (rows, ...) of sequences, or constants

Decided here:
- What is exported is the model on padded batches (`inference/padded_model.py`), which is also what users get as a module.
- Opset 20 has Gelu and LayerNormalization operators, and ONNX Runtime reads it since 1.17.
"""

from __future__ import annotations

import ast
import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from manyheads.errors import UsageError
from manyheads.inference.padded_model import padded, padded_outputs
from manyheads.nn.batch_encoder import example_inputs, input_names

if TYPE_CHECKING:
    from manyheads.model import MultiTaskModel
    from manyheads.tasks.base import Task

OPSET = 20
MAX_PROTO_BYTES = 1_800_000_000
"""Larger weights go into a file beside the graph, `NAME.data`: protobuf is limited to 2 GiB."""


class Graph(nn.Module):
    """A model with all outputs of all heads, in the order of `levels`."""

    def __init__(self, model: MultiTaskModel, tasks: Mapping[str, Task[Any]]) -> None:
        """`model`: on padded batches."""
        super().__init__()
        self.model = model
        self.inputs = input_names(model.encoder)
        self.levels = {f"{name}/{key}": level for name, task in tasks.items() for key, level in task.outputs.items()}
        self._tasks = dict(tasks)

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """All outputs of all heads."""
        found = padded_outputs(self.model, self._tasks, dict(zip(self.inputs, tensors, strict=True)))
        return tuple(value for outputs in found.values() for value in outputs.values())


def graph_of(model: MultiTaskModel, tasks: Mapping[str, Task[Any]]) -> Graph:
    """A copy of a trained model as a graph."""
    return Graph(padded(copy.deepcopy(model), tasks), tasks).cpu().eval()


def write_graph(model: MultiTaskModel, tasks: Mapping[str, Task[Any]], path: Path, metadata: Mapping[str, str]) -> None:
    """Write the model as an ONNX file. Raises UsageError if the exporter cannot."""
    import onnx

    graph = graph_of(model, tasks)
    given = example_inputs(model.encoder.config)
    example = tuple(given[name] for name in graph.inputs)
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph, example, dynamo=True, opset_version=OPSET, input_names=list(graph.inputs),
                output_names=list(graph.levels), dynamic_shapes=(tuple(dynamic for _ in example),), verbose=False,
            )  # fmt: skip
    except Exception as error:  # torch.export and the exporter each raise their own kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        family = model.encoder.config.model_type
        raise UsageError(f"this model ({family}) cannot be written as an ONNX graph: {reason}") from error
    assert program is not None, "the exporter returns a program with dynamo=True"
    proto = program.model_proto
    _tidy(proto)
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
    large = sum(len(tensor.raw_data) for tensor in proto.graph.initializer) > MAX_PROTO_BYTES
    extra = {"save_as_external_data": True, "location": f"{path.name}.data"} if large else {}
    onnx.save(proto, str(path), **extra)


def _tidy(proto: Any) -> None:
    """Name the dynamic axes, merge equal weights, and drop the exporter's own annotations (which hold source paths)."""
    for value in [*proto.graph.input, *proto.graph.output]:
        for place, axis in enumerate(value.type.tensor_type.shape.dim):
            if axis.dim_param:
                axis.dim_param = ("rows", "length")[min(place, 1)]
    _merge_equal_weights(proto.graph)
    del proto.graph.value_info[:]
    for node in proto.graph.node:
        node.name = f"{_module_of(node)}/{node.name}"
        del node.metadata_props[:]
        node.doc_string = ""
    for value in [*proto.graph.input, *proto.graph.output, *proto.graph.initializer]:
        value.doc_string = ""
        del value.metadata_props[:]
    del proto.graph.metadata_props[:]
    del proto.metadata_props[:]
    proto.graph.doc_string = proto.doc_string = ""


def _module_of(node: Any) -> str:
    """The module that a node comes from, such as `model.heads.NAME.output`."""
    for entry in node.metadata_props:
        if entry.key.endswith("name_scopes"):
            modules = [name for name in ast.literal_eval(entry.value) if name.startswith("model.")]
            return str(modules[-1]) if modules else ""
    return ""


def _merge_equal_weights(graph: Any) -> None:
    """Keep one of equal weights, so that what branches share is written once."""
    outputs = {value.name for value in graph.output}
    first: dict[bytes, str] = {}
    renamed: dict[str, str] = {}
    for tensor in graph.initializer:
        if tensor.name not in outputs and (same := first.setdefault(_content(tensor), tensor.name)) != tensor.name:
            renamed[tensor.name] = same
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    for place in reversed([i for i, tensor in enumerate(graph.initializer) if tensor.name in renamed]):
        del graph.initializer[place]


def _content(tensor: Any) -> bytes:
    """Digest of a weight; equal weights have equal ones."""
    import hashlib

    digest = hashlib.sha256(f"{tensor.data_type} {list(tensor.dims)} ".encode())
    digest.update(tensor.raw_data or tensor.SerializeToString() + tensor.name.encode())
    return digest.digest()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings of exporters about optional packages and their own internals."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
