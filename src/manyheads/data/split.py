"""A validation part of the training data, when there is no file of one.

Decided here: each cluster (document, article), or text that stands alone, goes where its sha256 sends it. So the parts do
not depend on the order of the rows, equal texts stay together, and a row added later moves no other. Where documents are too
few to be divided (one for the whole file), their passages or sentences are, and the user is told so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

import numpy as np

from manyheads.data.table import ExampleT, ExampleTable
from manyheads.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt


MOST_HELD = 2.0
"""A validation part of more than so many times its share is told of: there are few documents."""


@dataclass(frozen=True, slots=True)
class Parted(Generic[ExampleT]):
    """The two parts of a table."""

    train: ExampleTable[ExampleT]
    validation: ExampleTable[ExampleT]
    notes: tuple[str, ...] = ()
    """What the user should know of the division, each with a place."""


def part_table(table: ExampleTable[ExampleT], fraction: float, seed: int) -> Parted[ExampleT]:
    """Divide a table: each cluster, or text that stands alone, goes where its sha256 sends it.

    The order of the rows does not matter, equal texts stay together and documents whole. At least one goes to each
    side, and whatever holds a label that train would be left without goes to train. Raises DataError when nothing is
    left for validation.
    """
    digests, clusters = table.digests().tolist(), table.clusters()
    keys = [cluster or str(digest) for cluster, digest in zip(clusters, digests, strict=True)]
    held_N = _held(table, keys, fraction, seed)
    notes = []
    if not held_N.any() and any(clusters):
        documents = len(set(keys))
        keys = [table.task.passage(example) or str(digest) for example, digest in zip(table, digests, strict=True)]
        held_N = _held(table, keys, fraction, seed)
        notes = [f"{table.where(0)}: the data names {documents} document{'s' * (documents > 1)}, which cannot be divided "
                 "into train and validation; its passages or sentences are, so a document is on both sides: give a "
                 "validation file for scores on new documents"]  # fmt: skip
    if not held_N.any():
        raise DataError(
            f"{table.where(0)}: too little data to set a validation part aside ({len(table)} examples, {len(set(keys))} "
            "separate texts or documents); give a validation file"
        )
    share = float(held_N.mean())
    if share > MOST_HELD * fraction and len(table) * fraction >= 20:
        notes.append(f"{table.where(0)}: {share:.0%} of the data is set aside for validation, not {fraction:.0%}, because "
                     f"there are only {len(set(keys))} documents or separate texts; give a validation file")  # fmt: skip
    return Parted(table.take(np.flatnonzero(~held_N)), table.take(np.flatnonzero(held_N)), tuple(notes))


def split_table(
    table: ExampleTable[ExampleT], fraction: float, seed: int
) -> tuple[ExampleTable[ExampleT], ExampleTable[ExampleT]]:
    """(train, validation), as `part_table` divides them."""
    parts = part_table(table, fraction, seed)
    return parts.train, parts.validation


def _held(table: ExampleTable[Any], keys: Sequence[str], fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Which examples go to validation."""
    hashes = {key: int.from_bytes(hashlib.sha256(f"{seed}\0{key}".encode()).digest()[:8], "big") for key in set(keys)}
    held = {key for key, value in hashes.items() if value < fraction * 2**64} or {min(hashes, key=hashes.__getitem__)}
    held.discard(max(hashes, key=hashes.__getitem__))
    needed, alone = _needed(table, keys, held, hashes)
    held -= needed
    if not held and len(hashes) > 1:  # the next ones that leave train every label
        held = {key for key in sorted(hashes, key=hashes.__getitem__) if key not in alone}
        held = {min(held, key=hashes.__getitem__)} if held else held
    return np.array([key in held for key in keys], bool)


def _needed(
    table: ExampleTable[Any], keys: Sequence[str], held: Set[str], hashes: Mapping[str, int]
) -> tuple[set[str], set[str]]:
    """Keys that train needs back: for each label that only held-out keys have, the one of them with the lowest hash. And
    all keys that have a label of their own.
    """
    holders: dict[str, set[str]] = {}
    for key, example in zip(keys, table, strict=True):
        for label in table.task.collect(example).labels:
            holders.setdefault(label, set()).add(key)
    needed = {min(found, key=hashes.__getitem__) for found in holders.values() if found <= held}
    return needed, {key for found in holders.values() if len(found) == 1 for key in found}
