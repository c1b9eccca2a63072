"""How much is answered in time, what becomes of too much, and how soon all is well again."""

from __future__ import annotations

import json
import math
import statistics
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from served.client import Asked, Call, Outcome, capacity, run_open
from served.ours import Server, predict_call, serving
from served.peers import infinity, litserve
from served.texts import Row, mixed, pools

P99_S = 0.25
LITSERVE = {"litserve, 1 thread a process": (1, "float32"), "litserve, 2 threads a process": (2, "float32"),
            "litserve, 1 thread a process, bf16": (1, "bfloat16")}  # fmt: skip
"""Threads of each of the four processes, and what their models compute in."""
LOADS = (("", ""), ("_all", "; all"))
"""One task of a row, or all: how ratios and systems are called under them."""
CALLS = 2_000
"""Different requests of a load."""


def load(given: Namespace) -> dict[str, Any]:
    """Requests a second at p99 under 250 ms, mixed four-task load: ours, and one litserve process for each task.

    They take turns, and the median turn of each counts: what else the machine does moves p99 more than anything here.
    "All": each row is asked for every task it can be asked for: of ours in one request, of the others in one for each task.
    """
    turns: dict[str, list[dict[str, Any]]] = {}
    forms = {"ours": (given.model, ()), "ours, bf16": (given.model, ("--precision", "bf16"))}
    forms |= {f"ours, exported: {folder.name}": (folder, ()) for folder in given.exported}
    for turn in range(given.rounds):
        for name, (model, more) in forms.items():
            with serving(model, *more, *given.server) as server:
                tasks = server.tasks()
                rows = mixed(given.data, tasks, CALLS)
                loads: dict[str, list[Asked]] = {
                    "": [predict_call(server.url, row, [task]) for task, row in rows],
                    "; all": [predict_call(server.url, row) for _, row in rows],
                }
                _measure(given, name, loads, turns)
        for name, (threads, dtype) in LITSERVE.items() if given.litserve else ():
            if turn and turns[name][0]["requests_s"] < 0.5 * max(turns[peer][0]["requests_s"] for peer in LITSERVE):
                continue  # far behind
            with litserve(given.litserve, given.encoder, tasks, threads, dtype) as urls:
                loads = {
                    "": [(urls[task], "/predict", json.dumps(row).encode()) for task, row in rows],
                    "; all": [_every_task(row, tasks, urls) for _, row in rows],
                }
                _measure(given, name, loads, turns)
    found: dict[str, Any] = {"p99_ms": 1000 * P99_S}
    for name, each in turns.items():
        rates = [one["requests_s"] for one in each]
        found[name] = {"requests_s": round(statistics.median(rates), 2), "turns": rates, "tried": each[0]["tried"]}
    if given.litserve:
        same = [name for name, (_, dtype) in LITSERVE.items() if dtype == "float32"]
        best = max(LITSERVE, key=lambda name: found[name]["requests_s"])
        alike = "ours" if best in same else "ours, bf16"
        for which, of in LOADS[: 2 - given.one_task]:
            found[f"ratio{which}"] = _ratio(found, ["ours"], same, of)
            found[f"ratio_alike{which}"] = _ratio(found, [alike], [best], of)  # in the precision that they are best in
            found[f"ratio_best{which}"] = _ratio(found, list(forms), list(LITSERVE), of)
    return found


def _measure(
    given: Namespace, name: str, loads: Mapping[str, Sequence[Asked]], turns: dict[str, list[dict[str, Any]]]
) -> None:
    """One turn of a system under each load."""
    for _, load in LOADS[: 2 - given.one_task]:
        turns.setdefault(name + load, []).append(_capacity(given, loads[load]))


def _every_task(row: Row, tasks: Mapping[str, str], urls: Mapping[str, str]) -> list[Call]:
    """A request to the server of each task that the row can be asked for."""
    body = json.dumps(row).encode()
    return [(urls[name], "/predict", body) for name, kind in tasks.items()
            if kind != "question-answering" or "question" in row]  # fmt: skip


def _ratio(found: Mapping[str, Any], ours: Sequence[str], theirs: Sequence[str], load: str) -> float:
    """Of the best rates."""
    most, best = (max(found[name + load]["requests_s"] for name in names) for names in (ours, theirs))
    return round(most / best, 2) if best else math.inf


def embeddings(given: Namespace) -> dict[str, Any]:
    """The same for the embeddings route alone, against infinity with its engines."""
    rows = [row["text"] for name, kind in pools(given.data).items() if name != "questions" for row in kind][:CALLS]

    def calls(url: str, path: str, model: str) -> list[Asked]:
        return [(url, path, json.dumps({"input": text, "model": model}).encode()) for text in rows]

    found: dict[str, Any] = {"p99_ms": 1000 * P99_S}
    with serving(given.model, *given.server) as server:
        found["ours"] = _capacity(given, calls(server.url, "/v1/embeddings", "any"))
    if given.exported:
        with serving(given.exported[0], *given.server) as server:
            found["ours, exported to ONNX"] = _capacity(given, calls(server.url, "/v1/embeddings", "any"))
    engines = {"torch": given.encoder, **({"optimum": given.onnx_encoder} if given.onnx_encoder else {})}
    for engine, encoder in engines.items() if given.infinity else ():
        try:
            with infinity(given.infinity, encoder, engine) as url:
                found[f"infinity, {engine}"] = _capacity(given, calls(url, "/embeddings", "served"))
        except (OSError, RuntimeError) as error:
            found[f"infinity, {engine}"] = {"cannot": str(error)[:300]}
    return found


def overload(given: Namespace) -> dict[str, Any]:
    """Ten times what it can answer, for a while, then nothing: refusals, memory, and the time until all is as before."""
    with serving(given.model, *given.server) as server:
        calls = [predict_call(server.url, row, [name]) for name, row in mixed(given.data, server.tasks(), CALLS)]
        rate = given.rate or _capacity(given, calls)["requests_s"]
        before = run_open(calls, 0.3 * rate, given.seconds).quantile(0.5)
        memory, over = [server.memory_mb()], threading.Event()
        watch = threading.Thread(target=_watch, args=(server, memory, over))
        watch.start()
        outcome = run_open(calls, given.times * rate, given.overload_s)
        over.set()
        watch.join()
        normal_s = _until_normal(calls, 2 * before + 0.05)
        time.sleep(1)
        memory.append(server.memory_mb())
    totals = [each["front"] + each["workers"] for each in memory]
    filled = statistics.median(totals[len(totals) // 5 : len(totals) // 2 + 1])  # once caches and buffers are filled
    refused = [each for each in outcome.heard if each.status == 429]
    return {"capacity": round(rate, 1), "asked": len(outcome.heard), "seconds": given.overload_s,
            "statuses": outcome.statuses(),
            "unanswered": sum(each.status <= 0 for each in outcome.heard), 
            "without_retry_after": sum(not each.retry_after for each in refused),
            "refused_ms": _spread(outcome, 429), "answered_ms": _spread(outcome, 200), "normal_after_s": round(normal_s, 2),
            "answered_s": round(len(outcome.seconds()) / outcome.took_s, 1), 
            "memory_mb": [round(total) for total in totals][:: max(1, len(totals) // 30)],
            "memory_growth": round(max(totals[len(totals) // 2 :]) / filled - 1, 3)}  # fmt: skip


def _capacity(given: Namespace, calls: Sequence[Asked]) -> dict[str, Any]:
    run_open(calls, given.first, min(3.0, given.seconds))  # warm
    measure: Callable[[float], Outcome] = lambda rate: run_open(calls, rate, given.seconds)  # noqa: E731
    rate, tried = capacity(measure, p99_s=P99_S, first=given.first, steps=given.steps)
    return {"requests_s": round(rate, 2), "tried": tried}


def _spread(outcome: Outcome, status: int) -> dict[str, float | None]:
    found = {name: outcome.quantile(share, status) for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}
    return {name: round(1000 * value, 1) if math.isfinite(value) else None for name, value in found.items()}


def _watch(server: Server, memory: list[dict[str, float]], over: threading.Event) -> None:
    while not over.wait(0.5):
        memory.append(server.memory_mb())


def _until_normal(calls: Sequence[Asked], within_s: float, most_s: float = 60.0) -> float:
    """Seconds until five requests, one after the other, are all answered as fast as before."""
    began = time.monotonic()
    good, first = 0, 0.0
    while good < 5 and time.monotonic() - began < most_s:
        at = time.monotonic() - began
        heard = run_open(calls, 50.0, 0.02, seed=int(1e6 * at)).heard
        if heard and all(each.status == 200 and each.seconds < within_s for each in heard):
            good, first = good + 1, first if good else at
        elif heard:
            good = 0
    return first if good >= 5 else math.inf
