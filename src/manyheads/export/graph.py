"""The model as one ONNX graph: rows padded to one length go in, every output of every head comes out.

    input_ids, attention_mask (, token_type_ids)  int64 (rows, length)     both dynamic
    TASK/OUTPUT                                   (rows, length, ...) of tokens, (rows, ...) of sequences, or constants

Decided here:
- `MultiTaskModel` itself is exported, with transformers' models on padded batches as encoders. So shared and private layers,
  adapters and layer mixes work as in training, and shared layers run once.
- Attention is written out ("eager"): ONNX Runtime fuses plain matrix products best, and int8 replaces them.
- Opset 20 has Gelu and LayerNormalization operators, and ONNX Runtime reads it since 1.17.
- Positions are passed in if the model would derive them from ids, because texts may spell the padding token.
"""

from __future__ import annotations

import ast
import copy
import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from manyheads.errors import UsageError
from manyheads.model import MultiTaskModel
from manyheads.nn.encoder import Encoder
from manyheads.nn.layer_range import LayerRange
from manyheads.nn.pooling import Rows
from manyheads.onnx_backend import IDS, MASK, TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from manyheads.tasks.base import Task

OPSET = 20
MAX_PROTO_BYTES = 1_800_000_000
"""Larger weights go into a file beside the graph, `NAME.data`: protobuf is limited to 2 GiB."""


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """Takes the place of a pack: inputs of a transformers model, rows padded to one length."""

    inputs: Mapping[str, torch.Tensor]
    segments: Rows

    def part(self, first: int, stop: int) -> PaddedBatch:
        """All rows."""
        return self


class GraphEncoder(Encoder):
    """A transformers encoder on padded batches; hidden states are `(S * L, D)`."""

    def __init__(self, model: nn.Module, example: Mapping[str, torch.Tensor]) -> None:
        """`example`: inputs to trace the model's layers with. Raises EncoderError as `LayerRange` does."""
        super().__init__(model)
        self.config._attn_implementation = "eager"
        self._takes = frozenset(inspect.signature(self.model.forward).parameters)
        self._layer_range = LayerRange(model, self._inputs(PaddedBatch(example, Rows(example[MASK]))))

    def embed(self, pack: Any) -> torch.Tensor:
        """The input of the first layer."""
        return self._layer_range.embed(self._inputs(pack)).flatten(0, 1)

    def layers(self, hidden_TD: torch.Tensor, pack: Any, start: int, stop: int) -> torch.Tensor:
        """Layers `start` to `stop - 1`."""
        if start == stop:
            return hidden_TD
        hidden_SLD = hidden_TD.view(*pack.segments.mask_SL.shape, self.width)
        return self._layer_range.layers(hidden_SLD, self._inputs(pack), start, stop).flatten(0, 1)

    def forward(self, pack: Any) -> torch.Tensor:
        """All layers."""
        hidden_SLD: torch.Tensor = self.model(**self._inputs(pack))[0]
        return hidden_SLD.flatten(0, 1)

    def _inputs(self, pack: PaddedBatch) -> dict[str, torch.Tensor]:
        ids_SL = pack.inputs[IDS]
        inputs = {IDS: ids_SL, MASK: pack.inputs[MASK]}
        if TYPES in self._takes:
            inputs[TYPES] = pack.inputs.get(TYPES, torch.zeros_like(ids_SL))
        if "position_ids" in self._takes and self.config.model_type not in ("modernbert", "mpnet"):
            position_L = torch.arange(ids_SL.shape[1], device=ids_SL.device) + self.position_offset
            inputs["position_ids"] = position_L.expand(ids_SL.shape)
        return inputs


class Graph(nn.Module):
    """A model with all outputs of all heads, in the order of `levels`."""

    def __init__(self, model: MultiTaskModel, tasks: Mapping[str, Task[Any]], inputs: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.inputs = tuple(inputs)
        self.levels = {f"{name}/{key}": level for name, task in tasks.items() for key, level in task.outputs.items()}
        self._reads = dict.fromkeys(tasks, (0, 1))

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """All outputs of all heads."""
        inputs = dict(zip(self.inputs, tensors, strict=True))
        rows = Rows(inputs[MASK])
        found: Any = self.model(PaddedBatch(inputs, rows), self._reads)
        outputs = []
        for place, level in self.levels.items():
            name, _, key = place.partition("/")
            value = found[name][key]
            outputs.append(value.view(*rows.mask_SL.shape, *value.shape[1:]) if level == "token" else value)
        return tuple(outputs)


def graph_of(model: MultiTaskModel, tasks: Mapping[str, Task[Any]]) -> Graph:
    """A copy of a trained model as a graph."""
    encoder, branches = copy.deepcopy((model.encoder, model.branches))
    example = dict(zip((IDS, MASK, TYPES), _example(encoder.config), strict=True))
    with torch.no_grad(), torch.random.fork_rng(devices=()):
        padded = [replace(branch, encoder=GraphEncoder(branch.encoder.model, example)) for branch in branches]
        made = MultiTaskModel(GraphEncoder(encoder.model, example), tasks, padded, layer_mix=bool(model.mixes))
    made.heads, made.mixes = copy.deepcopy((model.heads, model.mixes))
    return Graph(made, tasks, input_names(encoder)).cpu().eval()


def input_names(encoder: Encoder) -> tuple[str, ...]:
    """Inputs that the encoder needs; token types only if it has more than one."""
    typed = getattr(encoder.config, "type_vocab_size", 0) > 1
    takes_types = typed and TYPES in inspect.signature(encoder.model.forward).parameters
    return (IDS, MASK, TYPES) if takes_types else (IDS, MASK)


def _example(config: Any) -> tuple[torch.Tensor, ...]:
    """Ids, mask and token types of rows of two lengths. Sizes differ from each other and from 1, to be taken as dynamic."""
    padding = getattr(config, "pad_token_id", None) or 0
    ids = [i for i in range(min(config.vocab_size, 64)) if i != padding]
    ids_SL = torch.tensor([[ids[(r + c) % len(ids)] for c in range(7)] for r in range(3)])
    mask_SL = torch.ones_like(ids_SL)
    mask_SL[1, 5:] = 0
    ids_SL = ids_SL.masked_fill(mask_SL == 0, padding)
    return (ids_SL, mask_SL, torch.zeros_like(ids_SL))


def write_graph(model: MultiTaskModel, tasks: Mapping[str, Task[Any]], path: Path, metadata: Mapping[str, str]) -> None:
    """Write the model as an ONNX file. Raises UsageError if the exporter cannot."""
    import onnx

    graph = graph_of(model, tasks)
    example = _example(model.encoder.config)[: len(graph.inputs)]
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
