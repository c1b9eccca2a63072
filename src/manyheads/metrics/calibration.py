"""Calibration of scores and tuning of thresholds, on validation data.

Answers with a score of 0.8 should be right four times in five. `expected_calibration_error` measures the deviation from
that (Naeini et al. 2015), a fitted temperature removes most of it (Guo et al. 2017), and thresholds decide from which score
a label or span is given.

Decided here:
- Scores of single spans (entities, answers) are not a softmax over all candidates, so they get a bias beside the temperature
  (Platt 1999; Küppers et al. 2020 for detections).
- Every fit is regularised towards "change nothing" as if by a few further examples, so that ten validation rows cannot make
  a head overconfident; with a thousand, the effect vanishes.
- A threshold is half-way between the scores it separates, never equal to one.
- Thresholds for F1 need examples: below `FEW_TEXTS` texts, the threshold is set to give as many labels as the texts have, a
  number that a few texts estimate well (Read et al. 2011). A label with `FEW_POSITIVES` examples gets its own threshold,
  shrunk towards that of all labels with a weight of `SHRINK` examples, in log-odds (Yang 2001: thresholds of rare labels
  overfit).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

BINS = 15
STRONGEST = 20.0
"""Temperatures lie between 1 / 20 and 20."""
PENALTY = 1.0
"""Weight of the regularisation: on the squares of a log temperature, of a slope minus 1, and of a bias."""
TINY = 1e-12
"""Minimum distance of scores from 0 and 1 before their log-odds are taken."""
FEW_TEXTS = 20
FEW_POSITIVES = 10
SHRINK = 20.0


def expected_calibration_error(score_N: npt.ArrayLike, right_N: npt.ArrayLike, bins: int = BINS) -> float:
    """Mean difference between scores and the share that is right, over bins of equal width weighted by their counts.

    A score on the edge of two bins is in the lower one. Raises ValueError without scores, or for different lengths.

    >>> expected_calibration_error([0.75, 0.75], [True, False])
    0.25
    """
    score_N, right_N = np.asarray(score_N, np.float64).ravel(), np.asarray(right_N, np.float64).ravel()
    if len(score_N) != len(right_N) or not len(score_N):
        raise ValueError(f"{len(score_N)} scores for {len(right_N)} answers; give one for each of at least one")
    bin_N = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], score_N)
    gap_M = np.bincount(bin_N, weights=score_N - right_N, minlength=bins)
    return float(np.abs(gap_M).sum() / len(score_N))


def logit(score: Array) -> Array:
    """Log-odds, kept finite.

    >>> float(logit(np.array(0.5)))
    0.0
    """
    score = np.clip(score, TINY, 1 - TINY)
    return np.asarray(np.log(score) - np.log1p(-score))


def sigmoid(logit: Array) -> Array:
    """Probability of log-odds, without overflow.

    >>> float(sigmoid(np.array(0.0)))
    0.5
    """
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logit)))


def softmax(logits_BK: Array) -> Array:
    """Probabilities of each row.

    >>> softmax(np.array([[1.0, 1.0]]))
    array([[0.5, 0.5]])
    """
    weight_BK = np.exp(logits_BK - logits_BK.max(-1, keepdims=True))
    return np.asarray(weight_BK / weight_BK.sum(-1, keepdims=True))


def class_temperature(logits_BK: Array, gold_B: npt.NDArray[np.int64]) -> float:
    """The temperature with the lowest negative log-likelihood of softmax(logits / temperature). Guo et al. 2017.

    Log probabilities can replace logits, as a constant in a row changes nothing.

    >>> class_temperature(np.array([[9.0, 0.0]] * 4), np.array([0, 0, 0, 1])) > 1  # overconfident
    True
    """
    shifted_BK = logits_BK - logits_BK.max(-1, keepdims=True)
    gold = float(shifted_BK[np.arange(len(gold_B)), gold_B].sum())

    def loss(inverse: float) -> float:
        return float(np.log(np.exp(inverse * shifted_BK).sum(-1)).sum() - inverse * gold)

    return _temperature(loss)


def label_temperature(logit_BK: Array, label_BK: Array) -> float:
    """The same for multi-label data: sigmoid(logit / temperature) of each label.

    >>> label_temperature(np.array([[9.0]] * 4), np.array([[1.0], [1.0], [1.0], [0.0]])) > 1
    True
    """
    sign_BK = 1 - 2 * np.asarray(label_BK, np.float64)

    def loss(inverse: float) -> float:
        return float(np.logaddexp(0, inverse * sign_BK * logit_BK).sum())

    return _temperature(loss)


def _temperature(loss: Callable[[float], float]) -> float:
    """Minimise a regularised loss of 1 / temperature by golden section over its logarithm."""
    ratio = (math.sqrt(5) - 1) / 2
    low, high = -math.log(STRONGEST), math.log(STRONGEST)

    def penalised(power: float) -> float:
        return loss(math.exp(power)) + PENALTY * power * power

    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = penalised(left), penalised(right)
    while high - low > 1e-5:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = penalised(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = penalised(right)
    return math.exp(-(low + high) / 2)


@dataclass(frozen=True, slots=True)
class Scale:
    """Calibration of raw scores that keeps their order: sigmoid(log-odds / temperature + bias).

    >>> Scale(temperature=2.0).applied(np.array([0.9])).round(2)
    array([0.75])
    """

    temperature: float = 1.0
    bias: float = 0.0

    def applied(self, score_N: Array) -> Array:
        """Calibrated scores for raw ones."""
        return score_N if self == Scale() else sigmoid(logit(score_N) / self.temperature + self.bias)

    def undone(self, score_N: Array) -> Array:
        """Raw scores for calibrated ones."""
        return score_N if self == Scale() else sigmoid((logit(score_N) - self.bias) * self.temperature)


def fitted_scale(score_N: Array, right_N: npt.ArrayLike) -> Scale:
    """The scale with the highest likelihood of calibrated scores as probabilities of being right. Platt 1999.

    >>> fitted_scale(np.array([0.9, 0.9, 0.9, 0.9]), [1, 0, 1, 0]).bias < 0
    True
    """
    logit_N, right_N = logit(np.asarray(score_N, np.float64)), np.asarray(right_N, np.float64)
    design_N2 = np.stack([logit_N, np.ones_like(logit_N)], 1)
    start_2 = np.array([1.0, 0.0])
    slope_2 = _newton(design_N2, right_N, start_2)
    least = 1 / STRONGEST
    if not least <= slope_2[0] <= STRONGEST:  # uninformative or reversed scores: their order is kept all the same
        held = min(max(float(slope_2[0]), least), STRONGEST)
        bias = _newton(np.ones((len(logit_N), 1)), right_N, np.zeros(1), held * logit_N)
        return Scale(1 / held, float(bias[0]))
    return Scale(float(1 / slope_2[0]), float(slope_2[1]))


def _newton(design_NP: Array, right_N: Array, prior_P: Array, offset_N: Array | float = 0.0) -> Array:
    """Logistic regression regularised towards `prior_P`, by Newton's method with step halving; the problem is convex."""

    def loss(weight_P: Array) -> float:
        score_N = design_NP @ weight_P + offset_N
        penalty = PENALTY * np.square(weight_P - prior_P).sum()
        return float(np.logaddexp(0, score_N).sum() - right_N @ score_N + penalty)

    weight_P = prior_P
    for _ in range(50):
        chance_N = sigmoid(design_NP @ weight_P + offset_N)
        slope_P = design_NP.T @ (chance_N - right_N) + 2 * PENALTY * (weight_P - prior_P)
        curve_PP = (design_NP * (chance_N * (1 - chance_N))[:, None]).T @ design_NP
        step_P = np.linalg.solve(curve_PP + 2 * PENALTY * np.eye(len(weight_P)), slope_P)
        size = 1.0
        while size > 1e-6 and loss(weight_P - size * step_P) > loss(weight_P):
            size /= 2
        weight_P = weight_P - size * step_P
        if float(np.abs(size * step_P).max()) < 1e-8:
            break
    return weight_P


def f1_threshold(score_N: npt.ArrayLike, right_N: npt.ArrayLike, golds: float) -> float:
    """The threshold with the best F1, the lowest of several; everything that reaches it is given.

    `golds`: number of gold items, with a score or not. 1.0 if nothing right has a score.

    >>> f1_threshold([0.9, 0.6, 0.2], [True, True, False], golds=2)
    0.4
    """
    score_N, right_N = np.asarray(score_N, np.float64).ravel(), np.asarray(right_N, np.float64).ravel()
    order_N = np.argsort(-score_N, kind="stable")
    ranked_N = score_N[order_N]
    hits_N = np.cumsum(right_N[order_N])
    if not len(hits_N) or not hits_N[-1]:
        return 1.0
    f1_N = 2 * hits_N / (np.arange(1, len(hits_N) + 1) + golds)
    f1_N[:-1][ranked_N[1:] == ranked_N[:-1]] = -1.0  # no threshold separates equal scores
    return _below(ranked_N, len(f1_N) - int(f1_N[::-1].argmax()))


def count_threshold(score_N: npt.ArrayLike, count: int) -> float:
    """The threshold that `count` scores reach, or as few more as ties allow; 1.0 for none.

    >>> count_threshold([0.9, 0.5, 0.1], 1)
    0.7
    """
    ranked_N = -np.sort(-np.asarray(score_N, np.float64).ravel())
    count = min(count, len(ranked_N))
    return _below(ranked_N, int((ranked_N >= ranked_N[count - 1]).sum())) if count else 1.0


def label_thresholds(score_BK: Array, label_BK: Array) -> Array:
    """The threshold of each label with the best F1; see the module docstring for few examples.

    >>> label_thresholds(np.array([[0.9, 0.8], [0.2, 0.1]]), np.array([[1, 1], [0, 0]]))
    array([0.5, 0.5])
    """
    positives_K = np.asarray(label_BK, np.float64).sum(0)
    every = len(label_BK) < FEW_TEXTS
    golds = float(positives_K.sum())
    common = count_threshold(score_BK, round(golds)) if every else f1_threshold(score_BK, label_BK, golds)
    threshold_K = np.full(score_BK.shape[1], common)
    for k in np.flatnonzero(positives_K >= FEW_POSITIVES) if not every else ():
        own = f1_threshold(score_BK[:, k], label_BK[:, k], positives_K[k])
        weight = positives_K[k] / (positives_K[k] + SHRINK)
        threshold_K[k] = sigmoid(weight * logit(np.array(own)) + (1 - weight) * logit(np.array(common)))
    return threshold_K


def _below(ranked_N: Array, count: int) -> float:
    """Half-way between the first `count` of scores in descending order and the next one."""
    following = ranked_N[count] if count < len(ranked_N) else 0.0
    return float((ranked_N[count - 1] + following) / 2)
