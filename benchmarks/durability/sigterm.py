"""SIGTERM at random moments: the step ends, the run is saved, status 75, and it goes on to the same end.

A moment is uniform over the steps and evaluations of the run, which is the command in a forked child; of one trial more
for every five, over the whole duration of a process, its start included. There the rule may be another one: until the
first step there is nothing to save, and once the model is being written it is finished. How many steps were made after
the signal is read from the history; seconds until the exit are told beside those of a step, a save, and of a Python
with these libraries that ends by itself.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from durability.forks import begun, command, prepare
from durability.project import EVALUATE_EVERY, SAVE_EVERY, STEPS, Project, make_project
from durability.runs import (
    MANIFEST,
    Reference,
    Started,
    differences,
    history,
    kill,
    reference_run,
    start,
    train_command,
    wait_for_line,
)

Row = dict[str, Any]
SAVED, NOTHING_YET = re.compile(r"stopped by SIGTERM.*continue with --resume"), "before the first step"
ENDING = "import torch, transformers, manyheads.process as process; process.skip_final_collection(); print(flush=True)"


def measure(work: Path, trials: int) -> Iterator[Row]:
    """A row for each trial."""
    project = make_project(work, steps=STEPS, save_every=SAVE_EVERY, evaluate_every=EVALUATE_EVERY)
    prepare(project)
    reference = reference_run(project)
    paces = {
        "reference_s": reference.seconds,
        "save_s": reference.save_s,
        "step_s": reference.step_s,
        "leave_s": _leaving(project),
    }
    yield {name: round(value, 4) for name, value in paces.items()}
    for number in range(trials + -(-trials // 5)):
        yield trial(project, reference, number, training=number < trials)


def trial(project: Project, reference: Reference, number: int, *, training: bool) -> Row:
    """One run, asked to stop once, during its training or at any time, then brought to its end."""
    draw = random.Random(f"sigterm/{number}")
    output, log = project.output(f"trial-{number}"), project.folder / f"trial-{number}.log"
    while True:
        run = _start(project, output, log, forked=training)
        if training:
            wait_for_line(run, output, draw.randrange(len(reference.lines)))
            time.sleep(draw.uniform(0, reference.step_s))
        else:
            time.sleep(draw.uniform(0, reference.seconds))
        if run.process.poll() is None:
            break
        if run.wait():
            raise RuntimeError(f"a run that nobody stopped failed: {run.last_words()}")
        shutil.rmtree(output)
    row = {"trial": number, "forked": training, **_asked(run, output)}
    resumed = _start(project, output, log, "--resume", forked=True)
    status = resumed.wait()
    odd = [f"exit status {status}: {resumed.last_words()}"] if status else differences(reference, output)
    if not odd:
        shutil.rmtree(output)
    return {**row, "equal": not odd, **({"different": odd} if odd else {})}


def _start(project: Project, output: Path, log: Path, *more: str, forked: bool) -> Started:
    interpreter, *rest = train_command(project, output, 1, more)
    if forked:
        return begun(lambda: command(rest[2:]), log)
    return start([interpreter, *rest], project.environment(), log)


def _asked(run: Started, output: Path) -> Row:
    """Send the signal, and see what the run does."""
    seen = run.log.stat().st_size
    run.process.send_signal(signal.SIGSTOP)  # or a step might end between the look and the signal
    before, sent = history(output), time.perf_counter()
    run.process.send_signal(signal.SIGTERM)
    run.process.send_signal(signal.SIGCONT)
    try:
        status = run.process.wait(120)
    except subprocess.TimeoutExpired:
        kill(run)
        status = run.wait()
    exit_s = time.perf_counter() - sent
    told = run.log.read_text(encoding="utf-8", errors="replace")
    steps = sum('"loss"' in line for line in history(output)[len(before) :])
    if SAVED.search(told):
        outcome = "saved"
    elif NOTHING_YET in told:
        outcome = "nothing to save yet"
    elif status == 0 and (output / MANIFEST).exists():
        outcome = "finished"
    else:
        outcome = "ended at once" if status == -signal.SIGTERM else "failed"
    row = {
        "line": len(before),
        "status": status,
        "outcome": outcome,
        "exit_s": round(exit_s, 3),
        "steps_after": steps,
    }
    return row if outcome != "failed" else {**row, "told": told[-1500:], "said_before": seen}


def _leaving(project: Project) -> float:
    """Seconds that a Python with these libraries takes to end, median of five."""
    found = []
    for _ in range(5):
        command = [*train_command(project, project.folder)[:1], "-c", ENDING]
        process = subprocess.Popen(command, env=project.environment(), stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        told = time.perf_counter()
        process.wait()
        found.append(time.perf_counter() - told)
    return statistics.median(found)


def summary(rows: Sequence[Row]) -> Row:
    """Counts over trials, and seconds from the signal to the exit of the forked ones that saved."""
    trials = [row for row in rows if "trial" in row]
    saved = [row for row in trials if row["outcome"] == "saved"]
    outcomes = sorted({(row["outcome"], row["status"]) for row in trials})
    seconds = sorted(row["exit_s"] for row in saved if row["forked"]) or [0.0]
    return {
        "trials": len(trials),
        "equal": sum(row["equal"] for row in trials),
        "outcomes": {
            f"{what} (exit status {status})": sum((row["outcome"], row["status"]) == (what, status) for row in trials)
            for what, status in outcomes
        },
        "most_steps_after": max((row["steps_after"] for row in saved), default=0),
        "exit_s": {"median": statistics.median(seconds), "max": seconds[-1]},
        **{key: row[key] for row in rows for key in ("step_s", "save_s", "leave_s") if key in row},
    }
