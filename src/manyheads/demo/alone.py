"""The heads of the demonstration, each trained alone: the same run file with one task, and as many passes over its data.

As for the single-task models of `manyheads compare`, the recipe settles the rest for the one task. Unlike there, the default
learning rate is the only one tried, and nothing but the scores is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manyheads.config.files import RunFile
    from manyheads.evaluate import Scores
    from manyheads.training.plan import Plan, Trained
    from manyheads.training.progress import Progress


def settings_alone(file: RunFile, shared: Plan) -> dict[str, dict[str, Any]]:
    """Keys of `training` for each task alone, so that it sees its data as often as in the shared run."""
    from manyheads.compare.single_models import training_lengths

    return {name: dict(length) for name, length in training_lengths(shared, file.run.training).items()}


def train_alone(
    file: RunFile, settings: Mapping[str, Mapping[str, Any]], progress: Progress
) -> Iterator[tuple[str, Scores]]:
    """The scores of each task, as soon as it is trained."""
    from manyheads.config.build import build_plan
    from manyheads.jobs.single_task import single_task_run
    from manyheads.training.progress import WarningsOnly
    from manyheads.training.run import run_plan

    for number, (name, changes) in enumerate(settings.items(), start=1):
        progress.say(f"training {name} alone ({number} of {len(settings)})")
        with TemporaryDirectory(prefix="manyheads-demo-") as folder:
            plan = build_plan(single_task_run(file, name, changes), Path(folder) / name)
            yield name, run_plan(plan, WarningsOnly(progress), _scores) or {}


def _scores(plan: Plan, done: Trained) -> Scores:
    from manyheads.evaluate import answers_for
    from manyheads.training.model_folder import scores_by_task

    tested = {
        name: done.tasks[name].score(*answers_for(done.predictor, done.tasks[name], table))
        for name, table in plan.test.items()
    }
    return scores_by_task(done.tasks, {"validation": done.validation, "test": tested}, plan.selection)
