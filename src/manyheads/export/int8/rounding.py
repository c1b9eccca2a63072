"""Round a matrix product to 8 bits with little error: scale its input, and choose the rounding of its weights.

In a product `x_TK @ weight_KN` the weights are rounded once, with one scale for each output channel. The input is rounded at
run time with one scale for all of it, so a channel ten times as large as the others leaves them a tenth of the steps.

- The input is divided by a scale for each channel, and the rows of the weights are multiplied by it (SmoothQuant, Xiao 2022,
  arXiv:2211.10438). Several scales are tried: powers of the largest inputs over those of the weights, and scales that only
  reduce channels above a quantile.
- Weights are rounded one input channel after the other, and the error of one is made up for by those that follow, as far as
  their inputs correlate (GPTQ, Frantar 2022, arXiv:2210.17323).

Dividing each token by its largest value as well was tried: it took half a product's time and removed a tenth of the error.

Suffixes: T tokens, K input channels, N output channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    RoundedWeight = tuple[npt.NDArray[np.int8], Floats]
    """Integers, and the scale of each output channel."""

MAX_WEIGHT = 64
"""Two products of 64 and 255 still fit in 16 bits, in which processors without VNNI add them up."""
STEPS = 255
TINY = np.float32(1e-6)
POWERS = (0.5, 0.6, 0.7, 0.8)
QUANTILES = (0.5, 0.8, 0.9, 0.95)
EXPONENTS = (0.5, 0.75, 1.0)
"""Of the excess over a quantile."""
MIN_SCALE = np.float32(0.1)
"""A channel that is near zero in these texts may be larger in others."""
MAX_ERROR_RATIO = 0.8
"""A scale must reduce the error to this share; dividing the input takes 1 to 2 % of a product's time."""
DAMPING = 0.01
BLOCK = 128
MIN_TOKENS_PER_CHANNEL = 4
"""With fewer, correlations of channels are noise."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Some tokens of a batch, and the range of all of them."""

    some_TK: Floats
    low_K: Floats
    high_K: Floats

    @classmethod
    def of(cls, input_TK: Floats, every: int) -> Sample:
        """Keep one token in `every`."""
        return cls(input_TK[::every].copy(), input_TK.min(0), input_TK.max(0))


def smoothing_scale(weight_KN: Floats, samples: Sequence[Sample]) -> Floats | None:
    """The scale to divide the input's channels by, for the least error of the product; None if that gains too little."""
    exact = [sample.some_TK @ weight_KN for sample in samples]

    def error(scale_K: Floats | float) -> float:
        ints_KN, scale_N = round_to_nearest((weight_KN.T * scale_K).T)
        rounded_KN = ints_KN * scale_N
        lost = [
            _rounded_input(sample, scale_K) @ rounded_KN - product
            for sample, product in zip(samples, exact, strict=True)
        ]
        return float(np.sqrt(sum(np.square(each).sum() for each in lost)))

    tried = [(error(scale_K), scale_K) for scale_K in _scales(weight_KN, samples)]
    least, best_K = min(tried, key=lambda pair: pair[0])
    return best_K if least <= MAX_ERROR_RATIO * error(1.0) else None


def round_to_nearest(weight_KN: Floats) -> RoundedWeight:
    """Each weight rounded to the nearest step.

    >>> ints_KN, scale_N = round_to_nearest(np.array([[1.0, 0.5], [-0.5, 0.25]], np.float32))
    >>> ints_KN.tolist(), scale_N.tolist()
    ([[64, 64], [-32, 32]], [0.015625, 0.0078125])
    """
    scale_N = (np.maximum(np.abs(weight_KN).max(0), TINY) / MAX_WEIGHT).astype(np.float32)
    return _ints(weight_KN, scale_N), scale_N


def gptq(weight_KN: Floats, moment_KK: npt.NDArray[np.float64]) -> RoundedWeight:
    """Weights rounded so that the product changes least, channels with the largest inputs first.

    `moment_KK`: the mean of `x x^T` over at least `MIN_TOKENS_PER_CHANNEL` tokens for each channel.
    """
    order_K = np.argsort(-moment_KK.diagonal(), kind="stable")
    hessian_KK = moment_KK[np.ix_(order_K, order_K)]
    hessian_KK[np.diag_indices_from(hessian_KK)] += DAMPING * hessian_KK.diagonal().mean() + TINY
    # Row k of the upper Cholesky factor of the inverse: how the channels after k make up for the error of k.
    factor_KK = np.linalg.cholesky(np.linalg.inv(hessian_KK)).T.astype(np.float32)
    _, scale_N = round_to_nearest(weight_KN)
    left_KN = weight_KN[order_K].copy()
    ints_KN = np.empty(left_KN.shape, np.int8)
    for start in range(0, len(left_KN), BLOCK):
        stop = min(start + BLOCK, len(left_KN))
        lost_BN = np.empty((stop - start, left_KN.shape[1]), np.float32)
        for k in range(start, stop):
            ints_KN[k] = _ints(left_KN[k], scale_N)
            lost_N = (left_KN[k] - ints_KN[k] * scale_N) / factor_KK[k, k]
            left_KN[k + 1 : stop] -= np.outer(factor_KK[k, k + 1 : stop], lost_N)
            lost_BN[k - start] = lost_N
        left_KN[stop:] -= factor_KK[start:stop, stop:].T @ lost_BN
    found_KN = np.empty_like(ints_KN)
    found_KN[order_K] = ints_KN
    return found_KN, scale_N


def _ints(weights: Floats, scale_N: Floats) -> npt.NDArray[np.int8]:
    return np.rint(weights / scale_N).clip(-MAX_WEIGHT, MAX_WEIGHT).astype(np.int8)


def _scales(weight_KN: Floats, samples: Sequence[Sample]) -> Iterator[Floats]:
    """Scales to try."""
    largest_K = np.maximum(np.max([np.maximum(-s.low_K, s.high_K) for s in samples], axis=0), TINY)
    weights_K = np.maximum(np.abs(weight_KN).max(1), TINY)
    for power in POWERS:
        scale_K = largest_K**power / weights_K ** (1 - power)
        yield np.maximum(scale_K / max(np.median(scale_K), TINY), MIN_SCALE)
    for quantile in QUANTILES:
        above_K = np.maximum(largest_K / np.quantile(largest_K, quantile), 1.0).astype(np.float32)
        yield from (above_K**exponent for exponent in EXPONENTS)


def _rounded_input(sample: Sample, scale_K: Floats | float) -> Floats:
    """The scaled input, rounded to `STEPS` equal steps over its range including 0 (DynamicQuantizeLinear)."""
    low, high = min(float((sample.low_K / scale_K).min()), 0.0), max(float((sample.high_K / scale_K).max()), 0.0)
    step = np.float32((high - low) / STEPS or 1.0)
    zero = np.rint(np.float32(-low) / step)
    return (np.clip(np.rint(sample.some_TK / scale_K / step) + zero, 0, STEPS) - zero) * step
