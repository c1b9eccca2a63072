"""Random numbers of a step as a function of (seed, step), so that a resumed run draws the same ones."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, step: int) -> np.random.Generator:
    """A separate generator for each step; Philox is designed to be keyed like this (Salmon 2011)."""
    key = hashlib.blake2b(f"balance:{seed}:{step}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
