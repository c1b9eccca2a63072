"""Random numbers of a step: a pure function of (seed, step), so a resumed run draws what the first one would have."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, step: int) -> np.random.Generator:
    """A generator of its own for each step; Philox is made to be keyed this way (Salmon 2011)."""
    key = hashlib.blake2b(f"balance:{seed}:{step}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
