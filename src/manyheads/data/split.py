"""A validation part of the training data, when there is no file of one.

Decided here: each cluster (document, article), or text that stands alone, goes where its sha256 sends it. So the parts do
not depend on the order of the rows, equal texts stay together, and a row added later moves no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from manyheads.data.table import ExampleT, ExampleTable
from manyheads.errors import DataError


def split_table(
    table: ExampleTable[ExampleT], fraction: float, seed: int
) -> tuple[ExampleTable[ExampleT], ExampleTable[ExampleT]]:
    """(train, validation): each cluster, or text that stands alone, goes where its sha256 sends it.

    The order of the rows does not matter, equal texts stay together and documents whole. At least one goes to each
    side, and whatever holds a label that train would be left without goes to train. Raises DataError when nothing is
    left for validation.
    """
    digests, clusters = table.digests().tolist(), table.clusters()
    keys = [cluster or str(digest) for cluster, digest in zip(clusters, digests, strict=True)]
    hashes = {key: int.from_bytes(hashlib.sha256(f"{seed}\0{key}".encode()).digest()[:8], "big") for key in set(keys)}
    held = {key for key, value in hashes.items() if value < fraction * 2**64} or {min(hashes, key=hashes.__getitem__)}
    held.discard(max(hashes, key=hashes.__getitem__))
    held -= _needed(table, keys, {key: hashes[key] for key in held})
    held_N = np.array([key in held for key in keys], bool)
    if not held_N.any():
        raise DataError(
            f"{table.where(0)}: too little data to set a validation part aside ({len(table)} examples, {len(hashes)} "
            "separate texts or documents); give a validation file"
        )
    return table.take(np.flatnonzero(~held_N)), table.take(np.flatnonzero(held_N))


def _needed(table: ExampleTable[Any], keys: Sequence[str], held: Mapping[str, int]) -> set[str]:
    """For each label that only the held-out keys have, the one of them with the lowest hash."""
    trained: set[str] = set()
    holders: dict[str, set[str]] = {}
    for key, example in zip(keys, table, strict=True):
        labels = table.task.facts(example).labels
        if key not in held:
            trained.update(labels)
            continue
        for label in labels:
            holders.setdefault(label, set()).add(key)
    return {min(found, key=held.__getitem__) for label, found in holders.items() if label not in trained}
