"""Replace a graph by its int8 form, unless that costs too much of a score."""

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
from manyheads.export.graph import quiet
from manyheads.export.int8.matmuls import HEADS_PREFIX, activations, encoder_matmuls, exposing_inputs, scale_input
from manyheads.export.int8.rounding import gptq, round_to_nearest, smoothing_scale
from manyheads.export.parity import packs, validation_tables, windows_of
from manyheads.onnx_backend import OnnxBackend
from manyheads.predict import Predictor, TorchBackend

if TYPE_CHECKING:
    from manyheads.bundle import Bundle
    from manyheads.evaluate import Examples, Metrics
    from manyheads.export.int8.matmuls import Activations, MatMuls
    from manyheads.export.int8.rounding import RoundedWeight
    from manyheads.export.request import ExportRequest, Log
    from manyheads.predict import Backend
    from manyheads.tasks.base import Task
    from manyheads.text.pack import Encoding

MAX_LOSS = 0.005
"""Of the headline score of a head, as a fraction: half a point."""
CALIBRATION_TEXTS = 64
"""Of each task, to choose scales and rounding with."""


@dataclass(frozen=True, slots=True)
class Int8Cost:
    """Scores of an int8 graph on validation data, beside the model's."""

    scores: Mapping[str, Mapping[str, float]]
    """Headline scores, `{task: {"float32": score, "int8": score}}`."""
    metrics: Mapping[str, Metrics]
    """All metrics of the int8 graph."""


def validation_data(
    bundle: Bundle, tasks: Mapping[str, Task[Any]], request: ExportRequest, log: Log
) -> dict[str, Examples]:
    """Validation data to score int8 on, by task. Raises UsageError if a task has none, unless `request.allow_drop`."""
    run = request.data or bundle.folder / RUN
    needs = ("int8 is scored on validation data: name a run file that has some with --data, or accept any loss with "
             "--allow-drop")  # fmt: skip
    tables: dict[str, Examples] = {}
    try:
        tables = validation_tables(run, tasks)
    except (ManyheadsError, OSError) as error:
        if not request.allow_drop:
            raise UsageError(f"{error}; {needs}") from None
        log(f"validation data cannot be read: {error}")
    unscored = [name for name in tasks if name not in tables]
    if unscored and not request.allow_drop:
        raise UsageError(f"{run} has no validation data for {', '.join(unscored)}; {needs}")
    for name in unscored:
        log(f"{name}: not scored, there is no validation data for it")
    return tables


def quantize(
    graph: Path,
    bundle: Bundle,
    tasks: Mapping[str, Task[Any]],
    tables: Mapping[str, Examples],
    request: ExportRequest,
    log: Log,
) -> Int8Cost:
    """Replace a graph by its int8 form, scored on the tables from `validation_data`.

    Raises UsageError if a head loses more than `MAX_LOSS`, unless `request.allow_drop`.
    """
    import torch

    small = graph.with_name("int8.onnx")
    pad_id = bundle.model.encoder.pad_id
    log(_write_int8(graph, small, tasks, windows_of(bundle, tables, CALIBRATION_TEXTS), pad_id))
    before = _scores(TorchBackend(bundle.model, torch.device("cpu")), bundle, tables)
    after = _scores(OnnxBackend(small, tasks, pad_id, row_by_row=True), bundle, tables)
    lost, scores = [], {}
    for name, metrics in before.items():
        exact, rounded = (tasks[name].main_score(found) for found in (metrics, after[name]))
        scores[name] = {"float32": exact, "int8": rounded}
        rows, change = f"{len(tables[name]):,} rows", 100 * (rounded - exact)
        log(f"{name}: {exact:.4f} in float32, {rounded:.4f} in int8 ({change:+.2f} points on {rows})")
        if not change >= -100 * MAX_LOSS:
            lost.append(f"{name} {-change:.2f} (on {rows})")
    if lost and not request.allow_drop:
        raise UsageError(f"int8 costs more than {100 * MAX_LOSS:g} points of {', '.join(lost)}; nothing was written. Export "
                         "in float32, or accept the loss with --allow-drop")  # fmt: skip
    os.replace(small, graph)
    graph.with_name(f"{graph.name}.data").unlink(missing_ok=True)
    return Int8Cost(scores, after)


def _write_int8(
    graph: Path, small: Path, tasks: Mapping[str, Task[Any]], windows: Sequence[Encoding], pad_id: int
) -> str:
    """Write the int8 form of a graph, calibrated on these windows; a line that says how."""
    import onnx

    proto = onnx.load(str(graph))
    rounded: dict[str, RoundedWeight] = {}
    found, divided = encoder_matmuls(proto), 0
    with exposing_inputs(graph, found, tasks, pad_id) as backend:
        for matmuls, inputs in activations(backend, found, packs(windows)):
            weights, by_channel = _round(proto, matmuls, inputs)
            rounded |= weights
            divided += by_channel
    _write_quantized(proto, small, rounded)
    return (f"int8: {len(found)} inputs of linear layers, {divided} of them smoothed (SmoothQuant), calibrated on "
            f"{sum(map(len, windows)):,} tokens")  # fmt: skip


def _round(proto: Any, matmuls: MatMuls, inputs: Activations) -> tuple[dict[str, RoundedWeight], bool]:
    """Rounded weights by name, and whether the input is scaled by channel now."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in proto.graph.initializer if tensor.name in matmuls.weights}
    all_weights_KN = np.concatenate([numpy_helper.to_array(tensor) for tensor in tensors.values()], axis=1)
    scale_K = smoothing_scale(all_weights_KN, inputs.samples)
    if scale_K is not None:
        scale_input(proto, matmuls, scale_K)
    moment_KK = inputs.second_moment(scale_K)
    rounding = round_to_nearest if moment_KK is None else partial(gptq, moment_KK=moment_KK)
    return {name: rounding(numpy_helper.to_array(tensor)) for name, tensor in tensors.items()}, scale_K is not None


def _write_quantized(proto: Any, small: Path, rounded: Mapping[str, RoundedWeight]) -> None:
    """Write a graph with its products in int8, and with the weights that are rounded already."""
    import onnx
    from onnx import numpy_helper
    from onnxruntime.quantization import QuantType, quantize_dynamic

    of_heads = [node.name for node in proto.graph.node if node.name.startswith(HEADS_PREFIX)]
    kept = [*of_heads, *(f"{name}_MatMul" for name in of_heads)]  # the name of a Gemm once it is replaced
    with quiet():  # it recommends a preparation that helps only static quantization
        quantize_dynamic(
            proto, str(small), per_channel=True, reduce_range=True, weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"], nodes_to_exclude=kept, extra_options={"MatMulConstBOnly": True},
        )  # fmt: skip
    made = onnx.load(str(small))
    tensors = {tensor.name: tensor for tensor in made.graph.initializer}
    for name, (ints_KN, scale_N) in rounded.items():
        for end, value in (("_quantized", ints_KN), ("_scale", scale_N)):
            tensors[name + end].CopyFrom(numpy_helper.from_array(value, name + end))
    onnx.save(made, str(small))


def _scores(backend: Backend, bundle: Bundle, tables: Mapping[str, Examples]) -> Mapping[str, Metrics]:
    """The metrics of each task."""
    return evaluate(Predictor(backend, bundle.tasks, bundle.tokenizer, max_length=bundle.max_length), tables)
