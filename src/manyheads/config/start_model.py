"""The trained model that a run starts from (`training.init_from`): its encoder, heads, tokenizer, labels and sharing.

Decided here:
- A task of the same name and type continues: labels of the model come first, new labels of the data after them, and the rows
  of its head that belong to old labels keep their weights. A task without training data is kept as it is. Other tasks of the
  run begin anew; other tasks of the model are dropped.
- What the run file does not set is the model's: window length, layer mix, private layers of tasks that continue.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.bundle import ENCODER, Bundle, load_bundle, manifest_hash, plain_name, read_manifest
from manyheads.config.files import RunFile
from manyheads.config.head_outputs import Outputs
from manyheads.config.labels import check_none_vanish
from manyheads.errors import ConfigError, DataError, UsageError

if TYPE_CHECKING:
    from manyheads.model import MultiTaskModel
    from manyheads.nn.encoder import Encoder
    from manyheads.nn.sharing import Branch
    from manyheads.tasks.base import Task
    from manyheads.tasks.statistics import DataStatistics


@dataclass(frozen=True, slots=True)
class StartModel:
    """A model to start from."""

    bundle: Bundle

    @property
    def encoder(self) -> Path:
        """The folder of its encoder and tokenizer. The encoder's weights are those of the loaded model."""
        return self.bundle.folder / ENCODER

    def task(self, name: str, kind: str) -> Task[Any] | None:
        """The model's task that continues under a name; None if it has none of this type."""
        found = self.bundle.tasks.get(name)
        return found if found is not None and found.kind == kind else None

    def lines(self, tasks: Mapping[str, Task[Any]], kept: Collection[str] = ()) -> list[str]:
        """What becomes of the model's tasks, and which are new. `kept`: tasks without training data."""
        here = {name: self.task(name, task.kind) for name, task in tasks.items()}
        groups = {
            "continued": [name + _growth(old, tasks[name]) for name, old in here.items()
                          if old is not None and name not in kept],
            "kept": list(kept),
            "new": [name for name, old in here.items() if old is None],
            "dropped": [name for name in self.bundle.tasks if here.get(name) is None],
        }
        told = "; ".join(f"{what}: {', '.join(names)}" for what, names in groups.items() if names)
        return [f"starts from {self.bundle.folder} ({told})"]


def _growth(old: Task[Any], task: Task[Any]) -> str:
    new = len(task.output_names) - len(old.output_names)
    return f" (+{new} outputs)" if new > 0 and old.output_names else ""


def start_model(file: RunFile) -> StartModel | None:
    """The model that a run file names, loaded once; None if it names none. Raises BundleError."""
    given = file.run.training.init_from
    if given is None:
        return None
    folder = _folder(file, given)
    return StartModel(_loaded(str(folder), manifest_hash(read_manifest(folder))))


def _folder(file: RunFile, given: str) -> Path:
    """A folder relative to the run file, or the local copy of a Hub repository."""
    from manyheads.hub.download import model_folder

    local = file.resolve(given)
    return local if local.exists() else model_folder(given)


@lru_cache(maxsize=2)
def _loaded(folder: str, digest: str) -> Bundle:
    return load_bundle(Path(folder))


def with_start_model(file: RunFile) -> RunFile:
    """The run file with what it takes over from the model it starts from. Raises ConfigError for an encoder beside it."""
    start = start_model(file)
    if start is None:
        return file
    run, bundle = file.run, start.bundle
    name = bundle.manifest["encoder"]["name"]
    if run.encoder.model_fields_set & {"name", "revision"} and run.encoder.name != name:
        raise ConfigError(f"{file.path}: training.init_from brings an encoder along; leave encoder.name out")
    update: dict[str, Any] = {"name": name}
    if "max_length" not in run.encoder.model_fields_set:
        update["max_length"] = bundle.max_length
    sharing = run.sharing
    if not sharing.model_fields_set and bundle.model.mixes:
        sharing = sharing.model_copy(update={"layer_mix": True})
    encoder = run.encoder.model_copy(update=update)
    return replace(file, run=run.model_copy(update={"encoder": encoder, "sharing": sharing}))


def fit_task(
    task: Task[Any], statistics: DataStatistics, old: Task[Any] | None, renames: Mapping[str, str | None]
) -> Task[Any]:
    """The task fitted to its data, and to the model's task if it continues `old`.

    `renames`: what becomes of its labels. Raises DataError for labels that vanish.
    """
    if old is None:
        return task.fit(statistics)
    if old.chosen_by != task.chosen_by:
        settings = ", ".join(dict.fromkeys((*task.chosen_by, *old.chosen_by)))
        raise DataError(f"task '{task.name}' has another {settings} than in the model that it starts from; give it another "
                        "name to begin anew")  # fmt: skip
    fitted = task.fit_from(old.relabelled(renames) if renames else old, statistics)
    check_none_vanish(old, fitted, renames)
    return fitted


def private_branches(start: StartModel, encoder: Encoder, tasks: Mapping[str, Task[Any]]) -> list[Branch]:
    """The private layers of tasks that continue, on a copy of the model's encoder."""
    from manyheads.nn.sharing import Branch, branch_with, own_parameters

    made = []
    for branch in start.bundle.model.branches:
        members = tuple(name for name in branch.tasks if name in tasks and start.task(name, tasks[name].kind))
        if members:
            own = own_parameters(branch.encoder, start.bundle.model.encoder)
            name = branch.name if plain_name(branch.name) and len(members) > 1 else members[0]
            made.append(Branch(name, members, branch.start, branch_with(encoder, own)))
    return made


def load_head_weights(
    start: StartModel, model: MultiTaskModel, tasks: Mapping[str, Task[Any]], renames: Mapping[str, Mapping[str, str | None]]
) -> tuple[str, ...]:
    """Give heads of tasks that continue their weights; returns the names of these tasks.

    Outputs are matched by name after `renames` (by task), so new labels keep their initial weights. Raises UsageError for a
    head of another shape.
    """
    import torch

    source, continued = start.bundle.model, []
    for name, task in tasks.items():
        old = start.task(name, task.kind)
        if old is None:
            continue
        outputs = Outputs.of(old, task, renames.get(name, {}))
        with torch.no_grad():
            for key, value in model.heads[name].state_dict().items():
                before = source.heads[name].state_dict().get(key)
                if before is None or not outputs.fill(value, before, bias=key.endswith("bias")):
                    seen = "nothing" if before is None else str(tuple(before.shape))
                    raise UsageError(f"task '{name}' cannot continue from {start.bundle.folder}: its {key} has the shape "
                                     f"{tuple(value.shape)}, in the model {seen}; use the settings of the model's run.yaml, "
                                     "or give the task another name to begin anew")  # fmt: skip
            if name in model.mixes and name in source.mixes:
                model.mixes[name].load_state_dict(source.mixes[name].state_dict())
        continued.append(name)
    return tuple(continued)
