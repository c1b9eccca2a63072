"""The encoders' matrix products with weights in a graph: find them, collect their inputs, scale their inputs.

Decided here:
- Products that read the same tensor (queries, keys and values do) have their input scaled once.
- Inputs are collected from the float32 graph row by row, as the int8 graph will run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.export.int8.rounding import MIN_TOKENS_PER_CHANNEL, Sample
from manyheads.onnx_backend import OnnxBackend

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from manyheads.export.int8.rounding import Floats
    from manyheads.tasks.base import Task
    from manyheads.text.pack import Encoding

HEADS_PREFIX = "model.heads."
"""Of the names of nodes in heads; all other products are in encoders."""
SAMPLE_EVERY = 16
"""One token in 16 is kept to try scales on; all of them count for second moments."""
INPUTS_PER_RUN = 12
"""Inputs collected in one run over the texts: each has a square matrix, 67 MB for 4,096 channels."""


@dataclass(frozen=True, slots=True)
class MatMuls:
    """MatMuls that read the same tensor."""

    input: str
    outputs: tuple[str, ...]
    weights: tuple[str, ...]
    """Used nowhere else."""


@dataclass(slots=True)
class Activations:
    """Statistics of an input of matrix products."""

    samples: list[Sample] = field(default_factory=list)
    tokens: int = 0
    sums_KK: npt.NDArray[np.float32] | None = None
    """Sum of `x x^T` over the tokens."""

    def add(self, input_SLK: Floats) -> None:
        """Add the input of one batch."""
        input_TK = input_SLK.reshape(-1, input_SLK.shape[-1])
        self.samples.append(Sample.of(input_TK, SAMPLE_EVERY))
        self.tokens += len(input_TK)
        sums_KK = input_TK.T @ input_TK
        self.sums_KK = sums_KK if self.sums_KK is None else self.sums_KK + sums_KK

    def second_moment(self, scale_K: Floats | None) -> npt.NDArray[np.float64] | None:
        """The mean of `x x^T` of inputs, divided by a scale if there is one; None if there are too few tokens."""
        if self.sums_KK is None or self.tokens < MIN_TOKENS_PER_CHANNEL * len(self.sums_KK):
            return None
        mean_KK = self.sums_KK.astype(np.float64) / self.tokens
        return mean_KK if scale_K is None else mean_KK / np.outer(scale_K, scale_K)


def encoder_matmuls(proto: Any) -> list[MatMuls]:
    """Matrix products of encoders with weights that nothing else reads, in graph order."""
    constant = {tensor.name for tensor in proto.graph.initializer}
    readers = Counter(name for node in proto.graph.node for name in node.input)
    found: dict[str, list[Any]] = {}
    for node in proto.graph.node:
        own = node.op_type == "MatMul" and not node.name.startswith(HEADS_PREFIX)
        if own and node.input[1] in constant and readers[node.input[1]] == 1:
            found.setdefault(node.input[0], []).append(node)
    return [
        MatMuls(name, tuple(node.output[0] for node in nodes), tuple(node.input[1] for node in nodes))
        for name, nodes in found.items()
    ]


@contextmanager
def exposing_inputs(
    graph: Path, found: Sequence[MatMuls], tasks: Mapping[str, Task[Any]], pad_id: int
) -> Iterator[OnnxBackend]:
    """The graph with the inputs of products as further outputs. Needs a temporary file beside it."""
    import onnx

    proto = onnx.load(str(graph), load_external_data=False)
    outputs = {value.name for value in proto.graph.output}
    proto.graph.output.extend(
        onnx.helper.make_tensor_value_info(each.input, onnx.TensorProto.FLOAT, None)
        for each in found
        if each.input not in outputs
    )
    exposing = graph.with_name("exposing.onnx")
    try:
        onnx.save(proto, str(exposing))
        yield OnnxBackend(exposing, tasks, pad_id, row_by_row=True)
    finally:
        exposing.unlink(missing_ok=True)


def activations(
    backend: OnnxBackend, found: Sequence[MatMuls], packs: Sequence[Sequence[Encoding]]
) -> Iterator[tuple[MatMuls, Activations]]:
    """Statistics of the inputs on the packs, from a graph that exposes them."""
    for start in range(0, len(found), INPUTS_PER_RUN):
        seen = {each.input: Activations() for each in found[start : start + INPUTS_PER_RUN]}
        for pack in packs:
            for values in backend.values(pack, list(seen)):
                for each, value in zip(seen.values(), values, strict=True):
                    each.add(value)
        yield from ((each, seen.pop(each.input)) for each in found[start : start + INPUTS_PER_RUN])


def scale_input(proto: Any, matmuls: MatMuls, scale_K: Floats) -> None:
    """Divide the input of products by a scale for each channel, and multiply the weights by it."""
    import onnx
    from onnx import numpy_helper

    even, factor = f"{matmuls.input}_even", f"{matmuls.input}_factor"
    nodes = proto.graph.node
    readers = [place for place, node in enumerate(nodes) if node.output[0] in matmuls.outputs]
    for place in readers:
        nodes[place].input[0] = even
    nodes.insert(readers[0], onnx.helper.make_node("Mul", [matmuls.input, factor], [even], name=f"{even}_Mul"))
    proto.graph.initializer.append(numpy_helper.from_array(1 / scale_K, factor))
    for tensor in proto.graph.initializer:
        if tensor.name in matmuls.weights:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * scale_K[:, None], tensor.name))
