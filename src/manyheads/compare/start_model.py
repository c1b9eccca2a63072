"""What the tasks of a model lost or won in a run that starts from it (`training.init_from`).

The model answers the compared data itself; its answers get the new names of labels. Intervals and verdicts are those of any
comparison. A task is not compared where some answer has no meaning in the run: another number, or a label that was dropped
from a task whose texts or words have exactly one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from manyheads.compare.runs import compared_split
from manyheads.compare.statistics import compare_scores
from manyheads.compare.verdict import WORDS, Judgement, judge
from manyheads.evaluate import answers_for
from manyheads.predict import Predictor, TorchBackend
from manyheads.tasks.labels import renamed_answer

if TYPE_CHECKING:
    from manyheads.compare.outcome import Outcome
    from manyheads.compare.statistics import Settings
    from manyheads.config.start_model import StartModel
    from manyheads.config.task_data import Dataset, TaskData
    from manyheads.metrics.evidence import Ranks, Tally
    from manyheads.tasks.base import Task


def against_start(start: StartModel, dataset: Dataset, runs: Sequence[Outcome], settings: Settings) -> dict[str, Any]:
    """The key `start` of compare.json: `{"model", "tasks": {task: judgement}, "not_compared": {task: reason}}`.

    `shared` in a judgement are the runs, `single` the model.
    """
    found, reasons = start_evidence(start, dataset)
    differences = {name: compare_scores([run.evidence[name] for run in runs], [one] * len(runs), settings)
                   for name, one in found.items()}  # fmt: skip
    judged = judge(differences, settings)
    return {"model": str(start.bundle.folder), "tasks": {name: _entry(one) for name, one in judged.items()},
            "not_compared": reasons}  # fmt: skip


def start_evidence(start: StartModel, dataset: Dataset) -> tuple[dict[str, Tally | Ranks], dict[str, str]]:
    """What the scores of the model on the compared data are computed from, and why other tasks are not compared."""
    found: dict[str, Tally | Ranks] = {}
    reasons: dict[str, str] = {}
    bundle = start.bundle
    backend = TorchBackend(bundle.model, next(bundle.model.parameters()).device)
    predictor = Predictor(backend, bundle.tasks, bundle.tokenizer, max_length=bundle.max_length)
    for name, data in dataset.items():
        old = start.task(name, data.task.kind)
        if old is None:
            continue
        try:
            found[name] = _evidence(predictor, old, data, compared_split(dataset, name))
        except _OtherQuestionError as error:
            reasons[name] = str(error)
    return found, reasons


class _OtherQuestionError(Exception):
    """The model answers another question than the run; the reason, for `not compared, as ...`."""


def _evidence(predictor: Predictor, old: Task[Any], data: TaskData, split: str) -> Tally | Ranks:
    """Of one task on a split, in the labels of the run."""
    new = [name for name in data.task.output_names if name not in old.output_names]
    if new and not old.label_names:
        raise _OtherQuestionError(f"the model does not answer {', '.join(new)}")
    table = data.table(split)
    answers, examples = answers_for(predictor, old, table)
    if data.renames:
        answers = [[_renamed(answer, old, data.renames) for answer in some] for some in answers]
    return data.task.evidence(answers, examples, table.clusters())


def _renamed(answer: Any, old: Task[Any], renames: Mapping[str, str | None]) -> Any:
    found = renamed_answer(answer, old.answer_form, renames)
    if found is None:
        dropped = [label for label, after in renames.items() if after is None]
        why = f"the model answers {' or '.join(dropped)}, which the run dropped, on some of the data"
        raise _OtherQuestionError(why if dropped else f"answers of type {old.kind} cannot be renamed")
    return found


def _entry(judgement: Judgement) -> dict[str, Any]:
    """A judgement without its sentence, which is about sharing."""
    return {key: value for key, value in judgement.to_json().items() if key != "why"}


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
