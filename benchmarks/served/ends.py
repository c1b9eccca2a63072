"""Ends under load: servers that are told to stop, and workers that are killed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from argparse import Namespace
from functools import partial
from typing import Any

from served.client import Call, Outcome, run_open
from served.ours import Server, predict_call, serving
from served.texts import mixed


def kills(given: Namespace) -> dict[str, Any]:
    """SIGTERMs and kills of workers: requests that were accepted and not answered, and how soon a server says so.

    Every request comes over a connection of its own: what was accepted is then no matter of opinion.
    """
    return {"sigterm": _sigterms(given), "worker": _worker_kills(given)}


def _sigterms(given: Namespace) -> dict[str, Any]:
    draw = random.Random(3)
    lost, statuses, exits, asked = 0, set[str](), set[int](), 0
    for trial in range(given.sigterms):
        with serving(given.model, *given.server) as server:
            heard, status = _while_loaded(given, server, trial, partial(_stopped, server, draw.uniform(0.3, 2.0)))
        exits.add(status)
        asked += sum(each.status >= 0 for each in heard.heard)
        lost += sum(each.status == 0 for each in heard.heard)
        statuses |= set(heard.statuses())
    return {
        "trials": given.sigterms,
        "accepted": asked,
        "unanswered": lost,
        "statuses": sorted(statuses),
        "exits": sorted(exits),
    }


def _worker_kills(given: Namespace) -> dict[str, Any]:
    with serving(given.model, *given.server) as server:
        after: list[float] = []

        def act() -> int:
            for kill in range(given.kills):
                server.wait_until_ready()
                time.sleep(0.5)
                os.kill(random.Random(kill).choice(server.workers()), signal.SIGKILL)
                after.append(server.wait_until_ready(False, 10.0))
                server.wait_for("worker_restarted", kill + 1)
            server.wait_until_ready()
            return 0

        outcome, _ = _while_loaded(given, server, 0, act)
    return {"trials": given.kills, "accepted": len(outcome.heard),
            "unanswered": sum(each.status <= 0 for each in outcome.heard),
            "statuses": outcome.statuses(), "unready_after_s_at_most": round(max(after, default=0.0), 3)}  # fmt: skip


def _stopped(server: Server, after_s: float) -> int:
    time.sleep(after_s)
    return server.stop()


def _while_loaded(given: Namespace, server: Server, seed: int, act: Any) -> tuple[Outcome, int]:
    """What came of a load that went on until `act` was over, and what that returned."""
    calls: list[Call] = [
        predict_call(server.url, row, [name]) for name, row in mixed(given.data, server.tasks(), 300, seed)
    ]
    over, whole = threading.Event(), Outcome()

    def ask() -> None:
        for part in range(100_000):
            if over.is_set():
                return
            whole.heard += run_open(calls, given.first, 1.0, seed=1000 * seed + part, keep=False).heard

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        status: int = act()
    finally:
        over.set()
        thread.join()
    return whole, status
