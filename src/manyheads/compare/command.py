"""`manyheads compare`: is each task better or worse off in the shared model, how sure is that, and what should be done?

Decided here: `compare.json` and the report are functions of the kept runs alone, without dates or durations of this one, so
a comparison that was killed ends in the same bytes. What was measured on the clock (`cost.json`) is kept like a run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from manyheads.compare.advice import advise, remedy
from manyheads.compare.crew import Maker
from manyheads.compare.jobs import compared_split
from manyheads.compare.ladder import climb_all, reason_against, rungs_of, write_model
from manyheads.compare.result import (
    findings,
    flat,
    judged,
    mean_diagnostics,
    task_entry,
    twin_entry,
    with_tokens,
)
from manyheads.compare.search import singles
from manyheads.compare.statistics import Settings
from manyheads.compare.verdict import every_task_no_worse
from manyheads.config.dataset import rows_of
from manyheads.config.files import as_given, load_run
from manyheads.crew.hands import Crew
from manyheads.crew.workshop import Job, Workshop, contents, open_workshop
from manyheads.durable import replace_file
from manyheads.errors import UsageError

if TYPE_CHECKING:
    from manyheads.compare.outcome import Outcome
    from manyheads.compare.search import Single
    from manyheads.compare.verdict import Judgement
    from manyheads.config.files import RunFile
    from manyheads.training.progress import Progress
    from manyheads.training.stop import Stop

RESULT = "compare.json"
REPORT = "report.html"
MODEL = "remedy"
"""The model folder that the ladder leaves."""
COST = "cost.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user wants to know."""

    run: Path
    output: Path
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    overrides: tuple[str, ...] = ()
    settings: Settings = field(default_factory=Settings)
    subsets: tuple[str, ...] = ()
    """`pairs`, `leave-one-out`: further runs, with two tasks, or all but one."""
    try_remedy: bool = False
    crew: Crew = field(default_factory=Crew)
    singles: Literal["best", "twin", "both"] = "best"
    """What the shared model is held against; `both`: twins are shown beside single models at their own best."""


def compare(asked: Asked, progress: Progress, stop: Stop) -> dict[str, Any]:
    """Train what is missing, compare, and write `compare.json` and `report.html`; the former as returned.

    Raises UsageError for a run that cannot be compared, StoppedError when asked to stop: what is done is kept.
    """
    from manyheads.config.build import window_lengths

    shop = open_shop(asked)
    maker = Maker(shop, asked.crew, progress, stop)
    names = list(shop.dataset)
    twins = [(name,) for name in names] if asked.singles != "best" else []
    climbs = asked.try_remedy and asked.singles != "twin" and reason_against(shop.file(Job(asked.seeds[0]))) is None
    plain = [Job(seed, tasks, keep=climbs and not tasks) for seed in asked.seeds for tasks in ((), *twins)]
    more = [Job(seed, tasks) for tasks in _subsets(names, asked.subsets) for seed in asked.seeds]
    outcomes = maker.outcomes([*plain, *more])
    shared = [outcomes[Job(seed)] for seed in asked.seeds]
    twin = {name: [outcomes[Job(seed, (name,))] for seed in asked.seeds] for (name,) in twins}
    best = singles(maker, asked.seeds) if asked.singles != "twin" else {}
    single = {name: list(best[name].runs) for name in best} or twin
    found = judged(dict.fromkeys(names, shared), single, asked.settings)
    file = shop.file(Job(asked.seeds[0]))
    diagnostics = mean_diagnostics([outcome.diagnostics for outcome in shared])
    result: dict[str, Any] = {
        "format": FORMAT, "run": asked.run.name, "seeds": list(asked.seeds), "level": asked.settings.level,
        "margin": asked.settings.margin, "replicates": asked.settings.replicates, "complete": True,
        "single": "best" if best else "twin",
        "every_task_no_worse": every_task_no_worse(found, asked.settings),
        "tasks": {name: task_entry(shop, name, found[name], shared, single[name]) for name in names},
        "diagnostics": diagnostics,
        "cost": with_tokens(_cost(shop, asked), shared, single),
        "remedy": None,
        "data": rows_of(shop.dataset, window_lengths(shop.tokenizer, file.run.encoder.max_length)),
        "settings": flat(as_given(file.run)),
        "versions": _versions(),
        "hashes": {**contents(shop.dataset), "encoder": shop.encoder},
    }  # fmt: skip
    for name, own in best.items():
        result["tasks"][name]["own"] = own.to_json()
    if best and twin:
        beside = judged(dict.fromkeys(names, shared), twin, asked.settings)
        for name, judgement in beside.items():
            result["tasks"][name]["twin"] = twin_entry(name, judgement, twin[name])
    advice = advise(findings(shop, file, found, shared, single), diagnostics, int(_config(file).num_hidden_layers))
    for name, entry in advice.items():
        result["tasks"][name]["advice"] = entry
    if asked.subsets:
        result["subsets"] = {
            ", ".join(tasks): _against(
                tasks, [outcomes[Job(seed, tasks)] for seed in asked.seeds], single, asked.settings
            )
            for tasks in _subsets(names, asked.subsets)
        }
    wanted = remedy(advice)
    if climbs:
        result["remedy"] = _climbed(maker, asked, found, shared, best)
    elif asked.try_remedy and wanted is not None:
        result["remedy"] = _tried(maker, asked, wanted, single)
    _write(asked.output, result)
    return result


def open_shop(asked: Asked) -> Workshop:
    """The run file and all its data, read and checked. Raises UsageError for what cannot be compared."""
    _check(load_run(asked.run, asked.overrides), asked)
    shop = open_workshop(asked.run, asked.overrides, asked.output)
    for name in shop.dataset:
        compared_split(shop.dataset, name)
    return shop


def _check(file: RunFile, asked: Asked) -> None:
    """Raise UsageError where twins could not be like the shared run, or nothing could come out."""
    if len(file.run.tasks) < 2:
        raise UsageError(f"{asked.run} has one task; there is nothing to share, and nothing to compare")
    if not asked.seeds or len(set(asked.seeds)) < len(asked.seeds):
        raise UsageError(f"seeds are {', '.join(map(str, asked.seeds)) or 'none'}; give different ones, at least 6")
    twins = asked.singles != "best"
    waiting = [name for name, section in file.run.tasks.items() if section.patience]
    if twins and waiting:
        raise UsageError(f"tasks.{waiting[0]}.patience ends a task's training by its score, after which the others get its "
                         "tokens: twins would not see the same examples; leave it out, or give --singles best")  # fmt: skip
    if twins and file.run.training.sampling.method == "difficulty":
        raise UsageError("training.sampling.method difficulty follows the scores, so twins would not see the same examples; "
                         "choose another method, or give --singles best")  # fmt: skip


def _subsets(names: Sequence[str], wanted: Sequence[str]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    if "pairs" in wanted:
        found += [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    if "leave-one-out" in wanted:
        found += [tuple(other for other in names if other != name) for name in names]
    return [some for some in dict.fromkeys(found) if 1 < len(some) < len(names)]


def _config(file: RunFile) -> Any:
    """Of the encoder."""
    from transformers import AutoConfig

    from manyheads.config.model import locate

    return AutoConfig.from_pretrained(locate(file).path_or_id)


def _cost(shop: Workshop, asked: Asked) -> dict[str, Any]:
    """As measured once for this comparison."""
    from manyheads.compare.cost import costs

    path = shop.folder / COST
    key = shop.key(Job(asked.seeds[0]))
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if kept.get("run") == key:
            return dict(kept["cost"])
    found = costs(shop, asked.seeds[0])
    shop.folder.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps({"run": key, "cost": found}, indent=1) + "\n")
    return found


def _climbed(
    maker: Maker, asked: Asked, found: Mapping[str, Judgement], shared: Sequence[Outcome], best: Mapping[str, Single]
) -> dict[str, Any] | None:
    """The ladder, for each task that falls behind its single model; the first seed's model with what they got is kept."""
    margin, rungs = asked.settings.margin, rungs_of(_config(maker.shop.file(Job(asked.seeds[0]))))
    behind = {
        name: best[name] for name, one in found.items() if not one.no_worse and one.difference.mean < -margin
    }
    ways = climb_all(maker, behind, asked.seeds, margin=margin, rungs=rungs)
    if not ways:
        return None
    runs = {name: list(ways[name].runs) if name in ways else list(shared) for name in best}
    after = judged(runs, {name: list(one.runs) for name, one in best.items()}, asked.settings)
    write_model(maker, asked.seeds[0], ways, asked.output / MODEL)
    return {"name": "the ladder", "changes": {}, "tasks": {name: one.to_json() for name, one in after.items()},
            "climbs": {name: way.to_json() for name, way in ways.items()}, "model": MODEL,
            "every_task_no_worse": every_task_no_worse(after, asked.settings)}  # fmt: skip


def _tried(
    maker: Maker, asked: Asked, wanted: Mapping[str, Any], single: Mapping[str, Sequence[Outcome]]
) -> dict[str, Any]:
    """The shared run with the proposed change, against the same twins."""
    changes = tuple(f"{key}={value}" for key, value in wanted["changes"].items())
    jobs = [Job(seed, (), changes) for seed in asked.seeds]
    shop, outcomes = maker.shop, maker.outcomes(jobs)
    runs = [outcomes[job] for job in jobs]
    found = judged(dict.fromkeys(single, runs), single, asked.settings)
    tasks = {
        name: {"scores": [shop.dataset[name].task.headline(run.scores[name]) for run in runs], **judgement.to_json()}
        for name, judgement in found.items()
    }
    return {"name": wanted["name"], "changes": wanted["changes"], "tasks": tasks}


def _against(
    tasks: Sequence[str], runs: Sequence[Outcome], single: Mapping[str, Sequence[Outcome]], settings: Settings
) -> dict[str, Any]:
    """Some of the tasks together, against each of them alone."""
    found = judged(dict.fromkeys(tasks, runs), {name: single[name] for name in tasks}, settings)
    return {name: judgement.to_json() for name, judgement in found.items()}


def _versions() -> dict[str, str]:
    from manyheads.bundle.manifest import versions

    return versions()


def _write(folder: Path, result: Mapping[str, Any]) -> None:
    from manyheads.report.comparison import comparison_page

    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / RESULT, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    replace_file(folder / REPORT, comparison_page(result))
