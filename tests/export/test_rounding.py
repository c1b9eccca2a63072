"""Products in 8 bits: that what is done against their errors helps, and leaves the product what it is."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from manyheads.export.products import Products, Seen, divide, products_of
from manyheads.export.rounding import PAYS, TOP, Sample, compensated, evening, nearest

Floats = NDArray[np.float32]
TOKENS, CHANNELS, OUTPUTS = 600, 48, 32


def inputs(seed: int = 0, *, outlier: float = 1.0, mixed: bool = False) -> Floats:
    draw = np.random.default_rng(seed)
    rows_TK = draw.standard_normal((TOKENS, CHANNELS)).astype(np.float32)
    if mixed:  # of a few sources, as hidden states are
        sources = np.random.default_rng(9).standard_normal((8, CHANNELS)).astype(np.float32)
        rows_TK = rows_TK[:, :8] @ sources + 0.1 * rows_TK
    rows_TK[:, 7] *= outlier
    return rows_TK


def weights(seed: int = 1) -> Floats:
    return (0.05 * np.random.default_rng(seed).standard_normal((CHANNELS, OUTPUTS))).astype(np.float32)


def dynamic(rows_TK: Floats) -> Floats:
    """Rounding as ONNX defines DynamicQuantizeLinear, in float64."""
    low, high = min(float(rows_TK.min()), 0.0), max(float(rows_TK.max()), 0.0)
    step = (high - low) / 255
    zero = round(-low / step)
    ints_TK = np.clip(np.round(rows_TK.astype(np.float64) / step) + zero, 0, 255)
    return ((ints_TK - zero) * step).astype(np.float32)


def error(rows_TK: Floats, weight_KN: Floats, scale_K: Floats | float) -> float:
    """Root mean square error of the product in int8, in units of the product's."""
    ints_KN, scale_N = nearest((weight_KN.T * scale_K).T)
    exact = rows_TK @ weight_KN
    return float(
        np.sqrt(np.square(dynamic(rows_TK / scale_K) @ (ints_KN * scale_N) - exact).mean() / np.square(exact).mean())
    )


def test_a_large_channel_is_divided_and_the_error_falls() -> None:
    rows_TK, weight_KN = inputs(outlier=20.0), weights()
    scale_K = evening(weight_KN, [Sample.of(rows_TK, 4)])
    assert scale_K is not None
    assert scale_K.argmax() == 7
    assert error(inputs(2, outlier=20.0), weight_KN, scale_K) < 0.5 * error(inputs(2, outlier=20.0), weight_KN, 1.0)


def test_what_gains_nothing_is_left_alone() -> None:
    weight_KN = np.where(np.arange(OUTPUTS) % 2, 0.05, -0.05).astype(np.float32) * np.ones((CHANNELS, 1), np.float32)
    rows_TK = np.where(inputs() > 0, 1.0, -1.0).astype(np.float32)
    assert evening(weight_KN, [Sample.of(rows_TK, 1)]) is None
    assert PAYS < 1


def test_a_channel_that_was_silent_is_not_made_loud() -> None:
    rows_TK, weight_KN = inputs(outlier=20.0), weights()
    rows_TK[:, 3] = 0.0
    scale_K = evening(weight_KN, [Sample.of(rows_TK, 4)])
    assert scale_K is not None
    assert scale_K.min() > 0.09


def test_ranges_are_those_of_all_tokens() -> None:
    rows_TK = inputs()
    rows_TK[1, 7] = 500.0
    sample = Sample.of(rows_TK, 16)
    assert sample.some_TK.max() < 10
    assert sample.high_K[7] == 500
    assert evening(weights(), [sample]) is not None


def test_weights_are_symmetric_and_within_seven_bits() -> None:
    weight_KN = weights()
    weight_KN[:, 3] = 0.0
    ints_KN, scale_N = nearest(weight_KN)
    assert ints_KN.dtype == np.int8
    assert scale_N.dtype == np.float32
    assert np.abs(ints_KN).max() == TOP
    assert np.abs(ints_KN * scale_N - weight_KN).max() <= scale_N.max() / 2 + 1e-9
    assert not ints_KN[:, 3].any()


def test_compensation_loses_less_where_channels_go_together() -> None:
    rows_TK, weight_KN = inputs(mixed=True), weights()
    ints_KN, scale_N = compensated(weight_KN, (rows_TK.T @ rows_TK / TOKENS).astype(np.float64))
    plain_KN, plain_N = nearest(weight_KN)
    assert np.array_equal(scale_N, plain_N)
    assert np.abs(ints_KN).max() <= TOP
    others_TK = inputs(5, mixed=True)
    lost = [np.square(others_TK @ (q * scale_N - weight_KN)).mean() for q in (ints_KN, plain_KN)]
    assert lost[0] < 0.5 * lost[1]


def test_compensation_is_plain_rounding_where_channels_have_nothing_in_common() -> None:
    weight_KN = weights()
    ints_KN, _ = compensated(weight_KN, np.diag(np.linspace(1.0, 2.0, CHANNELS)))
    assert np.array_equal(ints_KN, nearest(weight_KN)[0])


def graph() -> onnx.ModelProto:
    """Two products that read `x`, one that reads what a head does, and one whose weights are used twice."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"], name="model.encoder.one"),
        helper.make_node("MatMul", ["x", "w2"], ["b"], name="model.encoder.two"),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("MatMul", ["c", "twice"], ["d"], name="model.encoder.three"),
        helper.make_node("MatMul", ["d", "twice"], ["e"], name="model.encoder.four"),
        helper.make_node("MatMul", ["e", "w3"], ["f"], name="model.heads.entities"),
        helper.make_node("MatMul", ["f", "f"], ["y"], name="model.encoder.scores"),
    ]
    square = [
        numpy_helper.from_array(np.eye(4, dtype=np.float32) * k, n)
        for k, n in enumerate(("w1", "w2", "w3", "twice"), 1)
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 4]) for name in "xy")
    opset = [helper.make_opsetid("", 20)]
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y], square), opset_imports=opset, ir_version=10)


def test_products_are_those_of_encoders_with_weights_of_their_own() -> None:
    assert products_of(graph()) == [Products("x", ("a", "b"), ("w1", "w2"))]


def test_dividing_leaves_what_the_graph_computes() -> None:
    found = []
    for scale_K in (None, np.array([1, 20, 0.5, 3], np.float32)):
        proto = graph()
        if scale_K is not None:
            divide(proto, products_of(proto)[0], scale_K)
            onnx.checker.check_model(proto)
            assert sum(node.op_type == "Mul" for node in proto.graph.node) == 1, "once for all who read it"
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        found.append(session.run(None, {"x": np.arange(16, dtype=np.float32).reshape(4, 4)})[0])
    assert found[1] == pytest.approx(found[0], rel=1e-6)


def test_too_few_tokens_do_not_tell_how_channels_go_together() -> None:
    seen = Seen()
    seen.add(inputs()[: 3 * CHANNELS].reshape(3, CHANNELS, CHANNELS))
    assert seen.together(None) is None
    seen.add(inputs()[3 * CHANNELS : 6 * CHANNELS])
    rows_TK = inputs()[: 6 * CHANNELS]
    scale_K = np.linspace(1, 2, CHANNELS).astype(np.float32)
    expected = (rows_TK / scale_K).T @ (rows_TK / scale_K) / len(rows_TK)
    assert seen.together(scale_K) == pytest.approx(expected, rel=1e-4, abs=1e-5)
