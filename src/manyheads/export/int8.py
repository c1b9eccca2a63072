"""Weights of the encoder's layers in 8 bits: a smaller graph that answers sooner, if scores allow it.

Decided here:
- Dynamic: weights are rounded when the graph is written, one scale for each output channel; activations when they come by.
- What inputs are divided by before that, and which way weights are rounded, is chosen for each product on texts of the
  validation data (`rounding`): outputs of heads are half as far off or less.
- `reduce_range`: weights use 7 of the 8 bits, because sums of products of 8 bits overflow 16 on processors without VNNI.
- Only the products of the encoder. The table of word embeddings stays float32 (half of a small encoder), and so do heads:
  they are thousandths of the work, and what is read off them is final.
- Which data decides is said by the caller; the float32 model is scored on the same rows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.bundle import RUN
from manyheads.errors import ManyheadsError, UsageError
from manyheads.evaluate import evaluate
from manyheads.export.parity import packs, validation_tables, windows_of
from manyheads.export.products import OF_HEADS, divide, opened, products_of, watched
from manyheads.export.rounding import compensated, evening, nearest
from manyheads.onnx_backend import OnnxBackend
from manyheads.predict import Predictor, TorchBackend

if TYPE_CHECKING:
    from manyheads.bundle import Bundle
    from manyheads.evaluate import Examples, Metrics
    from manyheads.export.command import Export, Say
    from manyheads.export.products import Products, Seen
    from manyheads.export.rounding import Rounded
    from manyheads.predict import Backend
    from manyheads.tasks.base import Task
    from manyheads.text.pack import Encoding

MOST_LOST = 0.005
"""Of the headline score of a head, a fraction: half a point."""
TEXTS = 64
"""Of each task, to choose by."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What an int8 graph answers on validation data, and what that costs."""

    headlines: Mapping[str, Mapping[str, float]]
    """`{task: {"float32": score, "int8": score}}`."""
    metrics: Mapping[str, Metrics]
    """Of the int8 graph."""


def scored_on(bundle: Bundle, tasks: Mapping[str, Task[Any]], wanted: Export, say: Say) -> dict[str, Examples]:
    """The validation data that decides, by task. Raises UsageError unless each has some, or `wanted.allow_drop`."""
    run = wanted.data or bundle.folder / RUN
    needs = ("what int8 costs is told by validation data: name a run file that has some with --data, or accept any loss "
             "with --allow-drop")  # fmt: skip
    tables: dict[str, Examples] = {}
    try:
        tables = validation_tables(run, tasks)
    except (ManyheadsError, OSError) as error:
        if not wanted.allow_drop:
            raise UsageError(f"{error}; {needs}") from None
        say(f"validation data cannot be read: {error}")
    unscored = [name for name in tasks if name not in tables]
    if unscored and not wanted.allow_drop:
        raise UsageError(f"{run} has no validation data for {', '.join(unscored)}; {needs}")
    for name in unscored:
        say(f"{name}: not scored, there is no validation data for it")
    return tables


def quantized(
    graph: Path,
    bundle: Bundle,
    tasks: Mapping[str, Task[Any]],
    tables: Mapping[str, Examples],
    wanted: Export,
    say: Say,
) -> Cost:
    """Replace a graph by its int8 form, unless that loses too much on the tables of `scored_on`.

    Raises UsageError for such a loss unless `wanted.allow_drop`.
    """
    import torch

    small = graph.with_name("int8.onnx")
    pad_id = bundle.model.encoder.pad_id
    say(_write_int8(graph, small, tasks, windows_of(bundle, tables, TEXTS), pad_id))
    before = _scores(TorchBackend(bundle.model, torch.device("cpu")), bundle, tables)
    after = _scores(OnnxBackend(small, tasks, pad_id, alone=True), bundle, tables)
    lost, headlines = [], {}
    for name, metrics in before.items():
        score, rounded = (tasks[name].headline(found) for found in (metrics, after[name]))
        headlines[name] = {"float32": score, "int8": rounded}
        rows, change = f"{len(tables[name]):,} rows", 100 * (rounded - score)
        say(f"{name}: {score:.4f} in float32, {rounded:.4f} in int8 ({change:+.2f} points on {rows})")
        if not change >= -100 * MOST_LOST:
            lost.append(f"{name} {-change:.2f} (on {rows})")
    if lost and not wanted.allow_drop:
        raise UsageError(f"int8 costs more than {100 * MOST_LOST:g} points of {', '.join(lost)}; nothing was written. Export "
                         "in float32, or accept the loss with --allow-drop")  # fmt: skip
    os.replace(small, graph)
    graph.with_name(f"{graph.name}.data").unlink(missing_ok=True)
    return Cost(headlines, after)


def _write_int8(
    graph: Path, small: Path, tasks: Mapping[str, Task[Any]], windows: Sequence[Encoding], pad_id: int
) -> str:
    """Write the int8 form of a graph, chosen on these windows; what was done to the inputs of its products."""
    import onnx

    proto = onnx.load(str(graph))
    rounded: dict[str, Rounded] = {}
    divided, found = 0, products_of(proto)
    with opened(graph, found, tasks, pad_id) as backend:
        for products, seen in watched(backend, found, packs(windows)):
            made, by_channel = _rounded(proto, products, seen)
            rounded |= made
            divided += by_channel
    _quantize(proto, small, rounded)
    return (f"int8: {len(found)} inputs of products, {divided} of them divided by channel, chosen on "
            f"{sum(map(len, windows)):,} tokens")  # fmt: skip


def _rounded(proto: Any, products: Products, seen: Seen) -> tuple[dict[str, Rounded], bool]:
    """The rounded weights of products, by name, and whether their input is divided now."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in proto.graph.initializer if tensor.name in products.weights}
    scale_K = evening(np.concatenate([numpy_helper.to_array(t) for t in tensors.values()], axis=1), seen.samples)
    if scale_K is not None:
        divide(proto, products, scale_K)
    together_KK = seen.together(scale_K)
    rounding = nearest if together_KK is None else partial(compensated, together_KK=together_KK)
    return {name: rounding(numpy_helper.to_array(tensor)) for name, tensor in tensors.items()}, scale_K is not None


def _quantize(proto: Any, small: Path, rounded: Mapping[str, Rounded]) -> None:
    """Write a graph with its products in int8. `rounded`: weights that are rounded already."""
    import logging

    import onnx
    from onnx import numpy_helper
    from onnxruntime.quantization import QuantType, quantize_dynamic

    of_heads = [node.name for node in proto.graph.node if node.name.startswith(OF_HEADS)]
    kept = [*of_heads, *(f"{name}_MatMul" for name in of_heads)]  # what a Gemm is called once it is replaced
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it warns that the graph was not prepared, which helps only static quantization
    try:
        quantize_dynamic(
            proto, str(small), per_channel=True, reduce_range=True, weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"], nodes_to_exclude=kept, extra_options={"MatMulConstBOnly": True},
        )  # fmt: skip
    finally:
        root.setLevel(level)
    made = onnx.load(str(small))
    tensors = {tensor.name: tensor for tensor in made.graph.initializer}
    for name, (ints_KN, scale_N) in rounded.items():
        for end, value in (("_quantized", ints_KN), ("_scale", scale_N)):
            tensors[name + end].CopyFrom(numpy_helper.from_array(value, name + end))
    onnx.save(made, str(small))


def _scores(backend: Backend, bundle: Bundle, tables: Mapping[str, Examples]) -> Mapping[str, Metrics]:
    """The metrics of each task."""
    return evaluate(Predictor(backend, bundle.tasks, bundle.tokenizer, max_length=bundle.max_length), tables)
