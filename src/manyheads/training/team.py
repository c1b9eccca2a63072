"""Several processes that make one run: each computes a part of every step, and all make the same update.

    torchrun --nproc-per-node 4 -m manyheads train RUN.yaml

Decided here:
- What a step trains on does not depend on how many processes there are: its examples are drawn as ever, then shared out
  (`partition`). Losses are divided by what they divide by in the whole step: gradients only have to be added up, once a step.
- No `DistributedDataParallel`: it reduces every backward pass, divides by the number of processes, and waits for ever when a
  process has no example of a task. Here a parameter that no process reached has no gradient, as in a run of one process.
- Small things that all must agree on (amounts, whether to stop) travel over gloo from CPU memory: no GPU waits for them.
- Process 0 alone writes, evaluates and speaks. Where a checkpoint is read, all processes read the same one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from manyheads.errors import TrainingError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch._C._distributed_c10d import Store

TIMEOUT = timedelta(hours=24)
"""Others wait so long while process 0 evaluates. A process that dies is noticed by whoever launched it."""
MEETING = timedelta(minutes=10)
"""Until all processes have to be there."""


@dataclass(frozen=True, slots=True)
class Team:
    """The processes of a run. With one, nothing here does anything."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of the same shape in every process, added up in place."""
        if self.size > 1:
            import torch.distributed as dist

            with _together():
                dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process. All must ask."""
        if self.size == 1:
            return flag
        import torch

        return bool(self.add_up(torch.tensor(int(flag), dtype=torch.int32)))

    def totals(self, amounts: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
        """The amounts of all processes together, of those of `names` that any of them has."""
        if self.size == 1:
            return {name: amounts[name] for name in names if name in amounts}
        import torch

        rows = [[amounts.get(name, 0.0) for name in names], [float(name in amounts) for name in names]]
        summed, present = self.add_up(torch.tensor(rows, dtype=torch.float64)).tolist()
        return {name: amount for name, amount, there in zip(names, summed, present, strict=True) if there}

    def add_up_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """The gradients of all processes added up, in one piece; None stays where no process has one."""
        if self.size == 1:
            return
        found = self.add_up_all([parameter.grad for parameter in parameters], parameters)
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.grad = gradient

    def add_up_all(
        self, tensors: Sequence[torch.Tensor | None], like: Sequence[torch.Tensor]
    ) -> list[torch.Tensor | None]:
        """Tensors with the shapes of `like`, each added up over all processes; None counts as 0, unless all have None."""
        if self.size == 1:
            return list(tensors)
        import torch

        there = self.add_up(torch.tensor([int(tensor is not None) for tensor in tensors], dtype=torch.int32)).tolist()
        some = [i for i, count in enumerate(there) if count]
        if not some:
            return [None] * len(like)
        values = [torch.zeros_like(like[i]) if (tensor := tensors[i]) is None else tensor for i in some]
        flat = self.add_up(torch.cat([value.reshape(-1) for value in values]))
        parts = flat.split_with_sizes([value.numel() for value in values])
        found: list[torch.Tensor | None] = [None] * len(like)
        for i, part in zip(some, parts, strict=True):
            found[i] = part.view_as(like[i])
        return found

    def told(self, value: Any) -> Any:
        """What process 0 has to say, as JSON, in every process. What others give is not looked at."""
        if self.size == 1:
            return value
        import torch
        import torch.distributed as dist

        text = json.dumps(value).encode() if self.leads else b""
        size = torch.tensor(len(text))
        with _together():
            dist.broadcast(size, 0)
            data = torch.frombuffer(bytearray(text or bytes(int(size))), dtype=torch.uint8)
            dist.broadcast(data, 0)
        return json.loads(data.numpy().tobytes())

    def wait(self) -> None:
        """Until all processes are here."""
        self.any(False)

    def leave(self) -> None:
        """The run is over. All leave together: gloo aborts a process that goes while another still listens to it.

        The group is not taken apart: in 2 of 60 runs of two processes that, or Python's end after it, ended in
        "terminate called without an active exception" with all work done. The process is to end by `leave_at_once`.
        """
        self.wait()


@contextmanager
def _together() -> Iterator[None]:
    """Raises TrainingError when another process is gone. gloo has a dozen sentences for it, none about the run."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:200]
        raise TrainingError(f"another process of this run has ended or cannot be reached ({reason}); what it said last "
                            "tells why. Start all of them again with --resume") from None  # fmt: skip


ALONE = Team()


def join(environment: Mapping[str, str]) -> Team:
    """The team that torchrun or `accelerate launch` says this process is of; alone without them. Raises UsageError."""
    size = _number(environment, "WORLD_SIZE", 1)
    if size == 1:
        return Team()
    rank = _number(environment, "RANK", size)
    if not 0 <= rank < size:
        seen = f"RANK is {environment['RANK']}" if "RANK" in environment else "there is no RANK"
        raise UsageError(f"WORLD_SIZE is {size}, but {seen}; start all processes with torchrun or accelerate launch, or "
                         "unset WORLD_SIZE")  # fmt: skip
    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    if torch.cuda.is_available():
        torch.cuda.set_device(_number(environment, "LOCAL_RANK", 0) % torch.cuda.device_count())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, rank, size = next(rendezvous("env://", rank, size, timeout=MEETING))
        own = PrefixStore(_agreed(store, rank, size), store)
        store.set_timeout(TIMEOUT)
        dist.init_process_group(backend, store=own, rank=rank, world_size=size, timeout=TIMEOUT)
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"WORLD_SIZE is {size}, but the processes did not find one another ({str(error).splitlines()[0]}); "
                         "start them with torchrun or accelerate launch") from None  # fmt: skip
    return Team(rank, size)


def _agreed(store: Store, rank: int, size: int) -> str:
    """A name that these very processes agree on, for what they tell one another through the store.

    torchrun 2.13 keeps the store when it restarts its processes: under a name of before they would look for dead ones.
    Process 0 asks, the others answer with a word of their own, and are meant if process 0 repeats it.
    """
    word, limit = uuid4().hex, time.monotonic() + MEETING.total_seconds()
    others = [f"manyheads-answer-{other}" for other in range(1, size)]
    if rank == 0:
        store.set("manyheads-question", word)
    while time.monotonic() < limit:
        if rank == 0:
            said = [store.get(key).decode().split() for key in others if store.check([key])]
            if len(said) == len(others) and all(question == word for question, _ in said):
                store.set("manyheads-agreed", " ".join([word, *(answer for _, answer in said)]))
                return word
        else:
            store.set(others[rank - 1], f"{store.get('manyheads-question').decode()} {word}")
            if store.check(["manyheads-agreed"]):
                question, *words = store.get("manyheads-agreed").decode().split()
                if word in words:
                    return question
        time.sleep(0.01)
    raise RuntimeError(f"not all {size} came within {MEETING}")


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    value = environment.get(name, str(default))
    if not (value.isascii() and value.isdecimal()):
        raise UsageError(
            f"the environment variable {name} is {value!r}, not a whole number; start with torchrun, or unset it"
        )
    return int(value)


def partition(sizes: Mapping[str, Sequence[int]], whole: Collection[str], count: int) -> list[dict[str, list[int]]]:
    """Which examples of each task each of `count` processes takes: positions in `sizes`, tokens of the step's examples.

    The same number of tokens each, give or take an example, in the order of the step. The tasks in `whole` are not divided:
    their losses compare examples with one another. A pure function, so that no process has to tell another.
    """
    loads = [0] * count
    shares: list[dict[str, list[int]]] = [{} for _ in range(count)]
    for name in sorted(whole, key=lambda name: (-sum(sizes.get(name, ())), name)):
        if sizes.get(name):
            least = loads.index(min(loads))
            shares[least][name] = list(range(len(sizes[name])))
            loads[least] += sum(sizes[name])
    left = sum(sum(some) for some in sizes.values())
    ends = list(accumulate(_goals(loads, left - sum(loads))))
    process, taken = 0, 0
    for name, some in sizes.items():
        if name in whole:
            continue
        for position, size in enumerate(some):
            while process < count - 1 and taken + size / 2 > ends[process]:
                process += 1
            shares[process].setdefault(name, []).append(position)
            taken += size
    return shares


def _goals(loads: Sequence[int], tokens: int) -> list[float]:
    """Tokens to give to each process so that the fullest is as empty as can be: water into vessels."""
    for level in range(len(loads)):
        low = sorted(loads)[: len(loads) - level]
        even = (tokens + sum(low)) / len(low)
        if even >= low[-1]:
            return [max(0.0, even - load) for load in loads]
    return [float(tokens), *[0.0] * (len(loads) - 1)]
