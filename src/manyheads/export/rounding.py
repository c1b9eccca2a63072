"""How a product is rounded to 8 bits with little error: what its input is divided by, and which way its weights go.

A product `x_TK @ weight_KN` is rounded twice. Its weights once, one scale for each output channel. Its input whenever it
comes by, one scale for the whole pack: a channel ten times as large as the rest leaves the rest a tenth of the steps.

- The input is divided by a scale for each channel, and the rows of the weights take it up (SmoothQuant, Xiao 2022,
  arXiv:2211.10438). Which scales is tried out: powers of the largest values against those of the weights, and only what is
  above a quantile.
- Weights are rounded one input channel after the other, and what one lost is added to those that follow, as far as inputs
  go together (GPTQ, Frantar 2022, arXiv:2210.17323).

Dividing each token by its largest value as well was tried: it cost half a product's time and gained a tenth of the error.

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
    Rounded = tuple[npt.NDArray[np.int8], Floats]

TOP = 64
"""Largest weight: two products of 64 and 255 still fit in 16 bits, which processors without VNNI add them up in."""
STEPS = 255
TINY = np.float32(1e-6)
POWERS = (0.5, 0.6, 0.7, 0.8)
QUANTILES = (0.5, 0.8, 0.9, 0.95)
PARTS = (0.5, 0.75, 1.0)
"""Of what is above a quantile, as an exponent."""
LEAST = np.float32(0.1)
"""What a channel is divided by at least: one that these texts leave silent may speak up in others."""
PAYS = 0.8
"""Of the error without; dividing the input takes 1 to 2 % of a product's time."""
DAMPING = 0.01
BLOCK = 128
ENOUGH = 4
"""Tokens for each input channel, without which going together is chance."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Of one pack: some of its tokens, and the range of all of them."""

    some_TK: Floats
    low_K: Floats
    high_K: Floats

    @classmethod
    def of(cls, input_TK: Floats, every: int) -> Sample:
        """Every so many tokens."""
        return cls(input_TK[::every].copy(), input_TK.min(0), input_TK.max(0))


def evening(weight_KN: Floats, samples: Sequence[Sample]) -> Floats | None:
    """What to divide the channels of the input by, for the least error of the product; None where it does not pay."""
    exact = [sample.some_TK @ weight_KN for sample in samples]

    def error(scale_K: Floats | float) -> float:
        ints_KN, scale_N = nearest((weight_KN.T * scale_K).T)
        rounded_KN = ints_KN * scale_N
        lost = [
            _stepped(sample, scale_K) @ rounded_KN - product for sample, product in zip(samples, exact, strict=True)
        ]
        return float(np.sqrt(sum(np.square(each).sum() for each in lost)))

    tried = [(error(scale_K), scale_K) for scale_K in _scales(weight_KN, samples)]
    least, best_K = min(tried, key=lambda pair: pair[0])
    return best_K if least <= PAYS * error(1.0) else None


def nearest(weight_KN: Floats) -> Rounded:
    """Weights rounded each by itself, and the scale of each output channel."""
    scale_N = (np.maximum(np.abs(weight_KN).max(0), TINY) / TOP).astype(np.float32)
    return _ints(weight_KN, scale_N), scale_N


def compensated(weight_KN: Floats, together_KK: npt.NDArray[np.float64]) -> Rounded:
    """Weights rounded so that the product changes least, channels with the largest inputs first.

    `together_KK`: the mean of `x x^T` over tokens, of which there must be `ENOUGH`.
    """
    order_K = np.argsort(-together_KK.diagonal(), kind="stable")
    hessian_KK = together_KK[np.ix_(order_K, order_K)]
    hessian_KK[np.diag_indices_from(hessian_KK)] += DAMPING * hessian_KK.diagonal().mean() + TINY
    # Row k of the upper Cholesky factor of the inverse: how the channels after k make up for what k lost.
    factor_KK = np.linalg.cholesky(np.linalg.inv(hessian_KK)).T.astype(np.float32)
    _, scale_N = nearest(weight_KN)
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
    return np.rint(weights / scale_N).clip(-TOP, TOP).astype(np.int8)


def _scales(weight_KN: Floats, samples: Sequence[Sample]) -> Iterator[Floats]:
    """What channels could be divided by."""
    largest_K = np.maximum(np.max([np.maximum(-s.low_K, s.high_K) for s in samples], axis=0), TINY)
    weights_K = np.maximum(np.abs(weight_KN).max(1), TINY)
    for power in POWERS:
        scale_K = largest_K**power / weights_K ** (1 - power)
        yield np.maximum(scale_K / max(np.median(scale_K), TINY), LEAST)
    for quantile in QUANTILES:
        above_K = np.maximum(largest_K / np.quantile(largest_K, quantile), 1.0).astype(np.float32)
        yield from (above_K**part for part in PARTS)


def _stepped(sample: Sample, scale_K: Floats | float) -> Floats:
    """The input, divided, in `STEPS` equal steps over its range, 0 among them (DynamicQuantizeLinear)."""
    low, high = min(float((sample.low_K / scale_K).min()), 0.0), max(float((sample.high_K / scale_K).max()), 0.0)
    step = np.float32((high - low) / STEPS or 1.0)
    zero = np.rint(np.float32(-low) / step)
    return (np.clip(np.rint(sample.some_TK / scale_K / step) + zero, 0, STEPS) - zero) * step
