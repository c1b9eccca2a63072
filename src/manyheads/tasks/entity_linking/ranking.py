"""The few numbers that rank candidates, fitted on validation mentions: feature weights, the logit of "none", the threshold.

The weights maximise the likelihood of the right candidate (a conditional logit, McFadden 1974), with a weak pull towards
their defaults, so that a few mentions cannot make one infinite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from manyheads.tasks.base import Array
from manyheads.tasks.entity_linking.dictionary import FEATURES

WEIGHTS, NONE = (4.0, 8.0, 12.0), 5.0
"""Until they are fitted: an equal name outweighs the rest, and "none" needs a mention that resembles nothing."""
PULL = 5.0
"""Standard deviation of the pull towards the defaults."""
HIGHEST = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """The candidates of a mention, and which are right; none of them is for a mention outside the dictionary."""

    feature_CF: Array
    right_C: Array
    outside: bool


def fit_weights(mentions: Sequence[Ranked]) -> tuple[tuple[float, ...], float]:
    """Weights of the features, and the logit of "none". Mentions whose concept is no candidate teach nothing."""
    from scipy.optimize import minimize

    used = [one for one in mentions if one.outside or one.right_C.any()]
    most = max((len(one.right_C) for one in used), default=0)
    feature_NCF = np.zeros((len(used), most, FEATURES))
    there_NC, right_NC = np.zeros((len(used), most + 1), bool), np.zeros((len(used), most + 1), bool)
    there_NC[:, most] = True
    for n, one in enumerate(used):
        count = len(one.right_C)
        feature_NCF[n, :count] = one.feature_CF
        there_NC[n, :count], right_NC[n, :count], right_NC[n, most] = True, one.right_C, one.outside
    start = np.array([*WEIGHTS, NONE])

    def loss(value: Array) -> tuple[float, Array]:
        logit_NC = np.concatenate([feature_NCF @ value[:FEATURES], np.full((len(used), 1), value[FEATURES])], 1)
        every, right = _shares(logit_NC, there_NC), _shares(logit_NC, right_NC)
        change_NC = every[1] - right[1]
        slope = np.append(np.einsum("nc,ncf->f", change_NC[:, :most], feature_NCF), change_NC[:, most].sum())
        pull = (value - start) / PULL
        return float((every[0] - right[0]).sum() + 0.5 * (pull**2).sum()), slope + pull / PULL

    bounds = [(0.0, HIGHEST)] * FEATURES + [(-HIGHEST, HIGHEST)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return tuple(float(value) for value in found.x[:FEATURES]), float(found.x[FEATURES])


def _shares(logit_NC: Array, there_NC: Array) -> tuple[Array, Array]:
    """Logarithm of the sum of exponentials of some logits, `(N,)`, and the share of each, `(N, C)`."""
    masked_NC = np.where(there_NC, logit_NC, -np.inf)
    top_N1 = masked_NC.max(1, keepdims=True)
    part_NC = np.exp(masked_NC - top_N1)
    total_N1 = part_NC.sum(1, keepdims=True)
    return (np.log(total_N1) + top_N1)[:, 0], part_NC / total_N1


def fit_threshold(score_N: Array, right_N: Array, outside_N: Array) -> float:
    """The lowest threshold with the most right answers, where those below it answer "none"."""
    order = np.argsort(score_N, kind="stable")
    score_N, right_N, outside_N = score_N[order], right_N[order], outside_N[order]
    gain_N1 = np.concatenate([[0], np.cumsum(outside_N.astype(int) - right_N.astype(int))])
    last = np.append(np.diff(score_N) > 0, True) if len(score_N) else np.zeros(0, bool)
    gain_N1[1:][~last] = np.iinfo(np.int64).min  # equal scores are on one side
    best = int(gain_N1.argmax())
    if best == 0:
        return 0.0
    return float(np.nextafter(score_N[best - 1], 2.0) if best == len(score_N) else (score_N[best - 1] + score_N[best]) / 2)
