"""Draws of labels in training. They depend on the texts alone, so a step is the same however it is computed."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np


def generator_of(texts: Iterable[str]) -> np.random.Generator:
    """Random numbers that depend on some texts.

    >>> generator_of(["a text"]).random() == generator_of(["a text"]).random()
    True
    """
    digest = blake2b(digest_size=8)
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass"))
    return np.random.default_rng(int.from_bytes(digest.digest(), "big"))


def some_of(labels: Iterable[int], generator: np.random.Generator) -> list[int]:
    """Between one and all of some labels, in order; every number of them is equally likely. None of none.

    >>> sorted({tuple(some_of([3, 5], generator_of([str(text)]))) for text in range(20)})
    [(3,), (3, 5), (5,)]
    """
    every = sorted(set(labels))
    if not every:
        return []
    return sorted(generator.choice(every, generator.integers(1, len(every), endpoint=True), replace=False).tolist())
