"""One training of a comparison or tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from manyheads.jobs.single_task import TrainingSettings


@dataclass(frozen=True, slots=True)
class LayerSplit:
    """An encoder whose lower layers are shared and whose top layers one task owns."""

    private: int
    """0: none, only the head; `depth`: all, embeddings included."""
    depth: int

    def training_settings(self) -> dict[str, Any]:
        """Keys of `training`: the head is solved first, and the shared layers are frozen."""
        freeze = {"layers": self.depth - self.private} if self.private else {"encoder": True}
        return {"fit_heads": True, "phases": None, "freeze": freeze}


@dataclass(frozen=True, slots=True)
class Job:
    """One training.

    >>> Job(0).name
    'all tasks, seed 0'
    >>> Job(3, ("entities",), changes=("training.epochs=2",)).name
    'entities with training.epochs=2, seed 3'
    """

    seed: int
    tasks: tuple[str, ...] = ()
    """Empty: all of them."""
    changes: tuple[str, ...] = ()
    """`KEY=VALUE` changes of the run file."""
    single: TrainingSettings | None = None
    """If set, its one task is trained as if the run file held no other, with these settings of `training`."""
    layer_split: LayerSplit | None = None
    """If set, it starts from the encoder and the head of the shared run with the same seed. Needs `single`."""
    keep: bool = field(default=False, compare=False)
    """Whether to keep the model folder."""

    @property
    def name(self) -> str:
        """Shown in progress lines."""
        what = ", ".join(self.tasks) or "all tasks"
        if (split := self.layer_split) is not None:
            return f"{what} with {split.private} of {split.depth} layers private, seed {self.seed}"
        if self.single is not None:
            rate = dict(self.single).get("learning_rate")
            what += " alone at the default rate" if rate is None else f" alone at a rate of {rate:g}"
        return f"{what}{' with ' + ', '.join(self.changes) if self.changes else ''}, seed {self.seed}"

    @property
    def shared(self) -> Job:
        """The run of all tasks with the same seed."""
        return Job(self.seed)

    def to_json(self) -> dict[str, Any]:
        """The arguments of `from_json`.

        >>> Job.from_json(Job(1, ("entities",), single=(("epochs", 2.0),)).to_json()).single
        (('epochs', 2.0),)
        """
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Job:
        """The job that `to_json` describes."""
        single = None if values["single"] is None else tuple((str(key), value) for key, value in values["single"])
        split = None if values["layer_split"] is None else LayerSplit(**values["layer_split"])
        return Job(values["seed"], tuple(values["tasks"]), tuple(values["changes"]), single, split, values["keep"])
