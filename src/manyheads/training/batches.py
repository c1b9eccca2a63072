"""What a step trains on: a pure function of the step number, so a run can start anywhere.

A step holds `tokens_per_step` real tokens, shared out by the sampler; each task's part is the next stretch of its own
endless shuffled stream. A step is one pack, or several where memory or the balancing of losses asks for it. They are
made ahead in a thread, so that tokenising hides behind the matrix products; for a CUDA device they come in pinned memory.

Where layers are compiled, packs have a tail (`text/pack.py`), so that steps do not differ in shape. It belongs to no task:
no range of `reads` holds it, and it counts in neither `tokens` nor `denominators`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from manyheads.text.pack import Pack
from manyheads.training.device import pinned
from manyheads.training.lessons import Lesson, lessons_of, tensors
from manyheads.training.team import ALONE, Team, partition

if TYPE_CHECKING:
    import torch

    from manyheads.data.sampler import Sampler
    from manyheads.data.stream import Stream
    from manyheads.data.table import ExampleTable
    from manyheads.data.units import Units
    from manyheads.model import Reads
    from manyheads.tasks.base import Task
    from manyheads.text.pack import Encoding
    from manyheads.text.tokenizer import Tokenizer
    from manyheads.training.soft_store import Known
    from manyheads.training.teachers import SoftLabels

AHEAD = 4
"""Batches made ahead: enough to hide a slow one, and 4 x 4,096 tokens are under a megabyte."""


@dataclass(frozen=True, slots=True)
class Feed:
    """Training examples of one task in the order of its stream, which draws units of rows."""

    task: Task[Any]
    table: ExampleTable[Any]
    stream: Stream
    units: Units
    taught: SoftLabels | None = None
    """What a teacher says of each unit; None where the task has no teacher."""

    def example(self, unit: int) -> Any:
        """What a unit of rows is to the task."""
        rows = [self.table[row] for row in self.units.rows(unit)]
        return rows[0] if len(rows) == 1 else self.task.join(rows)


@dataclass(frozen=True, slots=True)
class Batch:
    """One pack of a step, which sequences belong to which task, and each task's targets."""

    pack: Pack
    reads: Reads
    targets: Mapping[str, Mapping[str, torch.Tensor]]
    tokens: Mapping[str, int]
    denominators: Mapping[str, float]
    """What each task's mean loss divides by here; the loss of a step is the mean of its packs' weighted by it."""
    lessons: Mapping[str, Sequence[Lesson]] = field(default_factory=dict)
    """Of tasks with a teacher, in place of `targets`."""


@dataclass(frozen=True, slots=True)
class Portion:
    """Consecutive examples of one task that are not divided any more."""

    feed: Feed
    examples: Sequence[Any]
    encodings: Sequence[list[list[Encoding]]]
    known: Sequence[Known] | None = None
    """What there is to learn from each, where the task has a teacher; in the order of `Known.order`."""

    @property
    def sizes(self) -> list[int]:
        """Tokens of each example."""
        return [sum(len(window) for source in asked for window in source) for asked in self.encodings]


class Batcher:
    """Makes the packs of any step."""

    def __init__(  # noqa: PLR0913  what a step is, and how it is divided
        self,
        feeds: Sequence[Feed],
        sampler: Sampler,
        tokenizer: Tokenizer,
        *,
        max_length: int,
        budget: int,
        max_tokens: int | None = None,
        one_task: bool = False,
        multiple: int = 1,
        workers: int = 1,
        team: Team = ALONE,
    ) -> None:
        """`max_length` tokens a window; one text of an example never brings more than `budget` tokens.

        A step is divided into packs of at most `max_tokens` (one example always fits), and with `one_task` into packs of
        one task each, for methods that need the gradient of each task. A tail brings each pack to a `multiple` of tokens;
        there is none where packs have to be smaller than that. `workers`: threads that make steps ahead.
        Of each step only this process's part is made.
        """
        self.feeds = feeds
        self.sampler = sampler
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.budget = budget
        self.max_tokens = max_tokens
        self.one_task = one_task
        self.multiple = multiple
        self.workers = workers
        self.team = team

    def batch(self, step: int, max_tokens: int | None = None) -> list[Batch]:
        """The packs of a step; none when the stretches of all tasks are shorter than their next example.

        `max_tokens`, when given, is a lower bound on the size of packs than the batcher's own.
        """
        limit = min(filter(None, (max_tokens, self.max_tokens)), default=None)
        multiple = self.multiple if limit is None or limit >= self.multiple else 1
        if limit is not None:
            limit -= limit % multiple  # with its tail, too, a pack keeps to the limit
        drawn = self._part(self._drawn(step))
        portions = [self._portion(feed, drawn[feed.task.name]) for feed in self.feeds if drawn.get(feed.task.name)]
        return [laid(parts, multiple) for parts in divided(portions, limit, one_task=self.one_task)]

    def epoch_of(self, name: str, max_tokens: int, packs: int, most_tokens: int) -> Iterator[Batch]:
        """The first epoch of one task, up to `most_tokens`, in packs of at most `max_tokens`, at least `packs` of them.

        Fewer where there are fewer examples. What other processes train on is among them.
        """
        feed = next(feed for feed in self.feeds if feed.task.name == name)
        units = feed.stream.between(0, min(feed.stream.tokens_per_epoch, most_tokens))
        limit = max(1, min(max_tokens, sum(feed.stream.sizes(units)) // packs))
        size = 0
        chunk: list[int] = []
        for unit, tokens in zip(units, feed.stream.sizes(units), strict=True):
            if chunk and size + tokens > limit:
                yield laid([self._portion(feed, chunk)])
                size, chunk = 0, []
            chunk.append(unit)
            size += tokens
        if chunk:
            yield laid([self._portion(feed, chunk)])

    def rows(self, step: int) -> dict[str, list[int]]:
        """The rows of each task's table that a step trains on, in its order."""
        units = {feed.task.name: feed.units for feed in self.feeds}
        return {name: [row for unit in drawn for row in units[name].rows(unit)]
                for name, drawn in self._drawn(step).items()}  # fmt: skip

    def tokens(self, step: int) -> dict[str, int]:
        """The tokens of each task that a step trains on, in all processes together."""
        streams = {feed.task.name: feed.stream for feed in self.feeds}
        return {name: sum(streams[name].sizes(drawn)) for name, drawn in self._drawn(step).items()}

    def _drawn(self, step: int) -> dict[str, list[int]]:
        """The units of each task that a step trains on, in its order."""
        found = {}
        for feed in self.feeds:
            name = feed.task.name
            found[name] = feed.stream.between(self.sampler.quota(name, step), self.sampler.quota(name, step + 1))
        return {name: units for name, units in found.items() if units}

    def _part(self, drawn: Mapping[str, list[int]]) -> Mapping[str, list[int]]:
        """This process's part of a step's units."""
        if self.team.size == 1:
            return drawn
        streams = {feed.task.name: feed.stream for feed in self.feeds}
        sizes = {name: streams[name].sizes(units) for name, units in drawn.items()}
        whole = [feed.task.name for feed in self.feeds if feed.task.compares_examples]
        mine = partition(sizes, whole, self.team.size)[self.team.rank]
        return {name: [drawn[name][i] for i in positions] for name, positions in mine.items()}

    def _portion(self, feed: Feed, units: Sequence[int]) -> Portion:
        known = None
        if feed.taught is not None:
            said = {unit: feed.taught.known(unit) for unit in units}
            units = sorted(units, key=lambda unit: said[unit].order)
            known = [said[unit] for unit in units]
        examples = [feed.example(unit) for unit in units]
        encodings = encode_examples(feed.task, examples, self.tokenizer, max_length=self.max_length, budget=self.budget)
        return Portion(feed, examples, encodings, known)


def divided(portions: Sequence[Portion], limit: int | None, *, one_task: bool) -> list[list[Portion]]:
    """Portions laid into packs of at most `limit` tokens. A task that fits into one pack is not cut in two."""
    packs: list[list[Portion]] = []
    room = 0
    for portion in portions:
        for part in _cut(portion, limit):
            size = sum(part.sizes)
            if not packs or one_task or (limit is not None and size > room):
                packs.append([])
                room = limit or 0
            packs[-1].append(part)
            room -= size
    return packs


def _cut(portion: Portion, limit: int | None) -> list[Portion]:
    """A portion in parts of about equal size, as few as fit."""
    sizes = portion.sizes
    total = sum(sizes)
    if limit is None or total <= limit:
        return [portion]
    goal = total / -(-total // limit)
    cuts, size = [0], 0
    for i, one in enumerate(sizes):
        if size and (size + one > limit or size >= goal):
            cuts.append(i)
            size = 0
        size += one
    ranges = zip(cuts, [*cuts[1:], len(sizes)], strict=True)
    known = portion.known
    return [
        Portion(portion.feed, portion.examples[a:b], portion.encodings[a:b], None if known is None else known[a:b])
        for a, b in ranges
    ]


def laid(portions: Sequence[Portion], multiple: int = 1) -> Batch:
    """One pack of portions, in their order, with a tail up to a `multiple` of tokens."""
    sequences: list[Encoding] = []
    reads, tokens, denominators = {}, {}, {}
    targets: dict[str, Mapping[str, torch.Tensor]] = {}
    lessons: dict[str, Sequence[Lesson]] = {}
    for portion in portions:
        task = portion.feed.task
        flat = [window for asked in portion.encodings for source in asked for window in source]
        reads[task.name] = (len(sequences), len(sequences) + len(flat))
        tokens[task.name] = sum(map(len, flat))
        if portion.known is not None:
            found = lessons[task.name] = lessons_of(task, portion.examples, portion.encodings, portion.known)
            denominators[task.name] = sum(lesson.denominator for lesson in found)
        else:
            arrays = task.targets(portion.examples, portion.encodings)
            denominators[task.name] = task.denominator(arrays)
            targets[task.name] = tensors(arrays)
        sequences.extend(flat)
    return Batch(Pack.of(sequences, multiple), reads, targets, tokens, denominators, lessons)


def encode_examples(
    task: Task[Any], examples: Sequence[Any], tokenizer: Tokenizer, *, max_length: int, budget: int
) -> list[list[list[Encoding]]]:
    """Windows of each ask of each example. The windows of one source past `budget` tokens are left out."""
    asked = [task.sources_of_example(example) for example in examples]
    encoded = iter(tokenizer.encode([entry.source for inputs in asked for entry in inputs], max_length))
    keep = max(1, budget // max_length)
    return [[list(next(encoded))[:keep] for _ in inputs] for inputs in asked]


def prefetched(batcher: Batcher, start: int, stop: int, ready_for: torch.device | None = None) -> Iterator[list[Batch]]:
    """Batches of steps `start` to `stop - 1`, made ahead in the batcher's threads. An error in a thread is raised here.

    They stay on the CPU, in pinned memory when they are `ready_for` a CUDA device. How many threads there are makes no
    difference to them: a step is a function of its number.
    """
    pin = ready_for is not None and ready_for.type == "cuda"
    asked = iter(range(start, stop))

    def made(step: int) -> list[Batch]:
        packs = batcher.batch(step)
        return [pinned(pack) for pack in packs] if pin else packs

    if batcher.workers == 0:
        yield from map(made, asked)
        return
    pool = ThreadPoolExecutor(batcher.workers, "manyheads-batches")
    try:
        waiting = deque(pool.submit(made, step) for step in islice(asked, AHEAD + batcher.workers - 1))
        while waiting:
            packs = waiting.popleft().result()
            waiting.extend(pool.submit(made, step) for step in islice(asked, 1))
            yield packs
    finally:
        pool.shutdown(cancel_futures=True)
