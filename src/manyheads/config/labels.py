"""What becomes of the labels of a model when a task continues: kept, renamed, merged or dropped; and which are new.

In a run file, `labels: {old: new}` names labels of the model and their names in the data. Several old labels with one new
name are merged; null drops a label. Labels that are not named stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manyheads.config.task_section import renames_of
from manyheads.data.formats.messages import did_you_mean
from manyheads.errors import DataError

if TYPE_CHECKING:
    from manyheads.config.task_section import TaskSection
    from manyheads.tasks.base import Task
    from manyheads.tasks.statistics import DataStatistics

SHOWN = 12
"""Labels of one kind that a line names."""


@dataclass(frozen=True, slots=True)
class LabelChanges:
    """What became of each label of a task that continues."""

    became: Mapping[str, str | None]
    """The new name of every old label; None for a dropped one."""
    new: Sequence[str]
    counts: Mapping[str, int]
    """Of each label of the task in its training data."""

    @staticmethod
    def of(old: Task[Any], task: Task[Any], renames: Mapping[str, str | None], statistics: DataStatistics) -> LabelChanges:
        """From the model's task, the fitted one, and the labels that the run file renames."""
        became = {label: renames.get(label, label) for label in old.label_names}
        counts = {label: statistics.labels.get(label, 0) for label in task.label_names}
        return LabelChanges(became, [label for label in task.label_names if label not in became.values()], counts)

    @property
    def changed(self) -> bool:
        """Whether any label is new or has another name."""
        return bool(self.new) or any(old != after for old, after in self.became.items())

    def line(self, name: str) -> str:
        """For people: each label with its count in the training data."""
        sources = Counter(self.became.values())
        kept = [old for old, after in self.became.items() if old == after and sources[after] == 1]
        renamed = [f"{old} to {self._counted(after)}" for old, after in self.became.items()
                   if after is not None and old != after and sources[after] == 1]  # fmt: skip
        merged = [f"{', '.join(old for old, after in self.became.items() if after == label)} into {self._counted(label)}"
                  for label, count in sources.items() if label is not None and count > 1]  # fmt: skip
        dropped = [old for old, after in self.became.items() if after is None]
        groups = {"kept": list(map(self._counted, kept)), "renamed": renamed, "merged": merged, "dropped": dropped,
                  "new": list(map(self._counted, self.new))}  # fmt: skip
        return f"labels of {name}: " + "; ".join(f"{what} {_listed(some)}" for what, some in groups.items() if some)

    def to_json(self) -> dict[str, Any]:
        """`{"became": {old: new or null}, "new": [...], "examples": {label: count}}`, for the manifest of the new model."""
        return {"became": dict(self.became), "new": list(self.new), "examples": dict(self.counts)}

    def _counted(self, label: str) -> str:
        return f"{label} ({self.counts.get(label, 0):,})"


def renames_to(section: TaskSection, name: str, old: Task[Any] | None) -> Mapping[str, str | None]:
    """Labels of the model that a task renames. Raises DataError for labels that the model does not have."""
    renames = renames_of(section)
    place = f"tasks.{name}.labels"
    if renames and old is None:
        raise DataError(f"{place} renames labels of a model, but the task does not continue one; list the labels, or start "
                        "from a model that has the task (training.init_from, or `manyheads retrain`)")  # fmt: skip
    known = () if old is None else old.label_names
    for label in renames:
        if label not in known:
            raise DataError(f"{place}: the model has no label {label!r}; {did_you_mean(label, known)}its labels are "
                            f"{_listed(known)}; write them as `OLD: NEW`")  # fmt: skip
    return renames


def check_none_vanish(old: Task[Any], task: Task[Any], renames: Mapping[str, str | None]) -> None:
    """Raise DataError for labels of the model that the fitted task lacks and the run file does not drop."""
    after = {label: renames.get(label, label) for label in old.label_names}
    vanished = [label for label, new in after.items() if new is not None and new not in task.label_names]
    if vanished:
        label, hint = vanished[0], did_you_mean(vanished[0], task.label_names)
        raise DataError(f"tasks.{task.name}.labels: {_listed(vanished)} of the model that it starts from is not among its "
                        f"labels, which are {_listed(task.label_names)}; {hint}add it, rename it with "
                        f"`labels: {{{label}: NEW}}`, or drop it with `labels: {{{label}: null}}`")  # fmt: skip


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
