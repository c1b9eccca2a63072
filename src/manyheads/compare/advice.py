"""What to do about a comparison, by rules that are written down, with their sources, in docs/sharing.md.

Decided here: verdicts decide, gradients only choose between remedies that verdicts call for (Mueller 2024: conflict does not
predict generalisation). Nothing is advised where nothing is shown: an inconclusive task is left where it is, and of one that
learned nothing, neither shared nor alone, it is not known what sharing does to it. Where a task is hurt, two causes are
measured and come first, since each has a cheap remedy: others move the encoder and it does not (its pull), and the encoder
forgets what it knew of the task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from manyheads.compare.verdict import Verdict
from manyheads.config.recipe import ANCHOR

SHARE, TOPS, ADAPTERS, APART = "share", "private tops", "adapters", "apart"
NOT_KNOWN = "not known"
FASTER, ANCHORED = "a larger step", "an anchor"
FREE = "one pass for all tasks, one model in memory"
UNHURT = {
    "equivalent": "sharing costs nothing that matters, and saves a model",
    "no worse": "sharing costs less than matters, if anything, and saves a model",
    "inconclusive": "nothing is shown against sharing; more seeds would tell",
}
"""Verdicts after which tasks stay together, and why."""
MUCH = 0.03
"""A loss of 3 points: what a top of its own seldom gives back."""
SLOW = 0.8
"""Of the speed at which a task alone moves the encoder; entities alone at half of it lose 14 points in a short run."""
FORGOTTEN = 0.01
"""Points below the untrained encoder that are no accident of validation rows."""
FEW = 2000
"""Training examples below which a task's own layers have little to learn from."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the rules look at, of one task."""

    verdict: Verdict
    difference: float
    """Shared minus single, a fraction."""
    examples: int
    """In the training data."""
    own: bool = False
    """Whether the run already gives the task layers of its own."""
    speed: float | None = None
    """How fast it moves the shared encoder, 1 as fast as alone; None where it was not measured."""
    faster: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the run file that would make it as fast as alone; none where there are none."""
    forgotten: float = 0.0
    """By how much the shared model's validation score ended below that of the untrained encoder, a fraction."""
    nothing: str | None = None
    """How its head shows that it learned nothing in any run, shared or alone; None where it learned something."""


def advise(findings: Mapping[str, Finding], diagnostics: Mapping[str, Any], depth: int) -> dict[str, dict[str, Any]]:
    """For each task `remedy`, `reason`, `changes` of the run file and `cost` at inference."""
    start = fork(findings, diagnostics, depth)
    return {
        name: _unknown(finding.nothing)
        if finding.nothing is not None
        else _caused(finding) or _advice(finding, list(findings), start, depth)
        for name, finding in findings.items()
    }


def remedy(advice: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The one change of the run file that serves most of the tasks that are hurt; None when none is."""
    wanted = [entry for entry in advice.values() if entry["changes"]]
    if not wanted:
        return None
    names = [entry["remedy"] for entry in wanted]
    first = max(wanted, key=lambda entry: names.count(entry["remedy"]))
    return {"name": first["remedy"], "changes": dict(first["changes"])}


def fork(findings: Mapping[str, Finding], diagnostics: Mapping[str, Any], depth: int) -> int:
    """The layer from which tasks should go apart: where the hurt ones begin to pull against the others, if they do.

    Two thirds up otherwise: 4 of 6 shared layers give back most of what sharing takes (Wei 2022; docs/strategies.md).
    """
    usual = max(1, round(depth * 2 / 3))
    hurt = [name for name, finding in findings.items() if finding.verdict == "hurts"]
    for number, group in enumerate(diagnostics.get("groups", ())):
        words = group.split()
        if words[0] not in ("layer", "layers"):
            continue
        below = int(words[1].partition("-")[0]) - 1
        cosines = [
            pair["cosine"][number]["high"] if isinstance(pair["cosine"][number], Mapping) else pair["cosine"][number]
            for names, pair in diagnostics["pairs"].items()
            if any(name in names.split("|") for name in hurt)
        ]
        known = [cosine for cosine in cosines if cosine is not None]
        if known and max(known) < 0 and 0 < below < usual:
            return below
    return usual


def _unknown(nothing: str) -> dict[str, Any]:
    return _entry(NOT_KNOWN, f"its head learned nothing, shared or alone: it {nothing}", {}, FREE)


def _caused(finding: Finding) -> dict[str, Any] | None:
    """Advice against a measured cause of a hurt; None where there is none, or it is met already."""
    if finding.verdict != "hurts":
        return None
    remedies, reasons, changes = list[str](), [f"sharing loses {_points(finding)}"], dict[str, Any]()
    if finding.speed is not None and finding.speed < SLOW and finding.faster:
        remedies.append(FASTER)
        reasons.append(f"it moves the encoder at {finding.speed:.2f} of the speed that it has alone")
        changes |= finding.faster
    if finding.forgotten > FORGOTTEN and not finding.own:
        remedies.append(ANCHORED)
        reasons.append(f"the shared encoder ends {100 * finding.forgotten:.1f} points below the untrained one")
        changes |= {"training.anchor": ANCHOR}
    return _entry(" and ".join(remedies), "; ".join(reasons), changes, FREE) if remedies else None


def _points(finding: Finding) -> str:
    return f"{abs(100 * finding.difference):.1f} points"


def _advice(finding: Finding, names: Sequence[str], start: int, depth: int) -> dict[str, Any]:
    points = _points(finding)
    if finding.verdict == "helps":
        return _entry(SHARE, f"sharing gains {points}", {}, FREE)
    if finding.verdict in UNHURT:
        return _entry(SHARE, UNHURT[finding.verdict], {}, FREE)
    if finding.own or finding.difference <= -MUCH:
        return _entry(
            APART,
            f"sharing loses {points}, more than a top of its own gives back" if not finding.own
            else f"sharing loses {points} although the task has layers of its own",
            {"sharing.shared_layers": 0}, f"a pass of its own for each of {len(names)} tasks",
        )  # fmt: skip
    if finding.examples < FEW:
        return _entry(
            ADAPTERS, f"sharing loses {points}, and {finding.examples:,} examples are few for layers of its own",
            {"lora.adapters": "per-task"}, "the layers with adapters run once for each task; the weights are shared",
        )  # fmt: skip
    return _entry(
        f"{TOPS} from layer {start + 1}", f"sharing loses {points}", {"sharing.shared_layers": start},
        f"{start} of {depth} layers run once, the others once for each task",
    )  # fmt: skip


def _entry(what: str, reason: str, changes: Mapping[str, Any], cost: str) -> dict[str, Any]:
    return {"remedy": what, "reason": reason, "changes": dict(changes), "cost": cost}
