"""Weights of labels in the loss, from how often the training data has each.

Decided here: by default (`auto`) counts are taken for what they are, a sample. Rows drawn from 150 equally common intents
hold one example of some and five of others, and a classifier takes that for how common they are. So the frequencies of labels
get a symmetric Dirichlet prior, whose concentration is fitted to the counts by maximum likelihood (empirical Bayes, Minka
2000), and each label weighs the posterior mean of its frequency over its frequency in the data. Where counts differ by chance
alone, all labels weigh the same in total; where they differ for a reason, weights are near 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NO_DIFFERENCE = 1.1
"""Weights whose ratio is below it are left out."""
CONCENTRATIONS = np.logspace(-3, 5, 161)
"""Of the prior, one of which is the likeliest; steps of 12 %."""


def balanced(counts: Sequence[int]) -> tuple[float, ...]:
    """Total / (labels * count), as in scikit-learn: all labels weigh the same in total."""
    total = sum(counts)
    return tuple(total / (len(counts) * max(count, 1)) for count in counts)


def credible(counts: Sequence[int]) -> tuple[float, ...]:
    """Posterior mean of each label's frequency over its frequency in the data; empty where that changes next to nothing.

    >>> credible([400, 100])  # a difference that is not chance
    ()
    >>> [round(weight, 2) for weight in credible([1, 2, 3, 2, 1, 3])]
    [2.0, 1.0, 0.67, 1.0, 2.0, 0.67]
    """
    count_K = np.asarray(counts, np.float64)
    total, labels = count_K.sum(), len(count_K)
    if labels < 2 or total == 0:
        return ()
    prior = _likeliest(count_K)
    chance_K = (count_K + prior) / (total + labels * prior)
    weight_K = np.divide(chance_K * total, count_K, out=np.ones(labels), where=count_K > 0)
    given_K = weight_K[count_K > 0]
    if given_K.max() < NO_DIFFERENCE * given_K.min():
        return ()
    return tuple(weight_K.tolist())


def _likeliest(count_K: np.ndarray) -> float:
    """Concentration of the symmetric Dirichlet-multinomial that gives these counts the highest likelihood."""
    from scipy.special import gammaln

    a_C = CONCENTRATIONS
    total, labels = count_K.sum(), len(count_K)
    log_C = gammaln(labels * a_C) - gammaln(total + labels * a_C)
    log_C += (gammaln(count_K + a_C[:, None]) - gammaln(a_C)[:, None]).sum(-1)
    return float(a_C[log_C.argmax()])
