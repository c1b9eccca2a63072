"""`manyheads compare`: is each task better or worse off in the shared model, how sure is that, and what should be done?

Decided here: `compare.json` and the report depend on the kept runs alone, not on today's date or durations, so a comparison
that was killed ends in the same bytes. Measured times (`cost.json`) are kept as runs are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from manyheads.compare.advice import advise, most_wanted
from manyheads.compare.private_layers import is_wholly_shared, search, steps_of
from manyheads.compare.result import (
    findings,
    judge_outcomes,
    mean_curve,
    mean_diagnostics,
    task_entry,
    with_tokens,
)  # fmt: skip
from manyheads.compare.runner import Runner
from manyheads.compare.runs import compared_split
from manyheads.compare.single_models import train_single_models
from manyheads.compare.start_model import against_start
from manyheads.compare.statistics import Settings
from manyheads.compare.verdict import every_task_no_worse
from manyheads.config.files import as_given, load_run
from manyheads.config.start_model import start_model
from manyheads.config.task_data import rows_of
from manyheads.durable import replace_file
from manyheads.errors import UsageError
from manyheads.jobs.experiment import RUNS, Experiment, check_holds_only, data_hashes, open_experiment
from manyheads.jobs.job import Job
from manyheads.jobs.workers import WorkerSpec
from manyheads.report.provenance import flatten

if TYPE_CHECKING:
    from manyheads.compare.outcome import Outcome
    from manyheads.compare.single_models import SingleModel
    from manyheads.compare.verdict import Judgement
    from manyheads.config.files import RunFile
    from manyheads.training.progress import Progress
    from manyheads.training.stop import Stop

RESULT = "compare.json"
REPORT = "report.html"
MODEL = "remedy"
"""The model folder with private layers."""
COST = "cost.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """The options of the command."""

    run: Path
    output: Path
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    overrides: tuple[str, ...] = ()
    settings: Settings = field(default_factory=Settings)
    subsets: tuple[str, ...] = ()
    """`pairs`, `leave-one-out`: also runs of two tasks, or of all but one."""
    try_remedy: bool = False
    workers: WorkerSpec = field(default_factory=WorkerSpec)
    singles: Literal["best", "twin", "both"] = "best"
    """What the shared model is compared with: the best single-task models, or paired runs (`twin`). With `both` the verdict
    is on the former, and paired runs are listed too."""


@dataclass(frozen=True, slots=True)
class _Runs:
    """The finished runs of a comparison; each sequence has one for each seed."""

    shared: Sequence[Outcome]
    paired: Mapping[str, Sequence[Outcome]]
    best: Mapping[str, SingleModel]
    subsets: Mapping[tuple[str, ...], Sequence[Outcome]]

    @property
    def single(self) -> Mapping[str, Sequence[Outcome]]:
        """What the shared runs are judged against."""
        return {name: model.runs for name, model in self.best.items()} or self.paired


def compare(options: CompareOptions, progress: Progress, stop: Stop) -> dict[str, Any]:
    """Train what is missing, compare, write `compare.json` and `report.html`, and return the content of the former.

    Raises UsageError for a run that cannot be compared, and for a folder with other files; StoppedError when asked to stop:
    finished runs are kept.
    """
    experiment, settings = open_comparison(options), options.settings
    runner = Runner(experiment, options.workers, progress, stop)
    file = experiment.run_file(Job(options.seeds[0]))
    ladder = options.try_remedy and options.singles != "twin" and is_wholly_shared(file)
    runs = _train(runner, options, keep_shared=ladder)
    names = list(experiment.dataset)
    found = judge_outcomes(dict.fromkeys(names, runs.shared), runs.single, settings)
    result = _result(experiment, options, file, runs, found)
    paired = judge_outcomes(dict.fromkeys(names, runs.shared), runs.paired, settings) if runs.best and runs.paired else {}
    depth = int(_encoder_config(file).num_hidden_layers)
    advice = advise(findings(experiment, file, found, runs.shared, runs.single), result["diagnostics"], depth)
    for name, task in result["tasks"].items():
        if name in runs.best:
            task["own"] = runs.best[name].to_json()
        if name in paired:
            task["twin"] = {**paired[name].to_json(), "curve": mean_curve(runs.paired[name], name)}
        task["advice"] = advice[name]
    if options.subsets:
        result["subsets"] = {
            ", ".join(tasks): _judgements(dict.fromkeys(tasks, subset), runs.single, settings)
            for tasks, subset in runs.subsets.items()
        }
    start = start_model(file)
    if start is not None:
        result["start"] = against_start(start, experiment.dataset, runs.shared, settings)
    wanted = most_wanted(advice)
    if ladder:
        result["remedy"] = _add_private_layers(runner, options, found, runs)
    elif options.try_remedy and wanted is not None:
        result["remedy"] = _try_changes(runner, options, wanted, runs.single)
    _write(options.output, result)
    return result


def open_comparison(options: CompareOptions) -> Experiment:
    """Read and check the run file and all its data. Raises UsageError, also for an output folder with other files."""
    _check(load_run(options.run, options.overrides), options)
    check_holds_only(options.output, (RESULT, REPORT, MODEL, COST, RUNS), result=RESULT, what="comparison")
    experiment = open_experiment(options.run, options.overrides, options.output)
    for name, data in experiment.dataset.items():
        compared_split(experiment.dataset, name)
        if not data.trains:
            raise UsageError(f"task '{name}' trains on nothing, so there is nothing to compare; leave it out, or set "
                             "training.prevent_forgetting to true")  # fmt: skip
    return experiment


def _check(file: RunFile, options: CompareOptions) -> None:
    """Raise UsageError if there is nothing to compare, or paired runs could not match the shared run."""
    if len(file.run.tasks) < 2:
        raise UsageError(f"{options.run} has one task; there is nothing to share, and nothing to compare")
    if not options.seeds or len(set(options.seeds)) < len(options.seeds):
        raise UsageError(f"seeds are {', '.join(map(str, options.seeds)) or 'none'}; give different ones, at least 6")
    if options.singles == "best":
        return
    patient = [name for name, section in file.run.tasks.items() if section.patience]
    if patient:
        raise UsageError(f"tasks.{patient[0]}.patience stops training a task by its score and gives its tokens to others: "
                         "paired runs would not see the same examples; leave it out, or give --singles best")  # fmt: skip
    if file.run.training.sampling.method == "difficulty":
        raise UsageError("training.sampling.method difficulty follows the scores: paired runs would not see the same "
                         "examples; choose another method, or give --singles best")  # fmt: skip


def _train(runner: Runner, options: CompareOptions, *, keep_shared: bool) -> _Runs:
    names, seeds = list(runner.experiment.dataset), options.seeds
    alone = [(name,) for name in names] if options.singles != "best" else []
    subsets = _subsets(names, options.subsets)
    jobs = [Job(seed, tasks, keep=keep_shared and not tasks) for seed in seeds for tasks in ((), *alone)]
    outcomes = runner.outcomes([*jobs, *(Job(seed, tasks) for tasks in subsets for seed in seeds)])
    by_tasks = {tasks: [outcomes[Job(seed, tasks)] for seed in seeds] for tasks in ((), *alone, *subsets)}
    best = train_single_models(runner, seeds) if options.singles != "twin" else {}
    return _Runs(by_tasks[()], {name: by_tasks[name,] for (name,) in alone}, best,
                 {tasks: by_tasks[tasks] for tasks in subsets})  # fmt: skip


def _subsets(names: Sequence[str], kinds: Sequence[str]) -> list[tuple[str, ...]]:
    found = list[tuple[str, ...]]()
    if "pairs" in kinds:
        found += combinations(names, 2)
    if "leave-one-out" in kinds:
        found += [tuple(other for other in names if other != name) for name in names]
    return [tasks for tasks in dict.fromkeys(found) if 1 < len(tasks) < len(names)]


def _result(
    experiment: Experiment, options: CompareOptions, file: RunFile, runs: _Runs, found: Mapping[str, Judgement]
) -> dict[str, Any]:
    """The content of compare.json, before advice and remedies."""
    from manyheads.bundle.manifest import versions
    from manyheads.config.workload import window_lengths

    settings = options.settings
    return {
        "format": FORMAT, "run": options.run.name, "seeds": list(options.seeds), "level": settings.level,
        "margin": settings.margin, "replicates": settings.replicates, "complete": True,
        "single": "best" if runs.best else "twin",
        "every_task_no_worse": every_task_no_worse(found, settings),
        "tasks": {name: task_entry(experiment, name, found[name], runs.shared, runs.single[name]) for name in found},
        "diagnostics": mean_diagnostics([outcome.diagnostics for outcome in runs.shared]),
        "cost": with_tokens(_cost(experiment, options.seeds[0]), runs.shared, runs.single),
        "remedy": None,
        "data": rows_of(experiment.dataset, window_lengths(experiment.tokenizer, file.run.encoder.max_length)),
        "settings": flatten(as_given(file.run)),
        "versions": versions(),
        "hashes": {**data_hashes(experiment.dataset), "encoder": experiment.encoder_hash},
    }  # fmt: skip


def _encoder_config(file: RunFile) -> Any:
    from transformers import AutoConfig

    from manyheads.config.model import encoder_location

    return AutoConfig.from_pretrained(encoder_location(file).path_or_id)


def _cost(experiment: Experiment, seed: int) -> dict[str, Any]:
    """The cost of the models, measured once for each comparison."""
    from manyheads.compare.cost import costs

    path, key = experiment.folder / COST, experiment.key(Job(seed))
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if kept.get("run") == key:
            return dict(kept["cost"])
    found = costs(experiment, seed)
    experiment.folder.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps({"run": key, "cost": found}, indent=1) + "\n")
    return found


def _add_private_layers(
    runner: Runner, options: CompareOptions, found: Mapping[str, Judgement], runs: _Runs
) -> dict[str, Any] | None:
    """Private layers for each task that falls behind; the first seed's model with them is written."""
    from manyheads.compare.model_folders import save_with_private_layers

    seeds, margin = options.seeds, options.settings.margin
    steps = steps_of(_encoder_config(runner.experiment.run_file(Job(seeds[0]))))
    behind = [name for name, one in found.items() if not one.no_worse and one.difference.mean < -margin]
    tried = {name: search(runner, name, runs.best[name], seeds, margin=margin, steps=steps) for name in behind}
    searches = {name: one for name, one in tried.items() if one is not None}
    if not searches:
        return None
    remedied = {name: searches[name].runs if name in searches else runs.shared for name in runs.best}
    after = judge_outcomes(remedied, runs.single, options.settings)
    private = {name: (one.model, one.chosen.split.private) for name, one in searches.items()}
    save_with_private_layers(runner.experiment.folder_of(Job(seeds[0])), private, options.output / MODEL)
    return {"name": "the ladder", "changes": {}, "tasks": {name: one.to_json() for name, one in after.items()},
            "climbs": {name: one.to_json() for name, one in searches.items()}, "model": MODEL,
            "every_task_no_worse": every_task_no_worse(after, options.settings)}  # fmt: skip


def _try_changes(
    runner: Runner, options: CompareOptions, wanted: Mapping[str, Any], single: Mapping[str, Sequence[Outcome]]
) -> dict[str, Any]:
    """The shared run with the advised changes, against the same single runs."""
    changes = tuple(f"{key}={value}" for key, value in wanted["changes"].items())
    runs = list(runner.outcomes([Job(seed, (), changes) for seed in options.seeds]).values())
    tasks = _judgements(dict.fromkeys(single, runs), single, options.settings)
    for name, entry in tasks.items():
        task = runner.experiment.dataset[name].task
        tasks[name] = {"scores": [task.main_score(run.scores[name]) for run in runs], **entry}
    return {"name": wanted["name"], "changes": wanted["changes"], "tasks": tasks}


def _judgements(
    runs: Mapping[str, Sequence[Outcome]], single: Mapping[str, Sequence[Outcome]], settings: Settings
) -> dict[str, Any]:
    found = judge_outcomes(runs, {name: single[name] for name in runs}, settings)
    return {name: judgement.to_json() for name, judgement in found.items()}


def _write(folder: Path, result: Mapping[str, Any]) -> None:
    from manyheads.report.comparison import comparison_page

    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / RESULT, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    replace_file(folder / REPORT, comparison_page(result))
