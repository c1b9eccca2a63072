"""What a step trains on: a pure function of the step number, so a run can start anywhere.

A step holds `tokens_per_step` real tokens, divided among the tasks by the sampler; each task's part is the next range of
its own endless shuffled stream. A step is one pack, or several where memory or gradient balancing asks for it. Steps are
prepared ahead in threads, so that tokenising hides behind the matrix products.

Where layers are compiled, packs have a tail (`text/pack.py`), so that steps do not differ in shape. It belongs to no task:
no range of `reads` holds it, and neither `tokens` nor `denominators` count it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from manyheads.data.sampler import Sampler
from manyheads.text.tokenizer import Tokenizer
from manyheads.training.batch import Batch, Portion, contrast_of, divide, encode_examples, lay
from manyheads.training.distributed.partition import partition
from manyheads.training.distributed.team import ALONE, Team
from manyheads.training.feed import Feed
from manyheads.training.lessons import completed

AHEAD = 4
"""Steps prepared ahead: enough to hide a slow one, and 4 x 4,096 tokens are under a megabyte."""


@dataclass(frozen=True, slots=True)
class Draw:
    """The examples that a step trains on, in all processes together."""

    examples: Mapping[str, list[int]] = field(default_factory=dict)
    """Indices of each task's feed, in the order of the step."""
    rows: Mapping[str, list[int]] = field(default_factory=dict)
    """The rows of each task's table that they are made of."""
    tokens: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepBatch(Sequence[Batch]):
    """The packs of one step in this process."""

    packs: Sequence[Batch]
    draw: Draw

    def __getitem__(self, index: Any) -> Any:
        return self.packs[index]

    def __len__(self) -> int:
        return len(self.packs)


class Batcher:
    """Makes the packs of any step."""

    def __init__(  # noqa: PLR0913 - the settings of packs
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
        workers: int = 0,
        team: Team = ALONE,
    ) -> None:
        """`max_length`: tokens of a window. `budget`: tokens of one text in a step. `max_tokens`: of a pack.

        `one_task`: no pack holds two tasks. `multiple`: packs are padded to a multiple of so many tokens. `workers`:
        threads of `prefetched`. `team`: the processes among which a step's examples are divided.
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

    def batch(self, step: int) -> StepBatch:
        """The packs of a step; none where the ranges of all tasks are shorter than their next example."""
        return self.packed(self.draw(step))

    def draw(self, step: int) -> Draw:
        """The examples of a step."""
        quota = self.sampler.quota
        examples, rows, tokens = {}, {}, {}
        for feed in self.feeds:
            name = feed.task.name
            indices = feed.stream.between(quota(name, step), quota(name, step + 1))
            if indices:
                examples[name], rows[name] = indices, feed.rows(indices)
                tokens[name] = sum(feed.stream.sizes(indices))
        return Draw(examples, rows, tokens)

    def packed(self, draw: Draw, max_tokens: int | None = None) -> StepBatch:
        """This process's part of a draw in packs of at most `max_tokens`, or of the batcher's own limit if that is lower."""
        limit = min(filter(None, (max_tokens, self.max_tokens)), default=None)
        multiple = self.multiple if limit is None or limit >= self.multiple else 1
        if limit is not None:
            limit -= limit % multiple  # so that a pack keeps to the limit with its tail
        mine = self._mine(draw)
        portions = [self._portion(feed, mine[feed.task.name]) for feed in self.feeds if mine.get(feed.task.name)]
        divided = divide(portions, limit, one_task=self.one_task)
        contrasts = {id(whole): contrast_of(whole) for whole in portions if any(one.whole is whole for [one, *_] in divided)}
        packs = [replace(lay(parts, multiple), contrast=contrasts.get(id(parts[0].whole))) for parts in divided]
        return StepBatch(packs, draw)

    def epoch_of(self, name: str, max_tokens: int, packs: int, most_tokens: int) -> Iterator[Batch]:
        """The examples of one task, each once up to `most_tokens`, in at least `packs` packs of at most `max_tokens`.

        Fewer packs where there are fewer examples. Not divided among processes.
        """
        feed = next(feed for feed in self.feeds if feed.task.name == name)
        indices = feed.stream.once(most_tokens)
        limit = max(1, min(max_tokens, sum(feed.stream.sizes(indices)) // packs))
        size = 0
        chunk: list[int] = []
        for index, tokens in zip(indices, feed.stream.sizes(indices), strict=True):
            if chunk and size + tokens > limit:
                yield lay([self._portion(feed, chunk)])
                size, chunk = 0, []
            chunk.append(index)
            size += tokens
        if chunk:
            yield lay([self._portion(feed, chunk)])

    def _mine(self, draw: Draw) -> Mapping[str, list[int]]:
        """This process's part of a draw."""
        if self.team.size == 1:
            return draw.examples
        sizes = {feed.task.name: feed.stream.sizes(draw.examples[feed.task.name])
                 for feed in self.feeds if feed.task.name in draw.examples}  # fmt: skip
        whole = [feed.task.name for feed in self.feeds if feed.task.compares_examples]
        mine = partition(sizes, whole, self.team.size)[self.team.rank]
        return {name: [draw.examples[name][i] for i in positions] for name, positions in mine.items()}

    def _portion(self, feed: Feed, indices: Sequence[int]) -> Portion:
        supervision = None
        if feed.soft_labels is not None:
            labels = {index: feed.soft_labels.supervision(index, feed.examples.rows(index)[0]) for index in indices}
            indices = sorted(indices, key=lambda index: labels[index].order)
            supervision = [labels[index] for index in indices]
        examples = [feed.example(index) for index in indices]
        if supervision is not None:
            examples = [completed(feed.task, example, known) for example, known in zip(examples, supervision, strict=True)]
        encodings = encode_examples(feed.task, examples, self.tokenizer, max_length=self.max_length, budget=self.budget)
        return Portion(feed.task, examples, encodings, supervision)


def prefetched(
    batcher: Batcher, start: int, stop: int, ready: Callable[[StepBatch], StepBatch] = lambda batch: batch
) -> Iterator[StepBatch]:
    """Batches of steps `start` to `stop - 1`, prepared ahead in the batcher's threads, where `ready` is called on each.

    The number of threads does not affect them: a step is a function of its number. Errors in a thread are raised here.
    """
    steps = iter(range(start, stop))

    def make(step: int) -> StepBatch:
        return ready(batcher.batch(step))

    if batcher.workers == 0:
        yield from map(make, steps)
        return
    pool = ThreadPoolExecutor(batcher.workers, "manyheads-batches")
    try:
        waiting = deque(pool.submit(make, step) for step in islice(steps, AHEAD + batcher.workers - 1))
        while waiting:
            batch = waiting.popleft().result()
            waiting.extend(pool.submit(make, step) for step in islice(steps, 1))
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)
