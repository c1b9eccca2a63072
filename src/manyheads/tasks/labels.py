"""Labels of a task that continues: what becomes of the outputs of its head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manyheads.tasks.base import Task


def renamed_outputs(old: Task[Any], new: Task[Any], became: Mapping[str, str | None]) -> list[str | None]:
    """The new name of each output of a head, in their order; None for outputs of dropped labels.

    `became`: the new names of labels, where they differ, and None for dropped ones. Outputs of no label keep their name.
    """
    names: dict[str, str | None] = {name: name for name in old.output_names}
    for label, after in became.items():
        outputs = old.outputs_of_label(label)
        following = (None,) * len(outputs) if after is None else new.outputs_of_label(after)
        names |= {before: after for before, after in zip(outputs, following, strict=True) if before in names}
    return [names[name] for name in old.output_names]
