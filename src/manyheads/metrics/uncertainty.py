"""How unsure a model is of a text, and how much several models disagree about it; 0 is certain, 1 the most there can be.

All take the U choices about one text with K alternatives (`tasks/choices.py`), or those of M models.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]

TINY = 1e-12
"""Least probability whose logarithm is taken."""


def entropy(chance_UK: Array) -> npt.NDArray[np.float64]:
    """Shannon entropy of each choice over that of the uniform distribution, `(U,)`.

    >>> entropy(np.array([[0.5, 0.5], [1.0, 0.0]])).round(3) + 0.0
    array([1., 0.])
    """
    chance = np.asarray(chance_UK, np.float64)
    return -(chance * np.log(np.maximum(chance, TINY))).sum(-1) / np.log(max(chance.shape[-1], 2))


def margin(chance_UK: Array) -> npt.NDArray[np.float64]:
    """1 minus the difference of the two highest probabilities of each choice, `(U,)` (Scheffer et al. 2001).

    >>> margin(np.array([[0.6, 0.3, 0.1]])).round(3)
    array([0.7])
    """
    if chance_UK.shape[-1] < 2:
        return np.zeros(len(chance_UK))
    top_U2 = np.partition(np.asarray(chance_UK, np.float64), -2, axis=-1)[:, -2:]
    return 1 - (top_U2[:, 1] - top_U2[:, 0])


def sequence_uncertainty(chance_UK: Array) -> float:
    """1 minus the geometric mean of the highest probabilities: the length-normalised log probability of the most likely
    sequence of independent choices (MNLP, Shen et al. 2018).

    >>> round(sequence_uncertainty(np.array([[0.9, 0.1], [0.9, 0.1]])), 3)
    0.1
    """
    if not len(chance_UK):
        return 0.0
    return float(1 - np.exp(np.log(np.maximum(chance_UK.max(-1), TINY)).mean()))


def disagreement(chance_MUK: Array) -> npt.NDArray[np.float64]:
    """Jensen-Shannon divergence of M models about each choice over its maximum, `(U,)`.

    It is the mean Kullback-Leibler divergence from their mean (McCallum & Nigam 1998).

    >>> disagreement(np.array([[[1.0, 0.0]], [[0.0, 1.0]]])).round(3)
    array([1.])
    """
    chance = np.asarray(chance_MUK, np.float64)
    models, alternatives = chance.shape[0], max(chance.shape[-1], 2)
    most = np.log(min(models, alternatives)) if models > 1 else 1.0
    mean_U = entropy(chance.mean(0)) - entropy(chance.reshape(-1, chance.shape[-1])).reshape(models, -1).mean(0)
    return np.maximum(mean_U, 0.0) * np.log(alternatives) / most
