"""What to do about a comparison, by rules that docs/sharing.md lists with their sources.

Decided here: verdicts decide, gradients only choose between the remedies that a verdict calls for (Mueller 2024: conflict
does not predict generalisation). An inconclusive task is left where it is, and a task that learned nothing, shared or
alone, gets no advice. For a task that is hurt two causes are measured and come first, as each has a cheap remedy: other
tasks move the encoder and it does not, or the encoder forgets what it knew of the task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from manyheads.compare.verdict import Verdict
from manyheads.config.recipe import ANCHOR

ONE_PASS = "one pass for all tasks, one model in memory"
SHARED_REASONS = {
    "equivalent": "sharing costs nothing that matters, and saves a model",
    "no worse": "sharing costs less than the margin, if anything, and saves a model",
    "inconclusive": "nothing speaks against sharing so far; more seeds would tell",
}
"""Verdicts with which a task stays shared, and why."""
LARGE_LOSS = 0.03
"""A loss of 3 points: private layers seldom make up for it."""
SLOW = 0.8
"""Relative to the speed of a task alone; entities alone at half speed lose 14 points in a short run."""
FORGETTING = 0.01
"""Points below the untrained encoder that the noise of validation rows does not explain."""
FEW_EXAMPLES = 2000
"""Training examples below which private layers have little to learn from."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the rules look at, for one task."""

    verdict: Verdict
    difference: float
    """Shared minus single, a fraction."""
    examples: int
    """In the training data."""
    private: bool = False
    """Whether the run already gives the task layers or adapters of its own."""
    speed: float | None = None
    """How fast it moves the shared encoder, relative to the task alone; None if not measured."""
    speed_up: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the run file that would make it as fast as alone; empty if there are none."""
    forgetting: float = 0.0
    """How far the shared model's validation score ends below that of the untrained encoder, a fraction."""
    no_learning: str | None = None
    """How its head shows that it learned nothing in any run, shared or alone; None if it learned something."""


def advise(findings: Mapping[str, Finding], diagnostics: Mapping[str, Any], depth: int) -> dict[str, dict[str, Any]]:
    """For each task `remedy`, `reason`, `changes` of the run file and `cost` at inference.

    >>> advise({"entities": Finding("helps", 0.02, examples=9000)}, {}, depth=6)["entities"]["reason"]
    'sharing gains 2.0 points'
    """
    start = branching_layer(findings, diagnostics, depth)
    return {name: _advice(finding, len(findings), start, depth) for name, finding in findings.items()}


def most_wanted(advice: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The remedy that most of the hurt tasks call for, with its changes; None if no task is hurt."""
    wanted = [entry for entry in advice.values() if entry["changes"]]
    if not wanted:
        return None
    names = [entry["remedy"] for entry in wanted]
    first = max(wanted, key=lambda entry: names.count(entry["remedy"]))
    return {"name": first["remedy"], "changes": dict(first["changes"])}


def branching_layer(findings: Mapping[str, Finding], diagnostics: Mapping[str, Any], depth: int) -> int:
    """The number of layers to share: up to where the gradients of hurt tasks begin to oppose those of the others.

    Two thirds of the depth if they do not: 4 of 6 shared layers recover most of what sharing loses (Wei 2022;
    docs/strategies.md).
    """
    default = max(1, round(depth * 2 / 3))
    hurt = {name for name, finding in findings.items() if finding.verdict == "hurts"}
    for number, group in enumerate(diagnostics.get("groups", ())):
        words = group.split()
        if words[0] not in ("layer", "layers"):
            continue
        below = int(words[1].partition("-")[0]) - 1
        cosines = [pair["cosine"][number] for names, pair in diagnostics["pairs"].items() if hurt & {*names.split("|")}]
        highest = [cosine["high"] if isinstance(cosine, Mapping) else cosine for cosine in cosines]
        known = [cosine for cosine in highest if cosine is not None]
        if known and max(known) < 0 and 0 < below < default:
            return below
    return default


def _advice(finding: Finding, tasks: int, start: int, depth: int) -> dict[str, Any]:
    if finding.no_learning is not None:
        return _entry("not known", f"its head learned nothing, shared or alone: it {finding.no_learning}")
    if finding.verdict == "helps":
        return _entry("share", f"sharing gains {_points(finding)}")
    if finding.verdict in SHARED_REASONS:
        return _entry("share", SHARED_REASONS[finding.verdict])
    return _against_cause(finding) or _less_sharing(finding, tasks, start, depth)


def _against_cause(finding: Finding) -> dict[str, Any] | None:
    """Advice against the measured causes of a loss; None if there are none, or the run already does what can be done."""
    remedies, reasons, changes = list[str](), [f"sharing loses {_points(finding)}"], dict[str, Any]()
    if finding.speed is not None and finding.speed < SLOW and finding.speed_up:
        remedies.append("a larger step")
        reasons.append(f"it moves the encoder at {finding.speed:.2f} of the speed that it has alone")
        changes |= finding.speed_up
    if finding.forgetting > FORGETTING and not finding.private:
        remedies.append("an anchor")
        reasons.append(f"the shared encoder ends {100 * finding.forgetting:.1f} points below the untrained one")
        changes |= {"training.anchor": ANCHOR}
    return _entry(" and ".join(remedies), "; ".join(reasons), changes) if remedies else None


def _less_sharing(finding: Finding, tasks: int, start: int, depth: int) -> dict[str, Any]:
    loss = f"sharing loses {_points(finding)}"
    if finding.private or finding.difference <= -LARGE_LOSS:
        why = " although the task has private layers" if finding.private else ", more than private layers make up for"
        return _entry("apart", f"{loss}{why}", {"sharing.shared_layers": 0}, f"one pass for each of {tasks} tasks")
    if finding.examples < FEW_EXAMPLES:
        return _entry(
            "adapters", f"{loss}, and {finding.examples:,} examples are few for private layers",
            {"lora.adapters": "per-task"}, "the layers with adapters run once for each task; the weights are shared",
        )  # fmt: skip
    return _entry(f"private tops from layer {start + 1}", loss, {"sharing.shared_layers": start},
                  f"{start} of {depth} layers run once, the others once for each task")  # fmt: skip


def _points(finding: Finding) -> str:
    return f"{abs(100 * finding.difference):.1f} points"


def _entry(
    remedy: str, reason: str, changes: Mapping[str, Any] | None = None, cost: str = ONE_PASS
) -> dict[str, Any]:
    return {"remedy": remedy, "reason": reason, "changes": dict(changes or {}), "cost": cost}
