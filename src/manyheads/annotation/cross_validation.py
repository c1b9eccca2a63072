"""Answers of heads to labelled examples that they were not trained on: heads refitted by folds on a frozen encoder.

Decided here:
- Examples are ordered by a hash of their texts, so folds do not depend on the order of rows, and equal texts, which may have
  different labels, are in one fold.
- The penalty is chosen once, on one fold of the first packs; heads start from the same initial weights, so no head has seen
  the fold that it judges.
- At most `MOST_FEATURES` numbers of hidden states are fitted on; they stay in memory. The other examples are judged by the
  head without the first fold as soon as they are encoded, so memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from manyheads.errors import DataError, TrainingError
from manyheads.tasks.base import Item
from manyheads.training.batch import Portion, encode_examples, lay
from manyheads.training.head_fit import SEARCH_TOKENS
from manyheads.training.head_problem import STEPS, Features, HeadProblem, choose_penalty, mean_square

if TYPE_CHECKING:
    from manyheads.annotation.labelled import LabelledExamples
    from manyheads.tasks.base import Task
    from manyheads.text.pack import Pack as TokenPack
    from manyheads.text.tokenizer import Tokenizer

FOLDS = 5
MOST_FEATURES = 1 << 27
"""Numbers of hidden states kept (float32: 512 MB): 87,000 tokens of four layers of width 384."""
PACK_TOKENS = 4096


ALL_WINDOWS = 1 << 20
"""Windows of a text that are read: no text has more."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Encodes examples of one task on a frozen encoder."""

    states: Callable[[TokenPack], torch.Tensor]
    """The hidden states `(T, D)` of a pack on the CPU, as the head reads them."""
    width: int
    task: Task[Any]
    tokenizer: Tokenizer
    max_length: int

    def pack(self, table: LabelledExamples, rows: Sequence[int]) -> Pack:
        """Some examples and their hidden states."""
        examples = [table[row] for row in rows]
        encodings = encode_examples(
            self.task, examples, self.tokenizer, max_length=self.max_length, budget=ALL_WINDOWS * self.max_length
        )
        portion = Portion(self.task, examples, encodings)
        batch = lay([portion])
        with torch.no_grad():
            hidden_TD = self.states(batch.pack).float().cpu()
        return Pack(rows, portion, Features(hidden_TD, batch.pack.segments, batch, batch.denominators[self.task.name]))


@dataclass(frozen=True, slots=True)
class Pack:
    """Examples of a table that were encoded together."""

    rows: Sequence[int]
    portion: Portion
    features: Features

    def items(self, task: Task[Any], head: torch.nn.Module) -> list[Item]:
        """The outputs of a head for each example."""
        with torch.no_grad():
            outputs = head(self.features.hidden_TD, self.features.segments)
        arrays = {key: value.detach().float().cpu().numpy() for key, value in outputs.items()}
        bounds = np.cumsum([0, *self.features.segments.lengths]).tolist()
        first, items = 0, []
        for example, asked in zip(self.portion.examples, self.portion.encodings, strict=True):
            (entry,), (windows,) = task.sources_of_example(example), asked
            places = range(first, first + len(windows))
            found = [_of_window(task, arrays, s, bounds) for s in places]
            items.append(Item(entry.source, entry.words, windows, found))
            first += len(windows)
        return items


def _of_window(task: Task[Any], arrays: dict[str, Any], s: int, bounds: Sequence[int]) -> dict[str, Any]:
    cuts = {"token": slice(bounds[s], bounds[s + 1]), "sequence": slice(s, s + 1), "constant": slice(None)}
    return {key: value[cuts[task.outputs[key]]] for key, value in arrays.items()}


def out_of_fold(reader: Reader, table: LabelledExamples, folds: int = FOLDS) -> Iterator[tuple[int, Any, Item]]:
    """The row of each example in the table, the example, and the outputs for it of a head that was not trained on it.

    Raises DataError for examples that all have the same texts, and TrainingError if a head cannot be fitted.
    """
    packs, rest = _kept(reader, table, folds)
    folds = min(folds, len(packs))  # fewer where equal texts leave fewer groups
    if folds < 2:
        raise DataError(f"{table.where(0)}: all {len(table)} examples of '{reader.task.name}' have the same text; there is "
                        "nothing to compare")  # fmt: skip
    task, head = reader.task, _head(reader)
    problem = HeadProblem(head, task, mean_square([pack.features for pack in packs]))
    best = choose_penalty(problem, _some(packs), every=False)
    if best is None:
        raise TrainingError(f"no head of '{task.name}' can be fitted: the encoder's states are not finite numbers")
    for k in range(folds):
        problem.head.load_state_dict(problem.began)  # not a solution that may have seen this fold
        problem.solve([pack.features for i, pack in enumerate(packs) if i % folds != k], best.penalty, 2 * STEPS)
        problem.scale(best.scale)
        for pack in packs[k::folds]:
            yield from zip(pack.rows, pack.portion.examples, pack.items(task, head), strict=True)
        for rows in rest if k == 0 else ():
            pack = reader.pack(table, rows)
            yield from zip(pack.rows, pack.portion.examples, pack.items(task, head), strict=True)


def _head(reader: Reader) -> torch.nn.Module:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return reader.task.build_head(reader.width).eval()


def _kept(reader: Reader, table: LabelledExamples, folds: int) -> tuple[list[Pack], Iterator[list[int]]]:
    """Packs to fit heads on, in memory, and the rows of the others."""
    groups = _groups(reader.task, table, folds)
    packs: list[Pack] = []
    size = 0
    for rows in groups:
        packs.append(reader.pack(table, rows))
        size += packs[-1].features.hidden_TD.numel()
        if size >= MOST_FEATURES and len(packs) >= folds:
            break
    return packs, groups


def _groups(task: Task[Any], table: LabelledExamples, folds: int) -> Iterator[list[int]]:
    """Rows for each pack, by the hash of their texts; equal texts are together."""
    digest_N = table.digests()
    order = np.argsort(digest_N, kind="stable")
    characters = max(1, PACK_TOKENS * 3)
    most = -(-len(table) // folds)
    rows: list[int] = []
    size = 0
    for row in order.tolist():
        length = sum(len(e.source.first) + len(e.source.second or "") for e in task.sources_of_example(table[row]))
        full = rows and (size + length > characters or len(rows) >= most)
        if full and digest_N[row] != digest_N[rows[-1]]:
            yield rows
            rows, size = [], 0
        rows.append(row)
        size += length
    if rows:
        yield rows


def _some(packs: Sequence[Pack]) -> list[Features]:
    """The first packs, enough to choose a penalty on."""
    found: list[Features] = []
    for pack in packs:
        found.append(pack.features)
        if len(found) >= FOLDS and sum(len(f.hidden_TD) for f in found) >= SEARCH_TOKENS:
            break
    return found
