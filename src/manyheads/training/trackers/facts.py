"""What trackers are told of a run before its first step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manyheads.bundle.manifest import versions
from manyheads.training.identity import environment
from manyheads.training.trackers.base import RunFacts, flat

if TYPE_CHECKING:
    from manyheads.training.plan import Plan


def facts_of(plan: Plan) -> RunFacts:
    """The settings of a run, hashes of what it is made from, and where it runs."""
    hashes = {f"data.{name}": digest for name, digest in plan.identity.data.items()}
    hashes["base_weights"] = plan.identity.base
    if plan.started_from is not None:
        hashes["started_from"] = plan.started_from["model"]
    known = {f"version.{name}": version for name, version in versions().items()}
    here = {name: str(value) for name, value in environment().items() if name != "torch"}
    tracking = plan.tracking
    steps = {"steps": str(plan.steps), "parameters": str(sum(each.numel() for each in plan.model.parameters()))}
    return RunFacts(
        output=plan.output,
        name=tracking.name or plan.output.resolve().name,
        group=tracking.group,
        run_file=plan.run,
        settings=flat(tracking.settings),
        facts={**hashes, **known, **here, **steps},
    )
