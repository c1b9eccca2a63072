"""The transitions that IOB2 allows between tags, as scores for a CRF and for Viterbi. numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FORBIDDEN = -1e4
"""Added to the score of a transition that IOB2 does not allow. No emission outweighs it, and float16 can hold it."""


def iob2_rules(tags: Sequence[str]) -> tuple[npt.NDArray[np.float32], ...]:
    """Rules without learned scores: 0 where IOB2 allows a transition or start, `FORBIDDEN` where it does not.

    They are `transitions_KK` (from, to), `start_K` and `end_K`. `I-X` may follow only `B-X` or `I-X`. Raises ValueError for a
    tag other than `O`, `B-...` or `I-...`, a duplicate, and an `I-X` without its `B-X`.

    >>> transitions_KK, start_K, end_K = iob2_rules(["O", "B-X", "I-X"])
    >>> transitions_KK[:, 2].tolist(), start_K.tolist()
    ([-10000.0, 0.0, 0.0], [0.0, 0.0, -10000.0])
    """
    for tag in tags:
        if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) < 3):
            raise ValueError(f"tag {tag!r} is not IOB2; give 'O', 'B-LABEL' or 'I-LABEL'")
        if tag.startswith("I-") and f"B-{tag[2:]}" not in tags:
            raise ValueError(f"tag {tag!r} can never be reached: 'B-{tag[2:]}' is not among the tags")
    labelled = [tag for tag in tags if tag != "O"]  # each of several sequences of tags has an O
    if len(set(labelled)) != len(labelled):
        raise ValueError(f"a tag is given twice in {', '.join(tags)}")
    inside_K = np.array([tag.startswith("I-") for tag in tags], bool)
    label_K = np.array([tag[2:] for tag in tags])
    allowed_KK = ~inside_K[None, :] | (label_K[:, None] == label_K[None, :])
    return (
        np.where(allowed_KK, 0.0, FORBIDDEN).astype(np.float32),
        np.where(inside_K, FORBIDDEN, 0.0).astype(np.float32),
        np.zeros(len(tags), np.float32),
    )
