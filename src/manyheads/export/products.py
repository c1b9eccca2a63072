"""The products of a graph's encoders with weights: which they are, what comes into them, and how it is divided.

Decided here:
- Products that read the same tensor (queries, keys and values do) have their input divided once.
- Inputs are those of the float32 graph on texts, a row at a time: as the int8 graph will meet them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.export.rounding import ENOUGH, Sample
from manyheads.onnx_backend import OnnxBackend

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from manyheads.export.rounding import Floats
    from manyheads.tasks.base import Task
    from manyheads.text.pack import Encoding

OF_HEADS = "model.heads."
"""How names of the nodes of heads begin in the graph; all other products are those of encoders."""
EVERY = 16
"""One token in so many is kept to try scales on; all of them count for how inputs go together."""
AT_ONCE = 12
"""Inputs watched in one run over the texts: each has a square matrix, 67 MB for 4,096 channels."""


@dataclass(frozen=True, slots=True)
class Products:
    """MatMuls that read the same tensor."""

    input: str
    outputs: tuple[str, ...]
    weights: tuple[str, ...]
    """Of no other product."""


@dataclass(slots=True)
class Seen:
    """What came into products."""

    samples: list[Sample] = field(default_factory=list)
    tokens: int = 0
    sums_KK: npt.NDArray[np.float32] | None = None
    """Of `x x^T` over the tokens."""

    def add(self, input_SLK: Floats) -> None:
        """The input of one rectangle."""
        input_TK = input_SLK.reshape(-1, input_SLK.shape[-1])
        self.samples.append(Sample.of(input_TK, EVERY))
        self.tokens += len(input_TK)
        sums_KK = input_TK.T @ input_TK
        self.sums_KK = sums_KK if self.sums_KK is None else self.sums_KK + sums_KK

    def together(self, scale_K: Floats | None) -> npt.NDArray[np.float64] | None:
        """The mean of `x x^T`, of inputs that are divided by a scale or not; None of too few tokens to tell."""
        if self.sums_KK is None or self.tokens < ENOUGH * len(self.sums_KK):
            return None
        mean_KK = self.sums_KK.astype(np.float64) / self.tokens
        return mean_KK if scale_K is None else mean_KK / np.outer(scale_K, scale_K)


def products_of(proto: Any) -> list[Products]:
    """Those of encoders whose weights nobody else reads, in the order of the graph."""
    constant = {tensor.name for tensor in proto.graph.initializer}
    readers: dict[str, int] = {}
    for node in proto.graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    found: dict[str, list[Any]] = {}
    for node in proto.graph.node:
        own = node.op_type == "MatMul" and not node.name.startswith(OF_HEADS)
        if own and node.input[1] in constant and readers[node.input[1]] == 1:
            found.setdefault(node.input[0], []).append(node)
    return [
        Products(name, tuple(node.output[0] for node in nodes), tuple(node.input[1] for node in nodes))
        for name, nodes in found.items()
    ]


@contextmanager
def opened(
    graph: Path, found: Sequence[Products], tasks: Mapping[str, Task[Any]], pad_id: int
) -> Iterator[OnnxBackend]:
    """A graph that gives the inputs of products too. For as long as it is open there is another file beside it."""
    import onnx

    proto = onnx.load(str(graph), load_external_data=False)
    there = {value.name for value in proto.graph.output}
    proto.graph.output.extend(
        onnx.helper.make_tensor_value_info(each.input, onnx.TensorProto.FLOAT, None)
        for each in found
        if each.input not in there
    )
    open_graph = graph.with_name("watched.onnx")
    try:
        onnx.save(proto, str(open_graph))
        yield OnnxBackend(open_graph, tasks, pad_id, alone=True)
    finally:
        open_graph.unlink(missing_ok=True)


def watched(
    backend: OnnxBackend, found: Sequence[Products], packs: Sequence[Sequence[Encoding]]
) -> Iterator[tuple[Products, Seen]]:
    """What comes into each of the products of an opened graph on the packs."""
    for start in range(0, len(found), AT_ONCE):
        seen = {each.input: Seen() for each in found[start : start + AT_ONCE]}
        for pack in packs:
            for values in backend.values(pack, list(seen)):
                for each, value in zip(seen.values(), values, strict=True):
                    each.add(value)
        yield from ((each, seen.pop(each.input)) for each in found[start : start + AT_ONCE])


def divide(proto: Any, products: Products, scale_K: Floats) -> None:
    """Divide the input of products by a scale for each channel, and multiply their weights by it."""
    import onnx
    from onnx import numpy_helper

    even, factor = f"{products.input}_even", f"{products.input}_factor"
    nodes = proto.graph.node
    readers = [place for place, node in enumerate(nodes) if node.output[0] in products.outputs]
    for place in readers:
        nodes[place].input[0] = even
    nodes.insert(readers[0], onnx.helper.make_node("Mul", [products.input, factor], [even], name=f"{even}_Mul"))
    proto.graph.initializer.append(numpy_helper.from_array(1 / scale_K, factor))
    for tensor in proto.graph.initializer:
        if tensor.name in products.weights:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * scale_K[:, None], tensor.name))
