"""Rows that raise, rows alone and in company, and names planted in a long text."""

from __future__ import annotations

import json
import os
import random
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from served.client import Call, Heard, run_all
from served.ours import predict_call, serving
from served.texts import mixed, own_texts

HOOK = Path(__file__).with_name("hook")
TOLERANCE = 1e-4
"""Of scores and vectors: additions in another order."""
AT_ONCE = 32
BUSY = (429, 503)
SENTENCES = 1_500
TURNS = 200
PAUSE_S = 1.0


def poison(given: Namespace) -> dict[str, Any]:
    """One row in a hundred raises inside the pass: how many others fail."""
    path = os.pathsep.join([str(HOOK), os.environ.get("PYTHONPATH", "")])
    with serving(given.model, *given.server, environment={"PYTHONPATH": path}) as server:
        rows = [row for _, row in mixed(given.data, server.tasks(), given.texts)]
        bad = {i for i in range(len(rows)) if i % 100 == 50}
        calls = [predict_call(server.url, {**row, "text": f"POISON {row['text']}"} if i in bad else row)
                 for i, row in enumerate(rows)]  # fmt: skip
        outputs = [_output(heard) for heard in answered(calls, AT_ONCE)]
    failed = {i for i, output in enumerate(outputs) if "error" in output}
    return {
        "rows": len(rows),
        "poison": len(bad),
        "poison_failed": len(bad & failed),
        "others_failed": len(failed - bad),
    }


def company(given: Namespace) -> dict[str, Any]:
    """Each text by itself, and all of them in random company: which labels, spans and answers differ."""
    with serving(given.model, *given.server) as server:
        rows = [row for _, row in mixed(given.data, server.tasks(), given.texts)]
        alone = [_output(heard) for heard in answered([predict_call(server.url, row) for row in rows], 1)]
        order = random.Random(1).sample(range(len(rows)), len(rows))
        heard = answered([predict_call(server.url, rows[i]) for i in order], AT_ONCE)
        mixed_up = dict(zip(order, map(_output, heard), strict=True))
    differ, worst = [], 0.0
    for i, output in enumerate(alone):
        same, difference = _compared(output, mixed_up[i])
        worst = max(worst, difference)
        if not same:
            differ.append(i)
    return {"texts": len(rows), "differ": len(differ), "errors": sum("error" in output for output in alone),
            "largest_difference_of_a_score": worst, "first": differ[:10]}  # fmt: skip


def planted(given: Namespace) -> dict[str, Any]:
    """Names in 50,000 tokens: among sentences of the head's own test data, and among those of abstracts."""
    with serving(given.model, *given.server) as server:
        task = next(name for name, kind in server.tasks().items() if kind == "token-classification")
        abstracts = list(
            dict.fromkeys(row["text"] for _, row in mixed(given.data, {task: "token-classification"}, 3_000))
        )
        return {
            "model": given.model.name,
            **_planted(server.url, task, own_texts(given.model, task), given.characters),
            "abstracts": _planted(server.url, task, abstracts, given.characters),
        }


def _planted(url: str, task: str, texts: Sequence[str], characters: int) -> dict[str, Any]:
    """The surest sentences among others without names: how many of the names found in each by itself are found there."""
    calls = [predict_call(url, {"text": text}, [task]) for text in texts[:SENTENCES]]
    found = [_output(heard)["tasks"][task] for heard in answered(calls, AT_ONCE)]
    named = [(text, spans) for text, spans in zip(texts, found, strict=False) if spans]
    sure = sorted(named, key=lambda pair: -min(span["score"] for span in pair[1]))[:50]
    plain = [text for text, spans in zip(texts, found, strict=False) if not spans] or ["It was measured again."]
    draw, pieces, wanted, length = random.Random(2), [], [], 0
    while length < characters:
        for text, spans in [(draw.choice(plain), []) for _ in range(20)] + [draw.choice(sure)]:
            wanted += [(length + span["start"], length + span["end"]) for span in spans]
            pieces.append(text)
            length += len(text) + 1
    output = _output(answered([predict_call(url, {"text": " ".join(pieces)}, [task])], 1)[0])
    spans = {(span["start"], span["end"]) for span in output["tasks"][task]}
    return {
        "characters": length,
        "windows": output["windows"],
        "planted": len(wanted),
        "found": sum(each in spans for each in wanted),
    }


def answered(calls: Sequence[Call], at_once: int) -> list[Heard]:
    """Answers to all; those that the server refuses because it is busy are asked again, as a client does."""
    found = run_all(calls, at_once=at_once)
    for _ in range(TURNS):
        busy = [i for i, heard in enumerate(found) if heard.status in BUSY]
        if not busy:
            break
        time.sleep(PAUSE_S)
        for i, heard in zip(busy, run_all([calls[i] for i in busy], at_once=at_once), strict=True):
            found[i] = heard
    return found


def _output(heard: Heard) -> dict[str, Any]:
    if heard.status != 200:
        return {"error": {"type": str(heard.status), "message": heard.body[:200].decode(errors="replace")}}
    output: dict[str, Any] = json.loads(heard.body)["outputs"][0]
    return output


def _compared(one: Any, two: Any) -> tuple[bool, float]:
    """Whether all but numbers with a point are equal, and those nearly; and their largest difference."""
    if isinstance(one, float) and isinstance(two, float):
        return abs(one - two) <= TOLERANCE, abs(one - two)
    if isinstance(one, dict) and isinstance(two, dict) and list(one) == list(two):
        pairs = [_compared(one[key], two[key]) for key in one]
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        pairs = [_compared(left, right) for left, right in zip(one, two, strict=True)]
    else:
        return one == two, 0.0
    return all(same for same, _ in pairs), max((difference for _, difference in pairs), default=0.0)
