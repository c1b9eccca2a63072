"""What a step trains on: a pure function of the step number, so a run can start anywhere.

A step holds `tokens_per_step` real tokens, shared out by the sampler; each task's part is the next stretch of its own
endless shuffled stream. Batches are made ahead in a thread, so that tokenising hides behind the matrix products.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.text.pack import Pack

if TYPE_CHECKING:
    import torch

    from manyheads.data.sampler import Sampler
    from manyheads.data.stream import Stream
    from manyheads.data.table import ExampleTable
    from manyheads.model import Reads
    from manyheads.tasks.base import Task
    from manyheads.text.pack import Encoding
    from manyheads.text.tokenizer import Tokenizer

AHEAD = 4
"""Batches made ahead: enough to hide a slow one, and 4 x 4,096 tokens are under a megabyte."""


@dataclass(frozen=True, slots=True)
class Feed:
    """Training examples of one task in the order of its stream."""

    task: Task[Any]
    table: ExampleTable[Any]
    stream: Stream


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's pack, which sequences belong to which task, and each task's targets."""

    pack: Pack
    reads: Reads
    targets: Mapping[str, Mapping[str, torch.Tensor]]
    tokens: Mapping[str, int]


class Batcher:
    """Makes the batch of any step."""

    def __init__(
        self,
        feeds: Sequence[Feed],
        sampler: Sampler,
        tokenizer: Tokenizer,
        *,
        max_length: int,
        budget: int,
    ) -> None:
        """`max_length` tokens a window; one text of an example never brings more than `budget` tokens."""
        self.feeds = feeds
        self.sampler = sampler
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.budget = budget

    def batch(self, step: int) -> Batch | None:
        """The batch of a step; None when the stretches of all tasks are shorter than their next example."""
        sequences: list[Encoding] = []
        reads, targets, tokens = {}, {}, {}
        for feed in self.feeds:
            name = feed.task.name
            indices = feed.stream.between(self.sampler.quota(name, step), self.sampler.quota(name, step + 1))
            if not indices:
                continue
            examples = [feed.table[i] for i in indices]
            encodings = encode_examples(
                feed.task, examples, self.tokenizer, max_length=self.max_length, budget=self.budget
            )
            flat = [window for asked in encodings for source in asked for window in source]
            reads[name] = (len(sequences), len(sequences) + len(flat))
            tokens[name] = sum(map(len, flat))
            targets[name] = _tensors(feed.task.targets(examples, encodings))
            sequences.extend(flat)
        return Batch(Pack.of(sequences), reads, targets, tokens) if sequences else None


def encode_examples(
    task: Task[Any], examples: Sequence[Any], tokenizer: Tokenizer, *, max_length: int, budget: int
) -> list[list[list[Encoding]]]:
    """Windows of each ask of each example. The windows of one source past `budget` tokens are left out."""
    asked = [task.asks(example) for example in examples]
    encoded = iter(tokenizer.encode([ask.source for asks in asked for ask in asks], max_length))
    keep = max(1, budget // max_length)
    return [[list(next(encoded))[:keep] for _ in asks] for asks in asked]


def prefetched(batcher: Batcher, start: int, stop: int) -> Iterator[Batch | None]:
    """Batches of steps `start` to `stop - 1`, made ahead in a thread. An error in the thread is raised here."""
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(AHEAD)
    stopping = threading.Event()

    def put(item: Batch | BaseException | None) -> None:
        while not stopping.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for step in range(start, stop):
                put(batcher.batch(step))
                if stopping.is_set():
                    return
        except BaseException as error:  # handed to the consumer, who raises it
            put(error)

    thread = threading.Thread(target=work, name="manyheads-batches", daemon=True)
    thread.start()
    try:
        for _ in range(start, stop):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopping.set()
        thread.join()


def _tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    import torch

    return {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in arrays.items()}
