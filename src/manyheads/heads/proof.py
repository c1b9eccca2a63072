"""Proof that heads were not changed: weights and outputs of the old and the new model are compared bit for bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manyheads.errors import TrainingError
from manyheads.export.parity import own_tables, packs, texts
from manyheads.predict import TorchBackend
from manyheads.tasks import describe

if TYPE_CHECKING:
    from manyheads.bundle import Bundle
    from manyheads.tasks.base import Array, Task
    from manyheads.text.pack import Source

    Outputs = Mapping[str, Mapping[str, Array]]

TEXTS = 64
"""Validation texts of each task, beside the built-in ones."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Tasks that answer as before."""

    model: str
    """Hash of the old model."""
    tasks: Mapping[str, str]
    """Their names in the old and in the new model."""
    texts: int

    def to_json(self) -> dict[str, Any]:
        """For the manifest."""
        return {"model": self.model, "tasks": dict(self.tasks), "texts": self.texts}

    def line(self) -> str:
        """For people."""
        names = ", ".join(new if old == new else f"{new} (was {old})" for old, new in self.tasks.items())
        return f"unchanged, bit for bit, on {self.texts:,} texts: {names}"


def probe_texts(bundle: Bundle, count: int = TEXTS) -> list[Source]:
    """Texts to compare on: built-in ones, and validation texts of the model if its data can be read."""
    return texts(bundle, own_tables(bundle), count)


def prove(old: Bundle, new: Bundle, names: Mapping[str, str], sources: Sequence[Source]) -> Proof:
    """Compare tasks of two models; `names`: their names in the old and in the new one.

    Raises TrainingError for a setting, a weight or an output that differs in any bit.
    """
    for before, after in names.items():
        if (what := _difference_of_parts(old, new, before, names)) is not None:
            _refuse(after, what)
    backends = [TorchBackend(bundle.model, next(bundle.model.parameters()).device) for bundle in (old, new)]
    windows = [window for encoded in old.tokenizer.encode(sources, old.max_length) for window in encoded]
    for one, two in ((list(names), list(names.values())), (list(old.tasks), list(new.tasks))):  # alone, and among all others
        for pack in packs(windows):
            _compare(names, backends[0].run(pack, one), backends[1].run(pack, two))
    return Proof(old.hash, dict(names), len(sources))


def _difference_of_parts(old: Bundle, new: Bundle, before: str, names: Mapping[str, str]) -> str | None:
    """What differs of a task besides its outputs; None if nothing does."""
    import torch

    after = names[before]

    def weights(bundle: Bundle, name: str) -> dict[str, torch.Tensor]:
        branch = bundle.model.branch_of(name)
        encoder = bundle.model.encoder if branch is None else branch.encoder
        mix = bundle.model.mixes[name].state_dict() if name in bundle.model.mixes else {}
        found = {f"encoder.{key}": value for key, value in encoder.named_parameters()}
        found |= {f"head.{key}": value for key, value in bundle.model.heads[name].state_dict().items()}
        return found | {f"mix.{key}": value for key, value in mix.items()}

    if describe(old.tasks[before].renamed(names)) != describe(new.tasks[after]):
        return "its settings"
    if (differs := _difference_of_stores(old.tasks[before], new.tasks[after])) is not None:
        return differs
    ours, theirs = weights(old, before), weights(new, after)
    if ours.keys() != theirs.keys():
        return "its parts"
    return next((f"the weight {key}" for key, value in ours.items() if not torch.equal(value, theirs[key])), None)


def _difference_of_stores(old: Task[Any], new: Task[Any]) -> str | None:
    """An array that differs between the stores of a task; None if none does."""
    ours, theirs = ({} if one.store is None else one.store.arrays() for one in (old, new))
    keys = sorted({*ours, *theirs})
    return next((f"the array {k}" for k in keys if k not in ours or k not in theirs
                 or ours[k].dtype != theirs[k].dtype or ours[k].tobytes() != theirs[k].tobytes()), None)  # fmt: skip


def _compare(names: Mapping[str, str], old: Outputs, new: Outputs) -> None:
    """Compare the outputs of one pack."""
    for before, after in names.items():
        for key, value in old[before].items():
            if value.tobytes() != new[after][key].tobytes():
                _refuse(after, f"its output {key}")


def _refuse(name: str, what: str) -> None:
    raise TrainingError(f"task '{name}' does not stay as it was: {what} differs; nothing was written. This is a fault of "
                        "manyheads; please report it")  # fmt: skip
