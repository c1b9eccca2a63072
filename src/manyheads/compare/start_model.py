"""What the tasks of a model lost or won in a run that starts from it (`training.init_from`).

The model answers the compared data itself, under the new names of its labels; intervals and verdicts are those of any
comparison. Where labels were merged or dropped, the model answers another question than the run, and is not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from manyheads.compare.runs import compared_split
from manyheads.compare.statistics import compare_scores
from manyheads.compare.verdict import WORDS, judge
from manyheads.evaluate import answers_for
from manyheads.predict import Predictor, TorchBackend

if TYPE_CHECKING:
    from manyheads.compare.outcome import Outcome
    from manyheads.compare.statistics import Settings
    from manyheads.config.start_model import StartModel
    from manyheads.config.task_data import Dataset
    from manyheads.metrics.evidence import Ranks, Tally
    from manyheads.tasks.base import Task


def against_start(start: StartModel, dataset: Dataset, runs: Sequence[Outcome], settings: Settings) -> dict[str, Any]:
    """The key `start` of compare.json: `{"model", "tasks": {task: judgement}, "not_compared": {task: reason}}`.

    `shared` in a judgement are the runs, `single` the model.
    """
    tasks: dict[str, Task[Any]] = {}
    reasons: dict[str, str] = {}
    for name, data in dataset.items():
        old = start.task(name, data.task.kind)
        if old is None:
            continue
        after = [data.renames.get(label, label) for label in old.label_names]
        if None in after or len(set(after)) < len(after):
            reasons[name] = "labels were merged or dropped"
            continue
        changes: dict[str, Any] = {"labels": tuple(after)} if data.renames else {}
        tasks[name] = replace(old, **changes)  # one for one, so what was tuned stays
    found = _evidence(start, dataset, tasks)
    differences = {name: compare_scores([run.evidence[name] for run in runs], [one] * len(runs), settings)
                   for name, one in found.items()}  # fmt: skip
    judged = judge(differences, settings)
    return {"model": str(start.bundle.folder), "tasks": {name: one.to_json() for name, one in judged.items()},
            "not_compared": reasons}  # fmt: skip


def _evidence(start: StartModel, dataset: Dataset, tasks: Mapping[str, Task[Any]]) -> dict[str, Tally | Ranks]:
    """What the scores of the model on the compared data are computed from."""
    bundle, found = start.bundle, {}
    backend = TorchBackend(bundle.model, next(bundle.model.parameters()).device)
    predictor = Predictor(backend, tasks, bundle.tokenizer, max_length=bundle.max_length)
    for name, task in tasks.items():
        table = dataset[name].table(compared_split(dataset, name))
        answers, examples = answers_for(predictor, task, table)
        found[name] = task.evidence(answers, examples, table.clusters())
    return found


def lines(result: Mapping[str, Any]) -> list[str]:
    """What each task lost or won, in points, for the terminal."""
    said = []
    for name, task in result["tasks"].items():
        found = task["difference"]
        before, after = (sum(task[key]) / len(task[key]) for key in ("single", "shared"))
        verdict = WORDS.get(task["verdict"], task["verdict"])
        said.append(f"{name}: {100 * before:.1f} before, {100 * after:.1f} now ({100 * found['mean']:+.1f}, "
                    f"{100 * found['low']:+.1f} to {100 * found['high']:+.1f}; {verdict})")  # fmt: skip
    said += [f"{name}: not compared, as {why}" for name, why in result["not_compared"].items()]
    return [f"against {result['model']}, from which the runs start:", *said, ""] if said else []
