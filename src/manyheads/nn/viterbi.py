"""Best paths of a linear-chain CRF (Viterbi 1967), in numpy: exported models are decoded without torch.

Arrays are K × sequences, so that every operation runs along long rows. float64 takes 1.5 ms for 4,096 rows of 9 tags, and
2,000 additions leave no question of rounding.

Shapes: S sequences, T their rows laid end to end, L rows of one, K tags. `rules` are always the three arrays
`transitions_KK` (from, to), `start_K`, `end_K`, penalties for forbidden transitions included.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from manyheads.nn.time_major import Batch, Doubles, Floats, batches


def viterbi(
    emissions: Sequence[Floats], transitions_KK: Floats, start_K: Floats, end_K: Floats
) -> list[npt.NDArray[np.int64]]:
    """The best path of each sequence, `(L,)`; of equal paths the one with the lowest tags at its end.

    `emissions` are `(L, K)` each; L may be 0. Raises ValueError for an array without K columns.

    >>> from manyheads.nn.iob2 import iob2_rules
    >>> emissions_LK = np.array([[0.0, 1.0, 2.0], [0.0, 0.0, 1.0]])
    >>> viterbi([emissions_LK], *iob2_rules(["O", "B-X", "I-X"]))[0].tolist()
    [1, 2]
    """
    transitions_KK, start_K, end_K = (np.asarray(rule, np.float64) for rule in (transitions_KK, start_K, end_K))
    paths = [np.zeros(0, np.int64)] * len(emissions)
    for batch in batches(emissions, len(start_K)):
        best_KT = _best_scores(batch, transitions_KK, start_K)
        tag_T = np.empty(best_KT.shape[1], np.int64)
        next_S = np.zeros(0, np.int64)
        for step in reversed(batch.steps):
            # The last tag of a path takes the end scores, the others the transition to the tag chosen after them.
            leave_KS = transitions_KK.take(next_S, axis=1)
            if len(next_S) < step.stop - step.start:
                ends_KS = np.repeat(end_K[:, None], step.stop - step.start - len(next_S), axis=1)
                leave_KS = np.concatenate([leave_KS, ends_KS], axis=1)
            next_S = (best_KT[:, step] + leave_KS).argmax(axis=0)
            tag_T[step] = next_S
        for index, path in zip(batch.members, batch.split(tag_T[batch.place_T]), strict=True):
            paths[index] = path
    return paths


def _best_scores(batch: Batch, transitions_KK: Doubles, start_K: Doubles) -> Doubles:
    """Score `(K, T)` of the best path to each tag at each place, in time-major order."""
    best_KT = np.ascontiguousarray(batch.emissions_TK[batch.row_T].T)
    tags, first = len(start_K), batch.steps[0]
    best_KT[:, first] += start_K[:, None]
    # One buffer for all steps: fresh megabytes at every step cost more than the arithmetic.
    buffer = np.empty(tags * tags * (first.stop - first.start))
    for before, step in pairwise(batch.steps):
        active = step.stop - step.start
        candidate_KKS = buffer[: tags * tags * active].reshape(tags, tags, active)
        previous_KS = best_KT[:, before.start : before.start + active]
        np.add(previous_KS[:, None, :], transitions_KK[:, :, None], out=candidate_KKS)
        best_KT[:, step] += candidate_KKS.max(axis=0)
    return best_KT
