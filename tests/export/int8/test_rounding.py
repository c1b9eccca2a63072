"""Rounding of products to 8 bits: smoothing and GPTQ reduce the error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from manyheads.export.int8.rounding import (
    MAX_ERROR_RATIO,
    MAX_WEIGHT,
    Sample,
    gptq,
    round_to_nearest,
    smoothing_scale,
)

Floats = NDArray[np.float32]
TOKENS, CHANNELS, OUTPUTS = 600, 48, 32


def inputs(seed: int = 0, *, outlier: float = 1.0, mixed: bool = False) -> Floats:
    draw = np.random.default_rng(seed)
    rows_TK = draw.standard_normal((TOKENS, CHANNELS)).astype(np.float32)
    if mixed:  # combinations of a few sources, like hidden states
        sources = np.random.default_rng(9).standard_normal((8, CHANNELS)).astype(np.float32)
        rows_TK = rows_TK[:, :8] @ sources + 0.1 * rows_TK
    rows_TK[:, 7] *= outlier
    return rows_TK


def weights(seed: int = 1) -> Floats:
    return (0.05 * np.random.default_rng(seed).standard_normal((CHANNELS, OUTPUTS))).astype(np.float32)


def dynamic(rows_TK: Floats) -> Floats:
    """DynamicQuantizeLinear as ONNX defines it, in float64."""
    low, high = min(float(rows_TK.min()), 0.0), max(float(rows_TK.max()), 0.0)
    step = (high - low) / 255
    zero = round(-low / step)
    ints_TK = np.clip(np.round(rows_TK.astype(np.float64) / step) + zero, 0, 255)
    return ((ints_TK - zero) * step).astype(np.float32)


def error(rows_TK: Floats, weight_KN: Floats, scale_K: Floats | float) -> float:
    """Root mean square error of the product in int8, relative to the product."""
    ints_KN, scale_N = round_to_nearest((weight_KN.T * scale_K).T)
    exact = rows_TK @ weight_KN
    return float(
        np.sqrt(np.square(dynamic(rows_TK / scale_K) @ (ints_KN * scale_N) - exact).mean() / np.square(exact).mean())
    )


def test_a_large_channel_is_scaled_down_and_the_error_falls() -> None:
    rows_TK, weight_KN = inputs(outlier=20.0), weights()
    scale_K = smoothing_scale(weight_KN, [Sample.of(rows_TK, 4)])
    assert scale_K is not None
    assert scale_K.argmax() == 7
    assert error(inputs(2, outlier=20.0), weight_KN, scale_K) < 0.5 * error(inputs(2, outlier=20.0), weight_KN, 1.0)


def test_no_scale_is_used_where_it_gains_nothing() -> None:
    weight_KN = np.where(np.arange(OUTPUTS) % 2, 0.05, -0.05).astype(np.float32) * np.ones((CHANNELS, 1), np.float32)
    rows_TK = np.where(inputs() > 0, 1.0, -1.0).astype(np.float32)
    assert smoothing_scale(weight_KN, [Sample.of(rows_TK, 1)]) is None
    assert MAX_ERROR_RATIO < 1


def test_a_channel_of_zeros_is_not_scaled_up_too_far() -> None:
    rows_TK, weight_KN = inputs(outlier=20.0), weights()
    rows_TK[:, 3] = 0.0
    scale_K = smoothing_scale(weight_KN, [Sample.of(rows_TK, 4)])
    assert scale_K is not None
    assert scale_K.min() > 0.09


def test_ranges_are_those_of_all_tokens() -> None:
    rows_TK = inputs()
    rows_TK[1, 7] = 500.0
    sample = Sample.of(rows_TK, 16)
    assert sample.some_TK.max() < 10
    assert sample.high_K[7] == 500
    assert smoothing_scale(weights(), [sample]) is not None


def test_weights_are_symmetric_and_within_seven_bits() -> None:
    weight_KN = weights()
    weight_KN[:, 3] = 0.0
    ints_KN, scale_N = round_to_nearest(weight_KN)
    assert ints_KN.dtype == np.int8
    assert scale_N.dtype == np.float32
    assert np.abs(ints_KN).max() == MAX_WEIGHT
    assert np.abs(ints_KN * scale_N - weight_KN).max() <= scale_N.max() / 2 + 1e-9
    assert not ints_KN[:, 3].any()


def test_gptq_loses_less_where_channels_correlate() -> None:
    rows_TK, weight_KN = inputs(mixed=True), weights()
    ints_KN, scale_N = gptq(weight_KN, (rows_TK.T @ rows_TK / TOKENS).astype(np.float64))
    plain_KN, plain_N = round_to_nearest(weight_KN)
    assert np.array_equal(scale_N, plain_N)
    assert np.abs(ints_KN).max() <= MAX_WEIGHT
    others_TK = inputs(5, mixed=True)
    lost = [np.square(others_TK @ (q * scale_N - weight_KN)).mean() for q in (ints_KN, plain_KN)]
    assert lost[0] < 0.5 * lost[1]


def test_gptq_is_plain_rounding_where_channels_do_not_correlate() -> None:
    weight_KN = weights()
    ints_KN, _ = gptq(weight_KN, np.diag(np.linspace(1.0, 2.0, CHANNELS)))
    assert np.array_equal(ints_KN, round_to_nearest(weight_KN)[0])
