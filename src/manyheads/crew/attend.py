"""Hands kept busy until there is nothing left to do, by one thread that looks at all of them in turn."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from manyheads.crew.hands import Ended, Hand
    from manyheads.training.stop import Stop

LOOK_S = 0.2

W = TypeVar("W")


@dataclass(slots=True)
class Assignment(Generic[W]):
    """Work that a hand has."""

    work: W
    told: bool = False
    """Whether it has been asked to stop."""


class Work(Protocol[W]):
    """What there is to do."""

    module: str
    """Run as `python -m`."""

    def next(self) -> W | None:
        """What is to be begun; None: nothing more. Asked again after every end."""
        ...

    def task(self, work: W) -> Mapping[str, Any]:
        """The JSON that the module is run with."""
        ...

    def unwanted(self, work: W) -> bool:
        """Whether what is under way should stop. Asked again and again."""
        ...

    def ended(self, work: W, how: Ended) -> None:
        """Take note of an end."""
        ...


def attend(hands: Sequence[Hand], work: Work[W], stop: Stop) -> None:
    """Have hands do the work. When `stop` is asked nothing is begun, and what is under way is told to stop."""
    stop.patient = True  # a signal is passed on
    busy: dict[int, Assignment[W]] = {}
    while True:
        for number, hand in enumerate(hands):
            if number not in busy and stop.asked is None and (more := work.next()) is not None:
                hand.start(work.module, work.task(more))
                busy[number] = Assignment(more)
        if not busy:
            return
        time.sleep(LOOK_S)
        for number, held in list(busy.items()):
            how = hands[number].ended()
            if not held.told and (work.unwanted(held.work) or stop.asked is not None):
                held.told = True
                if how is None:
                    hands[number].stop()
            if how is not None:
                del busy[number]
                work.ended(held.work, how)
