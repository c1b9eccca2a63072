"""Weights of labels in the loss, from their counts in the training data.

Decided here: by default (`auto`) counts are treated as a sample. Rows drawn from 150 equally frequent intents have one
example of some and five of others, which a classifier would take for their frequency. So the frequencies of labels get a
symmetric Dirichlet prior, whose concentration is fitted to the counts by maximum likelihood (empirical Bayes, Minka 2000).
The weight of a label is the posterior mean of its frequency over its frequency in the data. If counts differ by chance
alone, all labels get equal total weight; if they differ for a reason, weights are near 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

NO_DIFFERENCE = 1.1
"""If the ratio of the largest weight to the smallest is below it, no weights are used."""
CONCENTRATIONS = np.logspace(-3, 5, 161)
"""Candidates for the concentration of the prior, in steps of 12 %."""


def label_weights(setting: str | Mapping[str, float], counts: Mapping[str, int], *, multi: bool) -> tuple[float, ...]:
    """The weight of each label by the setting `class_weights`, in the order of `counts`; empty if all weigh the same.

    >>> label_weights("balanced", {"a": 1, "b": 3}, multi=False)
    (2.0, 0.6666666666666666)
    """
    if not isinstance(setting, str):
        return tuple(float(setting.get(label, 1.0)) for label in counts)
    if setting == "balanced":
        return balanced(list(counts.values()))
    return credible(list(counts.values())) if setting == "auto" and not multi else ()


def balanced(counts: Sequence[int]) -> tuple[float, ...]:
    """Total / (labels * count), as in scikit-learn: all labels get equal total weight.

    >>> balanced([1, 3])
    (2.0, 0.6666666666666666)
    """
    total = sum(counts)
    return tuple(total / (len(counts) * max(count, 1)) for count in counts)


def credible(counts: Sequence[int]) -> tuple[float, ...]:
    """Posterior mean of each label's frequency over its frequency in the data; empty if that changes next to nothing.

    >>> credible([400, 100])  # too large a difference to be chance
    ()
    >>> [round(weight, 2) for weight in credible([1, 2, 3, 2, 1, 3])]
    [2.0, 1.0, 0.67, 1.0, 2.0, 0.67]
    """
    count_K = np.asarray(counts, np.float64)
    total, labels = count_K.sum(), len(count_K)
    if labels < 2 or total == 0:
        return ()
    prior = _fitted_concentration(count_K)
    chance_K = (count_K + prior) / (total + labels * prior)
    weight_K = np.divide(chance_K * total, count_K, out=np.ones(labels), where=count_K > 0)
    given_K = weight_K[count_K > 0]
    if given_K.max() < NO_DIFFERENCE * given_K.min():
        return ()
    return tuple(weight_K.tolist())


def _fitted_concentration(count_K: np.ndarray) -> float:
    """The concentration of a symmetric Dirichlet-multinomial with the highest likelihood of these counts."""
    from scipy.special import gammaln

    a_C = CONCENTRATIONS
    total, labels = count_K.sum(), len(count_K)
    log_C = gammaln(labels * a_C) - gammaln(total + labels * a_C)
    log_C += (gammaln(count_K + a_C[:, None]) - gammaln(a_C)[:, None]).sum(-1)
    return float(a_C[log_C.argmax()])
