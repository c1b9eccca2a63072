"""Many small requests beside one that is large: does it shut them out, and what becomes of it?"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import time
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from served.client import Call, Client, Heard, Outcome
from served.ours import predict_call, serving
from served.texts import mixed, pools

CHARACTERS = 1_000
"""Of a row of the large request."""
SMALL = 300
"""Characters of a text of a small one, at most."""
PATIENCE_S = 180.0


def crowd(given: Namespace) -> dict[str, Any]:
    """A request of 1,000 rows, or of as many as the server says it takes, and with it 2,000 small ones."""
    turns: dict[str, list[dict[str, Any]]] = {}
    for _ in range(given.rounds):
        with serving(given.model, *given.server) as server:
            rows = [(name, row) for name, row in mixed(given.data, server.tasks(), 4 * given.small)
                    if len(row["text"]) <= SMALL]  # fmt: skip
            calls = [predict_call(server.url, row, [name]) for name, row in rows[: given.small]]
            texts = _texts(given)
            for at_once in (given.at_once, len(calls)):
                large, fit = texts[: given.large], 0
                for form in ("all rows", "rows that fit"):
                    call = (server.url, "/v1/predict", json.dumps({"inputs": large}).encode())
                    found, told = _beside(call, calls, at_once)
                    found["large"]["rows"] = len(large)
                    turns.setdefault(f"{form}, {at_once:,} small ones at once", []).append(found)
                    print(json.dumps(found), flush=True)
                    match = re.search(r"about ([\d,]+) rows like these", told)
                    fit = int(match[1].replace(",", "")) if match else 0
                    if not fit:
                        break
                    large = texts[: int(0.6 * fit)]  # the rate moves with what else the machine does
    return {"small": given.small, "rows": given.large, **{name: _summary(each) for name, each in turns.items()}}


def _beside(large: Call, small: Sequence[Call], at_once: int) -> tuple[dict[str, Any], str]:
    """The large request first, and right after it the small ones; what came of them, and what was said of the large one."""

    async def run() -> tuple[Heard, Outcome]:
        client, room = Client(patience_s=PATIENCE_S), asyncio.Semaphore(at_once)

        async def one(call: Call) -> Heard:
            async with room:
                return await client.post(call)

        try:
            first = asyncio.create_task(client.post(large))
            await asyncio.sleep(0.2)
            began = time.perf_counter()
            outcome = Outcome(list(await asyncio.gather(*map(one, small))), time.perf_counter() - began)
            return await first, outcome
        finally:
            client.close()

    heard, outcome = asyncio.run(run())
    said = "" if heard.status == 200 else json.loads(heard.body)["error"]["message"] if heard.body else "nothing"
    found = {"large": {"status": heard.status, "seconds": round(heard.seconds, 2), "said": said},
             "small": {"statuses": outcome.statuses(), "took_s": round(outcome.took_s, 1),
                       **{f"p{100 * share:.0f}_s": round(outcome.quantile(share), 2) for share in (0.5, 0.99, 1.0)
                          if outcome.seconds()}}}  # fmt: skip
    return found, said


def _summary(turns: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The medians, and all turns."""
    times = [turn["small"]["p50_s"] for turn in turns], [turn["small"]["p99_s"] for turn in turns]
    return {"p50_s": statistics.median(times[0]), "p99_s": statistics.median(times[1]),
            "large": sorted({turn["large"]["status"] for turn in turns}),
            "unanswered": sum(count for turn in turns for status, count in turn["small"]["statuses"].items()
                              if status != "200"), "turns": list(turns)}  # fmt: skip


def _texts(given: Namespace) -> list[str]:
    """Rows of so many characters, of the sections that the mixed load has."""
    text = " ".join(row["text"] for row in pools(given.data)["sections"])
    starts = range(0, len(text) - CHARACTERS, CHARACTERS)
    found = [text[start : start + CHARACTERS] for start in starts][: given.large]
    return [found[i % len(found)] for i in range(given.large)]
