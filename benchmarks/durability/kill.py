"""Kill -9 at random moments, go on with --resume, and compare with the run that nobody disturbed.

Of three trials one waits for a checkpoint to be written and kills inside; one kills in or after a step that is drawn,
evaluations included; one by the clock, uniformly over the run's duration, so that start-up and the writing of the model
have their share, which is the larger the busier the machine. A run that goes on is killed again with probability 0.3,
up to twice, by the clock. Every fourth trial has a cache of its own, so a kill may fall into the making of tables as
well.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from durability.project import EVALUATE_EVERY, SAVE_EVERY, STEPS, Project, make_project
from durability.runs import (
    CHECKPOINTS,
    MANIFEST,
    UNFINISHED,
    Reference,
    Started,
    differences,
    history,
    kill_after,
    kill_in_save,
    reference_run,
    start,
    train_command,
    wait_for_line,
)

Row = dict[str, Any]
Aim = Literal["save", "line", "clock"]
AIMS: tuple[Aim, ...] = ("save", "line", "clock")
AGAIN, MOST_KILLS = 0.3, 3


def measure(work: Path, trials: int, processes: int = 1) -> Iterator[Row]:
    """A row for each trial."""
    project = make_project(work, steps=STEPS, save_every=SAVE_EVERY, evaluate_every=EVALUATE_EVERY)
    reference = reference_run(project, processes)
    yield {
        "reference_s": round(reference.seconds, 2),
        "save_s": round(reference.save_s, 4),
        "step_s": round(reference.step_s, 4),
    }
    whole_s = [reference.seconds]
    for number in range(trials):
        yield trial(project, reference, number, processes, whole_s)


def trial(project: Project, reference: Reference, number: int, processes: int, whole_s: list[float]) -> Row:
    """One run, killed at least once, brought to its end. `whole_s`: how long whole runs took; those to come are added."""
    draw = random.Random(f"{processes}/{number}")
    output, cache = project.output(f"trial-{number}"), "cache" if number % 4 else f"cache-{number}"
    log, began = project.folder / f"trial-{number}.log", time.perf_counter()
    kills: list[Row] = []
    status = None
    while status is None:
        more = ["--resume"] if kills else []
        again = not kills or (len(kills) < MOST_KILLS and draw.random() < AGAIN)
        run = start(train_command(project, output, processes, more), project.environment(cache), log)
        if not again:
            status = run.wait()
        elif _killed(run, project, output, reference, draw, AIMS[number % 3] if not kills else "clock", whole_s[-1]):
            kills.append(_hit(run.began, output, project.steps))
        elif kills:  # it ended before the moment came
            status = run.wait()
        else:
            whole_s.append(time.perf_counter() - run.began)
            status = run.wait() or None  # a whole run that nobody killed is no trial; one that failed is
            shutil.rmtree(output, ignore_errors=True)
    odd = [f"exit status {status}: {run.last_words()}"] if status else differences(reference, output)
    left = [path.name for path in output.glob(f"{CHECKPOINTS}/step-*")]
    if not odd:
        shutil.rmtree(output)
        log.unlink()
    if cache != "cache":
        shutil.rmtree(project.folder / cache)
    row = {"trial": number, "kills": kills, "equal": not odd, "seconds": round(time.perf_counter() - began, 1)}
    return {**row, **({"different": odd} if odd else {}), **({"left": left} if left else {})}


def _killed(
    run: Started, project: Project, output: Path, reference: Reference, draw: random.Random, aim: Aim, whole_s: float
) -> bool:
    """Kill the run at a moment; whether it lived so long."""
    if aim == "clock":
        return kill_after(run, draw.uniform(0, whole_s))
    if aim == "save":
        step, delay_s = draw.randrange(0, project.steps + 1, project.save_every), draw.uniform(0, reference.save_s)
        return kill_in_save(run, output, step, delay_s)
    wait_for_line(run, output, draw.randrange(len(reference.lines)))
    return kill_after(run, time.perf_counter() - run.began + draw.uniform(0, reference.step_s))


def _hit(began: float, output: Path, all_steps: int) -> Row:
    """Where a kill fell, by what it left."""
    folder, steps = output / CHECKPOINTS, len([line for line in history(output) if '"loss"' in line])
    saving = sorted(path.name for path in folder.glob(f"*{UNFINISHED}"))
    if (output / MANIFEST).exists():
        place = "after the end"
    elif saving:
        place = "in a save"
    elif not folder.is_dir() or not steps:
        place = "before the first step"
    else:
        place = "at the end" if steps == all_steps else "between saves"
    return {"second": round(time.perf_counter() - began, 2), "steps": steps, "place": place}


def summary(rows: Sequence[Row]) -> Row:
    """Counts over trials."""
    trials = [row for row in rows if "trial" in row]
    kills = [kill for row in trials for kill in row["kills"]]
    places = sorted({kill["place"] for kill in kills})
    return {
        "trials": len(trials),
        "equal": sum(row["equal"] for row in trials),
        "kills": len(kills),
        "kills_by_place": {place: sum(kill["place"] == place for kill in kills) for place in places},
        "trials_hit_in_a_save": sum(any(kill["place"] == "in a save" for kill in row["kills"]) for row in trials),
    }
