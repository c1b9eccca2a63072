"""Wrong labels from predicted probabilities: confident learning (Northcutt, Jiang & Chuang 2021).

The probabilities must come from a model that was not trained on the labels it judges (cross-validation).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
Labels = npt.NDArray[np.integer]

SLACK = 1e-6
"""A probability this far below its threshold counts as equal to it."""


def class_thresholds(chance_NK: Array, label_N: Labels) -> npt.NDArray[np.float64]:
    """The mean probability of each class among the examples labelled with it, `(K,)`; 1 for a class without examples.

    >>> class_thresholds(np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]]), np.array([0, 0, 1]))
    array([0.8, 0.8])
    """
    classes = chance_NK.shape[1]
    own_N = chance_NK[np.arange(len(label_N)), label_N].astype(np.float64)
    total_K = np.bincount(label_N, weights=own_N, minlength=classes)
    count_K = np.bincount(label_N, minlength=classes)
    return np.where(count_K > 0, total_K / np.maximum(count_K, 1), 1.0)


def confident_classes(chance_NK: Array, threshold_K: Array) -> npt.NDArray[np.int64]:
    """The class that each example confidently belongs to, `(N,)`; -1 if no probability reaches its threshold.

    If several do, the class with the highest probability.
    """
    reached_NK = chance_NK >= threshold_K - SLACK
    best_N = np.where(reached_NK.sum(1) > 1, chance_NK.argmax(1), reached_NK.argmax(1))
    return np.where(reached_NK.any(1), best_N, -1)


def confident_joint(label_N: Labels, confident_N: Labels, classes: int) -> npt.NDArray[np.int64]:
    """Counts of examples by label (rows) and confident class (columns), `(K, K)`, without examples of no confident class.

    >>> confident_joint(np.array([0, 0, 1]), np.array([0, 1, -1]), 2)
    array([[1, 1],
           [0, 0]])
    """
    sure_N = confident_N >= 0
    joint_KK = np.zeros((classes, classes), np.int64)
    np.add.at(joint_KK, (label_N[sure_N], confident_N[sure_N]), 1)
    return joint_KK


def suspected_labels(chance_NK: Array, label_N: Labels) -> npt.NDArray[np.bool_]:
    """Whether each example is confidently of another class than its label, `(N,)`: off the diagonal of the confident joint.

    >>> suspected_labels(np.array([[0.9, 0.1], [0.1, 0.9], [0.2, 0.8], [0.9, 0.1]]), np.array([0, 0, 1, 0]))
    array([False,  True, False, False])
    """
    confident_N = confident_classes(chance_NK, class_thresholds(chance_NK, label_N))
    return (confident_N >= 0) & (confident_N != label_N)
