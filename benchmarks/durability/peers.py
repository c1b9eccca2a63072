"""The same kills for transformers' Trainer and for accelerate: do runs that go on end where the undisturbed one ends?

A third of the trials kills while a checkpoint is written. A run that does not go on by itself is helped as its user
would: the newest checkpoint is deleted, and it is started again. Then each file of the newest of two or more
checkpoints is cut in half, changed by one bit in its middle, or deleted, and the run started again: refused, unnoticed,
or without effect.
"""

from __future__ import annotations

import random
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from durability.forks import begun, prepare
from durability.peer_runs import LOSSES, RUNS
from durability.project import SAVE_EVERY, STEPS, Project, make_project, without_dropout
from durability.runs import POLL_S, Started, kill, kill_after, sha256

Row = dict[str, Any]
AGAIN, MOST_KILLS = 0.3, 3


@dataclass(frozen=True, slots=True)
class Peer:
    """How a library names what it writes."""

    name: str
    folder: str
    """Of a checkpoint, with its step."""
    last: str
    """The file of a checkpoint that is written last."""

    def newest(self, output: Path) -> Path | None:
        """The newest checkpoint, whole or not."""
        names = [
            re.fullmatch(self.folder.format(r"(\d+)"), path.name)
            for path in (output.iterdir() if output.is_dir() else ())
        ]
        found = sorted((int(match[1]), match[0]) for match in names if match)
        return output / found[-1][1] if found else None


PEERS = (
    Peer("trainer", "checkpoint-{}", "trainer_state.json"),
    Peer("accelerate", "step_{}", "random_states_0.pkl"),
)


def measure(work: Path, trials: int) -> Iterator[Row]:
    """Rows of `trials` kills and of the damages, for each peer."""
    project = make_project(work, steps=STEPS, save_every=SAVE_EVERY, evaluate_every=STEPS)
    prepare(project)
    import accelerate  # type: ignore[import-untyped]  # noqa: F401
    import transformers.trainer  # noqa: F401

    for peer in PEERS:
        expected, whole_s = _undisturbed(project, peer)
        yield {"peer": peer.name, "reference_s": round(whole_s[-1], 1)}
        for number in range(trials):
            yield {"peer": peer.name, **trial(project, peer, number, expected, whole_s)}
        yield from damages(project, peer, trials)
        yield {"peer": peer.name, "without_dropout_equal": _equal_without_dropout(project, peer)}


def _run(project: Project, peer: Peer, output: Path, encoder: Path | None = None) -> Started:
    """In a forked child. The log holds what this start says, and no other."""
    log = project.folder / f"{output.name}.log"
    log.unlink(missing_ok=True)
    work = partial(
        RUNS[peer.name], str(encoder or project.encoder), project.data, output, project.steps, project.save_every
    )
    return begun(work, log)


def result(output: Path) -> dict[str, str]:
    """What a finished run is compared by."""
    return {name: sha256(output / name) for name in (LOSSES, "model.safetensors") if (output / name).exists()}


def _undisturbed(project: Project, peer: Peer) -> tuple[dict[str, str], list[float]]:
    found, whole_s = [], []
    for i in range(2):
        output = project.output(f"{peer.name}-reference-{i}")
        run = _run(project, peer, output)
        if status := run.wait():
            raise RuntimeError(f"the undisturbed run of {peer.name} ended with status {status}: {run.last_words()}")
        whole_s.append(time.perf_counter() - run.began)
        found.append(result(output))
    if found[0] != found[1]:
        raise RuntimeError(f"two undisturbed runs of {peer.name} differ: {found}")
    return found[0], whole_s


def trial(project: Project, peer: Peer, number: int, expected: dict[str, str], whole_s: list[float]) -> Row:
    """One run, killed at least once, brought to its end if it can be."""
    draw, output = random.Random(f"peer/{number}"), project.output(f"{peer.name}-trial")
    shutil.rmtree(output, ignore_errors=True)
    kills: list[Row] = []
    while True:
        again = not kills or (len(kills) < MOST_KILLS and draw.random() < AGAIN)
        run = _run(project, peer, output)
        in_save, moment = number % 3 == 0 and not kills, draw.random()
        hit = again and (
            _kill_in_save(run, project, peer, output, draw) if in_save else kill_after(run, moment * whole_s[-1])
        )
        if hit:
            kills.append(_where(run, peer, output))
        elif kills:
            break
        else:
            whole_s.append(time.perf_counter() - run.began)
            shutil.rmtree(output, ignore_errors=True)
    return {"trial": number, "kills": kills, **_end(project, peer, run, output, expected)}


def _kill_in_save(run: Started, project: Project, peer: Peer, output: Path, draw: random.Random) -> bool:
    """Kill within 20 ms of the appearance of a checkpoint's folder, which is about as long as it takes to fill."""
    step, delay_s = draw.randrange(project.save_every, project.steps, project.save_every), draw.uniform(0, 0.02)
    while run.process.poll() is None:
        if (output / peer.folder.format(step)).exists():
            time.sleep(delay_s)
            kill(run)
            return True
        time.sleep(POLL_S)
    return False


def _where(run: Started, peer: Peer, output: Path) -> Row:
    newest = peer.newest(output)
    half = newest is not None and not (newest / peer.last).exists()
    place = "in a save" if half else "between saves" if newest else "before the first save"
    return {
        "second": round(time.perf_counter() - run.began, 2),
        "place": place,
        "newest": newest.name if newest else None,
    }


def _end(project: Project, peer: Peer, run: Started, output: Path, expected: dict[str, str]) -> Row:
    """Wait for the end of a run that nobody kills any more, and help it if need be."""
    helped, errors = 0, list[str]()
    while (run.wait()) and helped < MOST_KILLS and (newest := peer.newest(output)):
        errors.append(_error(run))
        shutil.rmtree(newest)
        helped += 1
        run = _run(project, peer, output)
    status = run.wait()
    outcome = "failed" if status else "equal" if result(output) == expected else "different"
    row = {"by_itself": not helped and not status, "outcome": outcome}
    return {
        **row,
        **({"errors": errors} if errors else {}),
        **({"differs": _differs(output, expected)} if outcome == "different" else {}),
    }


def _error(run: Started) -> str:
    """The last line of a traceback."""
    lines = [line for line in run.last_words().splitlines() if line and not line.startswith(" ")]
    return re.sub(r"\S*/", "", lines[-1])[:160] if lines else ""


def _differs(output: Path, expected: dict[str, str]) -> list[str]:
    return [name for name, value in result(output).items() if expected[name] != value]


OUTCOMES = ("refused", "without effect", "other results, silently")


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], None]] = {"cut in half": halved, "one bit flipped": flipped, "deleted": Path.unlink}


def damages(project: Project, peer: Peer, most: int) -> Iterator[Row]:
    """A row for each damage to each file of the newest checkpoint, of the first `most` files.

    Held against the run that goes on from the same checkpoint undamaged, which may itself differ from the undisturbed one.
    """
    broken_off, output = project.output(f"{peer.name}-broken-off"), project.output(f"{peer.name}-damaged")
    newest = _broken_off(_run(project, peer, broken_off), project, peer, broken_off)
    shutil.copytree(broken_off, output)
    _run(project, peer, output).wait()
    expected = result(output)
    for file in sorted(path.name for path in newest.iterdir() if path.is_file())[:most]:
        for kind, damage in DAMAGES.items():
            shutil.rmtree(output)
            shutil.copytree(broken_off, output)
            damage(output / newest.name / file)
            run = _run(project, peer, output)
            status = run.wait()
            outcome = OUTCOMES[0 if status else 1 if result(output) == expected else 2]
            yield {
                "peer": peer.name,
                "file": file,
                "damage": kind,
                "outcome": outcome,
                **({"error": _error(run)} if status else {}),
            }


def _equal_without_dropout(project: Project, peer: Peer) -> bool:
    """Whether a run that is killed once goes on to the same end when the encoder has no dropout."""
    encoder, found = project.folder / "encoder-without-dropout", []
    if not encoder.exists():
        shutil.copytree(project.encoder, encoder)
        without_dropout(encoder)
    for name in ("whole", "killed"):
        output = project.output(f"{peer.name}-without-dropout-{name}")
        run = _run(project, peer, output, encoder)
        if name == "killed":
            _broken_off(run, project, peer, output)
            run = _run(project, peer, output, encoder)
        run.wait()
        found.append(result(output))
    return found[0] == found[1]


def _broken_off(run: Started, project: Project, peer: Peer, output: Path) -> Path:
    """Kill a run a little after the checkpoint in its middle is written; that checkpoint."""
    saves = project.steps // project.save_every
    newest = output / peer.folder.format(saves // 2 * project.save_every)
    while run.process.poll() is None and not (newest / peer.last).exists():
        time.sleep(POLL_S)
    time.sleep(0.05)
    kill(run)
    found = peer.newest(output)
    assert found is not None, "it was waited for"
    return found


def summary(rows: Sequence[Row]) -> Row:
    """Counts for each peer."""
    found: Row = {}
    for peer in PEERS:
        trials = [row for row in rows if row["peer"] == peer.name and "trial" in row]
        in_save = [row for row in trials if any(kill["place"] == "in a save" for kill in row["kills"])]
        hurt = [row for row in rows if row["peer"] == peer.name and "damage" in row]
        found[peer.name] = {
            "trials": len(trials),
            "equal": sum(row["outcome"] == "equal" and row["by_itself"] for row in trials),
            "equal_with_help": sum(row["outcome"] == "equal" and not row["by_itself"] for row in trials),
            "different": sum(row["outcome"] == "different" for row in trials),
            "failed": sum(row["outcome"] == "failed" for row in trials),
            "hit_in_a_save": len(in_save),
            "hit_in_a_save_went_on_by_itself": sum(row["by_itself"] for row in in_save),
            "damaged": len(hurt),
            "without_dropout_equal": next((row["without_dropout_equal"] for row in rows
                                           if row["peer"] == peer.name and "without_dropout_equal" in row), None),
            "damage": {what: sum(row["outcome"] == what for row in hurt) for what in OUTCOMES},
        }  # fmt: skip
    return found
