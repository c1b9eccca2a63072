"""Matrix products in a graph: which are found, and how their inputs are scaled."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from manyheads.export.int8.matmuls import Activations, MatMuls, encoder_matmuls, scale_input

CHANNELS = 48


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


def test_only_products_of_encoders_with_unshared_weights_are_found() -> None:
    assert encoder_matmuls(graph()) == [MatMuls("x", ("a", "b"), ("w1", "w2"))]


def test_scaling_an_input_does_not_change_the_result() -> None:
    found = []
    for scale_K in (None, np.array([1, 20, 0.5, 3], np.float32)):
        proto = graph()
        if scale_K is not None:
            scale_input(proto, encoder_matmuls(proto)[0], scale_K)
            onnx.checker.check_model(proto)
            assert sum(node.op_type == "Mul" for node in proto.graph.node) == 1, "once for both products"
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        found.append(session.run(None, {"x": np.arange(16, dtype=np.float32).reshape(4, 4)})[0])
    assert found[1] == pytest.approx(found[0], rel=1e-6)


def test_second_moments_need_enough_tokens() -> None:
    tokens_TK = np.random.default_rng(0).standard_normal((6 * CHANNELS, CHANNELS)).astype(np.float32)
    seen = Activations()
    seen.add(tokens_TK[: 3 * CHANNELS].reshape(3, CHANNELS, CHANNELS))
    assert seen.second_moment(None) is None
    seen.add(tokens_TK[3 * CHANNELS :])
    scale_K = np.linspace(1, 2, CHANNELS).astype(np.float32)
    expected = (tokens_TK / scale_K).T @ (tokens_TK / scale_K) / len(tokens_TK)
    assert seen.second_moment(scale_K) == pytest.approx(expected, rel=1e-4, abs=1e-5)
