"""What to do about a comparison, by rules that are written down, with their sources, in docs/sharing.md.

Decided here: verdicts decide, gradients only choose between remedies that verdicts call for (Mueller 2024: conflict does not
predict generalisation). Nothing is advised where nothing is shown: an inconclusive task is left where it is, and of one that
learned nothing, neither shared nor alone, it is not known what sharing does to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manyheads.compare.verdict import Verdict

SHARE, TOPS, ADAPTERS, APART = "share", "private tops", "adapters", "apart"
NOT_KNOWN = "not known"
FREE = "one pass for all tasks, one model in memory"
UNHURT = {
    "equivalent": "sharing costs nothing that matters, and saves a model",
    "no worse": "sharing costs less than matters, if anything, and saves a model",
    "inconclusive": "nothing is shown against sharing; more seeds would tell",
}
"""Verdicts after which tasks stay together, and why."""
MUCH = 0.03
"""A loss of 3 points: what a top of its own seldom gives back."""
RISING = 0.01
"""A rise of 1 point at the end: who learns slower is not worse yet."""
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
    rise: float = 0.0
    """Of the shared model's validation score over the last quarter of the training, a fraction."""
    nothing: str | None = None
    """How its head shows that it learned nothing in any run, shared or alone; None where it learned something."""


def advise(findings: Mapping[str, Finding], diagnostics: Mapping[str, Any], depth: int) -> dict[str, dict[str, Any]]:
    """For each task `remedy`, `reason`, `changes` of the run file and `cost` at inference."""
    start = fork(findings, diagnostics, depth)
    return {
        name: _unknown(finding.nothing)
        if finding.nothing is not None
        else _unfinished(finding, _advice(finding, list(findings), start, depth))
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


def _unfinished(finding: Finding, entry: dict[str, Any]) -> dict[str, Any]:
    """Advice, with a word of caution where the training ended too early to tell."""
    if finding.rise <= RISING:
        return entry
    caution = (
        f"the shared score still rose by {100 * finding.rise:.1f} points at the end: train longer before you decide"
    )
    return {**entry, "reason": f"{entry['reason']}; {caution}"}


def _advice(finding: Finding, names: Sequence[str], start: int, depth: int) -> dict[str, Any]:
    points = f"{abs(100 * finding.difference):.1f} points"
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
