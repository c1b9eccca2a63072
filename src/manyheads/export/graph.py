"""The model as one ONNX graph: rows padded to one length go in, every output of every head comes out.

    input_ids, attention_mask (, token_type_ids)  int64 (rows, length)     both dynamic
    TASK/OUTPUT                                   (rows, length, ...) of tokens, (rows, ...) of sequences, or constants

Decided here:
- `MultiTaskModel` itself is exported, on encoders of another kind: transformers' stock models on rectangles. So the shared
  bottom, private tops, adapters and layer mixes are what they are in training, and the shared bottom runs once.
- Attention is written out ("eager"): ONNX Runtime fuses plain products best, and they are what int8 replaces.
- Opset 20, which has Gelu and LayerNormalization of its own, and which ONNX Runtime reads since 1.17.
- Positions are given where the stock model would work them out from ids: text may hold the padding token.
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
from manyheads.nn.families import Excerpt
from manyheads.nn.pooling import Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from manyheads.nn.sharing import Branch
    from manyheads.tasks.base import Task

OPSET = 20
IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
LARGEST_PROTO = 1_800_000_000
"""Bytes of weights beyond which they go into a file beside the graph: protobuf ends at 2 GiB."""


@dataclass(frozen=True, slots=True)
class Rectangle:
    """What stands for a pack: the inputs of a stock model, rows padded to one length."""

    inputs: Mapping[str, torch.Tensor]
    segments: Rows

    def part(self, first: int, stop: int) -> Rectangle:
        """All rows."""
        return self


class RectangleEncoder(Encoder):
    """A stock encoder on rectangles; hidden states are `(S * L, D)`."""

    def __init__(self, model: nn.Module, known: Mapping[str, torch.Tensor]) -> None:
        """`known`: inputs to learn the model's way from. Raises EncoderError as `Excerpt` does."""
        super().__init__(model)
        self.config._attn_implementation = "eager"
        self._takes = frozenset(inspect.signature(self.model.forward).parameters)
        self._excerpt = Excerpt(model, self._inputs(Rectangle(known, Rows(known[MASK]))))

    def embed(self, pack: Any) -> torch.Tensor:
        """What the first layer reads."""
        return self._excerpt.embed(self._inputs(pack)).flatten(0, 1)

    def layers(self, hidden_TD: torch.Tensor, pack: Any, start: int, stop: int) -> torch.Tensor:
        """Layers `start` to `stop - 1`."""
        if start == stop:
            return hidden_TD
        hidden_SLD = hidden_TD.view(*pack.segments.mask_SL.shape, self.width)
        return self._excerpt.layers(hidden_SLD, self._inputs(pack), start, stop).flatten(0, 1)

    def forward(self, pack: Any) -> torch.Tensor:
        """All layers."""
        hidden_SLD: torch.Tensor = self.model(**self._inputs(pack))[0]
        return hidden_SLD.flatten(0, 1)

    def _inputs(self, pack: Rectangle) -> dict[str, torch.Tensor]:
        ids_SL = pack.inputs[IDS]
        inputs = {IDS: ids_SL, MASK: pack.inputs[MASK]}
        if TYPES in self._takes:
            inputs[TYPES] = pack.inputs.get(TYPES, torch.zeros_like(ids_SL))
        if "position_ids" in self._takes and self.config.model_type not in ("modernbert", "mpnet"):
            position_L = torch.arange(ids_SL.shape[1], device=ids_SL.device) + self.position_offset
            inputs["position_ids"] = position_L.expand(ids_SL.shape)
        return inputs


class Graph(nn.Module):
    """A model whose outputs come in the order of `names`."""

    def __init__(self, model: MultiTaskModel, tasks: Mapping[str, Task[Any]], inputs: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.inputs = tuple(inputs)
        self.levels = {f"{name}/{key}": level for name, task in tasks.items() for key, level in task.outputs.items()}
        self._reads = dict.fromkeys(tasks, (0, 1))

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Every output of every head."""
        inputs = dict(zip(self.inputs, tensors, strict=True))
        rows = Rows(inputs[MASK])
        found: Any = self.model(Rectangle(inputs, rows), self._reads)
        outputs = []
        for place, level in self.levels.items():
            name, _, key = place.partition("/")
            value = found[name][key]
            outputs.append(value.view(*rows.mask_SL.shape, *value.shape[1:]) if level == "token" else value)
        return tuple(outputs)


def graph_of(model: MultiTaskModel, tasks: Mapping[str, Task[Any]]) -> Graph:
    """The graph of a trained model, which stays as it is."""
    encoder, branches = copy.deepcopy((model.encoder, model.branches))
    typed = getattr(encoder.config, "type_vocab_size", 0) > 1
    inputs = (
        (IDS, MASK, TYPES) if typed and TYPES in inspect.signature(encoder.model.forward).parameters else (IDS, MASK)
    )
    known = dict(zip((IDS, MASK, TYPES), _example(encoder.config, 3), strict=True))
    with torch.no_grad(), torch.random.fork_rng(devices=()):
        on_rows = [_on_rows(branch, known) for branch in branches]
        made = MultiTaskModel(RectangleEncoder(encoder.model, known), tasks, on_rows, layer_mix=bool(model.mixes))
    made.heads, made.mixes = copy.deepcopy((model.heads, model.mixes))
    return Graph(made, tasks, inputs).cpu().eval()


def _on_rows(branch: Branch, known: Mapping[str, torch.Tensor]) -> Branch:
    return replace(branch, encoder=RectangleEncoder(branch.encoder.model, known))


def _example(config: Any, count: int) -> tuple[torch.Tensor, ...]:
    """Rows of two lengths, of ids that are not padding. Sizes differ from each other and from 1."""
    padding = getattr(config, "pad_token_id", None) or 0
    ids = [i for i in range(min(config.vocab_size, 64)) if i != padding]
    ids_SL = torch.tensor([[ids[(r + c) % len(ids)] for c in range(7)] for r in range(3)])
    mask_SL = torch.ones_like(ids_SL)
    mask_SL[1, 5:] = 0
    ids_SL = ids_SL.masked_fill(mask_SL == 0, padding)
    return (ids_SL, mask_SL, torch.zeros_like(ids_SL))[:count]


def write_graph(
    model: MultiTaskModel, tasks: Mapping[str, Task[Any]], path: Path, metadata: Mapping[str, str]
) -> Graph:
    """Write the model as an ONNX file. Raises UsageError for a model that the exporter cannot write."""
    import onnx

    graph = graph_of(model, tasks)
    example = _example(model.encoder.config, len(graph.inputs))
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph, example, dynamo=True, opset_version=OPSET, input_names=list(graph.inputs),
                output_names=list(graph.levels), dynamic_shapes=(tuple(dynamic for _ in example),), verbose=False,
            )  # fmt: skip
    except Exception as error:  # torch.export and the exporter raise their own kinds, for whatever they cannot follow
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        family = model.encoder.config.model_type
        raise UsageError(f"this model ({family}) cannot be written as an ONNX graph: {reason}") from error
    assert program is not None, "the exporter with dynamo=True gives a program"
    proto = program.model_proto
    tidy(proto)
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
    save_proto(onnx, proto, path)
    return graph


def tidy(proto: Any) -> None:
    """Name the dynamic axes, share equal weights, and drop what only the exporter reads (paths of source files too)."""
    for value in [*proto.graph.input, *proto.graph.output]:
        for place, axis in enumerate(value.type.tensor_type.shape.dim):
            if axis.dim_param:
                axis.dim_param = ("rows", "length")[min(place, 1)]
    _share_weights(proto.graph)
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
    """The module that a node came from, `model.heads.NAME.output` for one."""
    for entry in node.metadata_props:
        if entry.key.endswith("name_scopes"):
            modules = [name for name in ast.literal_eval(entry.value) if name.startswith("model.")]
            return str(modules[-1]) if modules else ""
    return ""


def _share_weights(graph: Any) -> None:
    """Keep one of equal weights: what branches share is written once."""
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
    """What makes two weights equal."""
    import hashlib

    digest = hashlib.sha256(f"{tensor.data_type} {list(tensor.dims)} ".encode())
    digest.update(tensor.raw_data or tensor.SerializeToString() + tensor.name.encode())
    return digest.digest()


def save_proto(onnx: Any, proto: Any, path: Path) -> None:
    """Write a graph; weights that protobuf cannot hold go into a file beside it, `NAME.data`."""
    large = sum(len(tensor.raw_data) for tensor in proto.graph.initializer) > LARGEST_PROTO
    extra = {"save_as_external_data": True, "location": f"{path.name}.data"} if large else {}
    onnx.save(proto, str(path), **extra)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of packages that are not installed, and of its own ways."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
