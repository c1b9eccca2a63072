"""A validation split of the training data, for tasks without a validation file.

The sha256 of a cluster (document, article), or of the text of an example without one, decides its side. So the split does
not depend on the order of the rows, equal texts stay together, and adding a row moves no other. If there are too few
documents to divide (one for the whole file), passages or sentences are divided instead, with a note to the user.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

import numpy as np

from manyheads.data.table import ExampleT, ExampleTable
from manyheads.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt


MOST_HELD = 2.0
"""A validation split larger than this many times its share gets a note: there are few documents."""


class Split(NamedTuple, Generic[ExampleT]):
    """A table divided in two."""

    train: ExampleTable[ExampleT]
    validation: ExampleTable[ExampleT]
    notes: tuple[str, ...] = ()
    """Notes to the user, each with a place."""


def split_table(table: ExampleTable[ExampleT], fraction: float, seed: int) -> Split[ExampleT]:
    """Divide a table by the sha256 of clusters, or of texts without one.

    Each side gets at least one; a cluster with a label that train would otherwise lack goes to train. Raises DataError if
    nothing is left for validation.
    """
    digests, clusters = table.digests().tolist(), table.clusters()
    keys = [cluster or str(digest) for cluster, digest in zip(clusters, digests, strict=True)]
    held_N = _held(table, keys, fraction, seed)
    notes = []
    if not held_N.any() and any(clusters):
        documents = len(set(keys))
        keys = [table.task.subcluster(example) or str(digest) for example, digest in zip(table, digests, strict=True)]
        held_N = _held(table, keys, fraction, seed)
        notes = [f"{table.where(0)}: the data names {documents} document{'s' * (documents > 1)}, which cannot be divided "
                 "into train and validation; its passages or sentences are, so a document is on both sides: give a "
                 "validation file for scores on new documents"]  # fmt: skip
    if not held_N.any():
        raise DataError(
            f"{table.where(0)}: too little data for a validation split ({len(table)} examples, {len(set(keys))} "
            "separate texts or documents); give a validation file"
        )
    share = float(held_N.mean())
    if share > MOST_HELD * fraction and len(table) * fraction >= 20:
        notes.append(f"{table.where(0)}: {share:.0%} of the data is used for validation, not {fraction:.0%}, because "
                     f"there are only {len(set(keys))} documents or separate texts; give a validation file")  # fmt: skip
    return Split(table.take(np.flatnonzero(~held_N)), table.take(np.flatnonzero(held_N)), tuple(notes))


def _held(table: ExampleTable[Any], keys: Sequence[str], fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Which examples go to validation."""
    hashes = {key: int.from_bytes(hashlib.sha256(f"{seed}\0{key}".encode()).digest()[:8], "big") for key in set(keys)}
    held = {key for key, value in hashes.items() if value < fraction * 2**64} or {min(hashes, key=hashes.__getitem__)}
    held.discard(max(hashes, key=hashes.__getitem__))
    needed, alone = _needed(table, keys, held, hashes)
    held -= needed
    if not held and len(hashes) > 1:  # the next that leaves every label in train
        held = {key for key in sorted(hashes, key=hashes.__getitem__) if key not in alone}
        held = {min(held, key=hashes.__getitem__)} if held else held
    return np.array([key in held for key in keys], bool)


def _needed(
    table: ExampleTable[Any], keys: Sequence[str], held: Set[str], hashes: Mapping[str, int]
) -> tuple[set[str], set[str]]:
    """Keys that train needs back: for each label found in held-out keys only, the one with the lowest hash. And all keys
    with a label that no other key has.
    """
    holders: dict[str, set[str]] = {}
    for key, example in zip(keys, table, strict=True):
        for label in table.task.collect(example).labels:
            holders.setdefault(label, set()).add(key)
    needed = {min(found, key=hashes.__getitem__) for found in holders.values() if found <= held}
    return needed, {key for found in holders.values() if len(found) == 1 for key in found}
