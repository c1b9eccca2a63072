"""Joining the processes that torchrun or `accelerate launch` started."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from manyheads.errors import UsageError
from manyheads.training.distributed.team import Team

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

TIMEOUT = timedelta(hours=24)
"""How long processes wait while process 0 evaluates. The launcher notices a process that dies."""
MEETING = timedelta(minutes=10)
"""How long processes wait for one another at the start."""


def join(environment: Mapping[str, str]) -> Team:
    """The team of this process, from the variables that torchrun and `accelerate launch` set. Raises UsageError.

    >>> join({})
    Team(rank=0, size=1)
    """
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
        own = PrefixStore(_agreed_name(store, rank, size), store)
        store.set_timeout(TIMEOUT)
        dist.init_process_group(backend, store=own, rank=rank, world_size=size, timeout=TIMEOUT)
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"WORLD_SIZE is {size}, but the processes did not find one another ({str(error).splitlines()[0]}); "
                         "start them with torchrun or accelerate launch") from None  # fmt: skip
    return Team(rank, size)


def _agreed_name(store: Store, rank: int, size: int) -> str:
    """A prefix that these very processes agree on for their keys in the store.

    torchrun 2.13 keeps the store when it restarts its processes: under an old prefix they would look for dead ones.
    Process 0 asks, each other process answers with a word of its own, and is meant if process 0 repeats that word.
    """
    word, limit = uuid4().hex, time.monotonic() + MEETING.total_seconds()
    others = [f"manyheads-answer-{other}" for other in range(1, size)]
    if rank == 0:
        store.set("manyheads-question", word)
    while time.monotonic() < limit:
        if rank == 0:
            answers = [store.get(key).decode().split() for key in others if store.check([key])]
            if len(answers) == len(others) and all(question == word for question, _ in answers):
                store.set("manyheads-agreed", " ".join([word, *(answer for _, answer in answers)]))
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
