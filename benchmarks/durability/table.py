"""What was measured beside what it must be, as the page has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Summary = Mapping[str, Any]
FINE = {"saved (exit status 75)", "nothing to save yet (exit status 75)", "finished (exit status 0)"}
"""What may become of a run that is asked to stop."""


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table."""

    part: str
    what: str
    must: str
    least: int
    """Trials that are asked for."""
    told: Callable[[Summary], str]
    met: Callable[[Summary], bool]
    """Whether all that was tried came out right."""


def all_equal(found: Summary) -> bool:
    return bool(found["equal"] == found["trials"])


def killed(found: Summary) -> str:
    inside = found["kills_by_place"].get("in a save", 0)
    return f"{found['equal']} of {found['trials']} equal; {found['kills']} kills, {inside} of them inside a save"


def recovered(found: Summary) -> str:
    return f"{found['recovered']} of {found['trials']} faults recovered, at {found['operations']} operations"


def damaged(found: Summary) -> str:
    count = found["trials"]
    return (
        f"of {count} damages {found['noticed']} noticed, {found['fell_back']} fell back, {found['loaded']} loaded; "
        f"{found['resumed_equal']} of {found['resumed']} runs that went on ended equal"
    )


def damage_met(found: Summary) -> bool:
    resumed = found["resumed_equal"] == found["resumed"] and found["all_damaged_refused"]
    return bool(found["noticed"] == found["fell_back"] == found["trials"] and not found["loaded"] and resumed)


def stopped(found: Summary) -> str:
    exits = ", ".join(f"{count} {what}" for what, count in found["outcomes"].items())
    return (
        f"{found['equal']} of {found['trials']} equal: {exits}; at most {found['most_steps_after']} step after the signal; "
        f"out after {found['exit_s']['median']:.2f} s (median; at most {found['exit_s']['max']:.2f} s): a step takes "
        f"{found['step_s']:.2f} s, a save {found['save_s']:.2f} s, leaving Python {found['leave_s']:.2f} s"
    )


def stopped_met(found: Summary) -> bool:
    return all_equal(found) and found["most_steps_after"] <= 1 and set(found["outcomes"]) <= FINE


def ordered(found: Summary) -> str:
    return f"{found['differing_steps']} of {found['steps']} steps differ, in {found['trials']} runs"


def processed(found: Summary) -> str:
    same, most = found["samples_equal"], found["largest_difference"]
    return f"samples equal in {same} of {found['trials']} runs; losses differ by {most:.1e} at most"


def guarded(found: Summary) -> str:
    return f"{found['right']} of {found['trials']} cases right"


LINES = (
    Line("kill", "kill -9 at random moments, one process", "100 of 100 equal", 100, killed, all_equal),
    Line("kill-2", "the same with 2 processes", "30 of 30 equal", 30, killed, all_equal),
    Line(
        "faults", "kill or fail at every write, fsync and rename of one save", "every point recovers", 40, recovered,
        lambda found: bool(found["recovered"] == found["trials"]),
    ),
    Line(
        "damage", "each checkpoint file truncated, bit-flipped, deleted, swapped with an older one",
        "all noticed, all fall back, none loaded", 100, damaged, damage_met,
    ),
    Line(
        "sigterm", "SIGTERM at random moments", "50 saved and equal after resume, each within one step plus the save",
        50, stopped, stopped_met,
    ),
    Line(
        "guards", "NaN in one task's loss, in a gradient, 20 in a row", "no bad update, no wrongly skipped step afterwards",
        7, guarded, lambda found: bool(found["right"] == found["trials"]),
    ),
    Line(
        "order", "order of samples with 0, 1, 2 loader workers and kills inside the epoch, twice", "no difference", 12,
        ordered, all_equal,
    ),
    Line(
        "processes", "1 against 2 processes, same global batch, 50 steps", "same samples; losses within 1e-5", 1,
        processed, all_equal,
    ),
)  # fmt: skip


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Ours, then the peers. What was measured in part, or fell short, says so."""
    yield "| test | must | measured |"
    yield "|---|---|---|"
    for line in LINES:
        part = result["parts"].get(line.part, {})
        found = part.get("summary")
        if not found:
            yield f"| {line.what} | {line.must} | not measured |"
            continue
        short = found["trials"] < line.least or not part["complete"]
        remarks = ["missed"] * (not line.met(found)) + ["fewer trials than asked for"] * short
        remark = f" ({', '.join(remarks)})" if remarks else ""
        yield f"| {line.what} | {line.must} | {line.told(found)}{remark} |"
    yield ""
    yield from _peers(result["parts"].get("peers", {}).get("summary", {}))


def _peers(found: Mapping[str, Any]) -> Iterator[str]:
    yield "| killed, then started again | equal | equal once the newest checkpoint was deleted by hand | different | failed |"
    yield "|---|---|---|---|---|"
    for name, peer in found.items():
        counts = [peer[key] for key in ("equal", "equal_with_help", "different", "failed")]
        what = f"{name}: {peer['trials']} runs, {peer['hit_in_a_save']} hit in a save"
        yield f"| {what} | {' | '.join(map(str, counts))} |"
    yield ""
    yield "| one file of the newest checkpoint damaged | refused | without effect | other results, silently |"
    yield "|---|---|---|---|"
    for name, peer in found.items():
        yield f"| {name}: {peer['damaged']} damages | {' | '.join(map(str, peer['damage'].values()))} |"
