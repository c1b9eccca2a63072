"""The run file of tasks that train the encoder alone before all tasks train it together (`training.first_tasks`).

Intermediate-task training (Phang et al. 2018) in one run: the other tasks start from the encoder that the first ones leave,
and the anchor keeps their texts close to it.
"""

from __future__ import annotations

from manyheads.config.files import RunFile
from manyheads.config.schema import Training
from manyheads.config.strategies import Freeze
from manyheads.text.values import did_you_mean

KEPT = ("precision", "gradient_checkpointing", "compile", "max_tokens_per_pack", "seed", "save_every", "keep_checkpoints",
        "guard", "workers", "device", "weight_decay", "clip")  # fmt: skip
"""Keys of `training` that do not concern what is trained, or for how long."""

SECTION_DEFAULTS = {"weight": 1.0, "start_step": 0, "stop_step": None, "tokens_per_step": None}
"""Keys of a task's section that relate it to the others."""


def errors_of_first_tasks(file: RunFile) -> list[str]:
    """An error for each reason why `training.first_tasks` cannot be used."""
    run, where = file.run, "training.first_tasks"
    names, tasks = run.training.first_tasks, run.tasks
    if not names:
        return []
    errors = [f"{where}: there is no task '{name}'{did_you_mean(name, tasks)} (tasks: {', '.join(tasks)})"
              for name in names if name not in tasks]  # fmt: skip
    errors += [f"{where}: '{name}' has no training data; remove it" for name in names
               if name in tasks and tasks[name].data.train is None]  # fmt: skip
    if set(names) >= set(tasks):
        errors.append(f"{where}: no other task is left to train after them; remove the key")
    if not trains_one_encoder(file):
        errors.append(f"{where}: needs a run that trains one encoder for all tasks as a whole, from its own weights; "
                      "remove it, or init_from, lora, sharing.shared_layers, freeze, phases")  # fmt: skip
    return errors


def trains_one_encoder(file: RunFile) -> bool:
    """Whether all tasks train all layers of one encoder, in a single phase that starts from the encoder's own weights."""
    run, training = file.run, file.run.training
    own = run.lora is None and run.sharing.shared_layers is None and training.init_from is None
    return own and training.phases is None and training.freeze == Freeze() and not training.shard_layers


def first_run(file: RunFile, epochs: float) -> RunFile:
    """The run file with the first tasks only, trained by the recipe for so many epochs."""
    run = file.run
    names = run.training.first_tasks
    given = {key: getattr(run.training, key) for key in KEPT if key in run.training.model_fields_set}
    training = Training(**given, epochs=epochs, refit=False, report_to=())
    tasks = {name: section.model_copy(update=SECTION_DEFAULTS) for name, section in run.tasks.items() if name in names}
    return RunFile(run.model_copy(update={"tasks": tasks, "training": training}), file.path)
