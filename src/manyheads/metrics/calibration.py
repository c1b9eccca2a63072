"""Probabilities that mean something: how far scores are from the truth, and what brings them nearer.

A score of 0.8 should be right four times in five. `expected_calibration_error` says how far from that a head is
(Naeini et al. 2015), a temperature fitted on validation data mends most of it (Guo et al. 2017), and thresholds decide from
which score on a label or span is given.

Decided here:
- Scores of single spans (entities, answers) are no softmax over what competes, so they take a bias beside the temperature
  (Platt 1999; Küppers et al. 2020 for detections).
- Every fit is held near "change nothing" as if by a few further examples, so that ten validation rows cannot make a head
  swear by its scores; with a thousand the pull is not felt.
- A threshold stands half-way between the scores it parts, never on one of them.
- Thresholds for F1 need examples: below `FEW_TEXTS` texts the threshold gives as many labels as the texts have, a figure
  that a handful of texts tells well (Read et al. 2011). A label with `FEW_POSITIVES` has a threshold of its own, drawn to
  that of all labels by `SHRINK` examples' worth, in units of log-odds (Yang 2001 on how thresholds of rare labels overfit).
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
DOUBT = 1.0
"""Of a fit, on the square of the logarithm of a temperature, of a slope less 1, and of a bias."""
TINY = 1e-12
"""Scores are kept so far from 0 and 1 where their log-odds are taken."""
FEW_TEXTS = 20
FEW_POSITIVES = 10
SHRINK = 20.0


def expected_calibration_error(score_N: npt.ArrayLike, right_N: npt.ArrayLike, bins: int = BINS) -> float:
    """Mean distance of scores from the share that is right, over bins of equal width, weighted by what is in them.

    A score on the edge of two bins is in the lower. Raises ValueError when there are no scores, or the lengths differ.
    """
    score_N, right_N = np.asarray(score_N, np.float64).ravel(), np.asarray(right_N, np.float64).ravel()
    if len(score_N) != len(right_N) or not len(score_N):
        raise ValueError(f"{len(score_N)} scores for {len(right_N)} answers; give one for each of at least one")
    bin_N = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], score_N)
    gap_M = np.bincount(bin_N, weights=score_N - right_N, minlength=bins)
    return float(np.abs(gap_M).sum() / len(score_N))


def logit(score: Array) -> Array:
    """Log-odds, kept finite."""
    score = np.clip(score, TINY, 1 - TINY)
    return np.asarray(np.log(score) - np.log1p(-score))


def sigmoid(logit: Array) -> Array:
    """Probability of log-odds, without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logit)))


def softmax(logits_BK: Array) -> Array:
    """Probabilities of each row."""
    weight_BK = np.exp(logits_BK - logits_BK.max(-1, keepdims=True))
    return np.asarray(weight_BK / weight_BK.sum(-1, keepdims=True))


def class_temperature(logits_BK: Array, gold_B: npt.NDArray[np.int64]) -> float:
    """The temperature with the lowest negative log-likelihood of softmax(logits / temperature). Guo et al. 2017.

    Log probabilities do as well as logits: a constant in a row changes nothing.
    """
    shifted_BK = logits_BK - logits_BK.max(-1, keepdims=True)
    gold = float(shifted_BK[np.arange(len(gold_B)), gold_B].sum())

    def loss(inverse: float) -> float:
        return float(np.log(np.exp(inverse * shifted_BK).sum(-1)).sum() - inverse * gold)

    return _temperature(loss)


def label_temperature(logit_BK: Array, label_BK: Array) -> float:
    """The same for labels that any number of may hold: sigmoid(logit / temperature) of each."""
    sign_BK = 1 - 2 * np.asarray(label_BK, np.float64)

    def loss(inverse: float) -> float:
        return float(np.logaddexp(0, inverse * sign_BK * logit_BK).sum())

    return _temperature(loss)


def _temperature(loss: Callable[[float], float]) -> float:
    """The least of a loss of 1 / temperature, and of the doubt, by golden section over its logarithm."""
    ratio = (math.sqrt(5) - 1) / 2
    low, high = -math.log(STRONGEST), math.log(STRONGEST)

    def doubted(power: float) -> float:
        return loss(math.exp(power)) + DOUBT * power * power

    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = doubted(left), doubted(right)
    while high - low > 1e-5:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = doubted(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = doubted(right)
    return math.exp(-(low + high) / 2)


@dataclass(frozen=True, slots=True)
class Scale:
    """What becomes of a raw score: sigmoid(log-odds / temperature + bias). Its order stays."""

    temperature: float = 1.0
    bias: float = 0.0

    def applied(self, score_N: Array) -> Array:
        """Raw scores on this scale."""
        return score_N if self == Scale() else sigmoid(logit(score_N) / self.temperature + self.bias)

    def undone(self, score_N: Array) -> Array:
        """The raw scores of those on this scale."""
        return score_N if self == Scale() else sigmoid((logit(score_N) - self.bias) * self.temperature)


def fitted_scale(score_N: Array, right_N: npt.ArrayLike) -> Scale:
    """The scale on which raw scores are likeliest to be the chance of being right. Platt 1999."""
    logit_N, right_N = logit(np.asarray(score_N, np.float64)), np.asarray(right_N, np.float64)
    design_N2 = np.stack([logit_N, np.ones_like(logit_N)], 1)
    start_2 = np.array([1.0, 0.0])
    slope_2 = _newton(design_N2, right_N, start_2)
    least = 1 / STRONGEST
    if not least <= slope_2[0] <= STRONGEST:  # scores that say nothing, or the contrary: their order stays all the same
        held = min(max(float(slope_2[0]), least), STRONGEST)
        bias = _newton(np.ones((len(logit_N), 1)), right_N, np.zeros(1), held * logit_N)
        return Scale(1 / held, float(bias[0]))
    return Scale(float(1 / slope_2[0]), float(slope_2[1]))


def _newton(design_NP: Array, right_N: Array, prior_P: Array, offset_N: Array | float = 0.0) -> Array:
    """Logistic regression held near `prior_P`, by Newton's method with halved steps; the problem is convex."""

    def loss(weight_P: Array) -> float:
        score_N = design_NP @ weight_P + offset_N
        doubt = DOUBT * np.square(weight_P - prior_P).sum()
        return float(np.logaddexp(0, score_N).sum() - right_N @ score_N + doubt)

    weight_P = prior_P
    for _ in range(50):
        chance_N = sigmoid(design_NP @ weight_P + offset_N)
        slope_P = design_NP.T @ (chance_N - right_N) + 2 * DOUBT * (weight_P - prior_P)
        curve_PP = (design_NP * (chance_N * (1 - chance_N))[:, None]).T @ design_NP
        step_P = np.linalg.solve(curve_PP + 2 * DOUBT * np.eye(len(weight_P)), slope_P)
        size = 1.0
        while size > 1e-6 and loss(weight_P - size * step_P) > loss(weight_P):
            size /= 2
        weight_P = weight_P - size * step_P
        if float(np.abs(size * step_P).max()) < 1e-8:
            break
    return weight_P


def f1_threshold(score_N: npt.ArrayLike, right_N: npt.ArrayLike, golds: float) -> float:
    """The threshold with the best F1 when whatever reaches it is given; the lowest such where several do as well.

    `golds`: all that is to be found, whether it has a score or not. 1.0 where nothing that is right has a score.
    """
    score_N, right_N = np.asarray(score_N, np.float64).ravel(), np.asarray(right_N, np.float64).ravel()
    order_N = np.argsort(-score_N, kind="stable")
    ranked_N = score_N[order_N]
    hits_N = np.cumsum(right_N[order_N])
    if not len(hits_N) or not hits_N[-1]:
        return 1.0
    f1_N = 2 * hits_N / (np.arange(1, len(hits_N) + 1) + golds)
    f1_N[:-1][ranked_N[1:] == ranked_N[:-1]] = -1.0  # no threshold parts equal scores
    return _below(ranked_N, len(f1_N) - int(f1_N[::-1].argmax()))


def count_threshold(score_N: npt.ArrayLike, count: int) -> float:
    """The threshold from which so many scores are given, or as few more as equal scores allow; 1.0 for none."""
    ranked_N = -np.sort(-np.asarray(score_N, np.float64).ravel())
    count = min(count, len(ranked_N))
    return _below(ranked_N, int((ranked_N >= ranked_N[count - 1]).sum())) if count else 1.0


def label_thresholds(score_BK: Array, label_BK: Array) -> Array:
    """From which score on each label is given, so that F1 is best. See the head of this module."""
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
    """Half-way between the last of so many scores, in falling order, and the next."""
    following = ranked_N[count] if count < len(ranked_N) else 0.0
    return float((ranked_N[count - 1] + following) / 2)
