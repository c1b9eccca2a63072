"""Why a row was picked: the choice that the model is least sure of, with its two likeliest alternatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from manyheads.metrics.uncertainty import margin

if TYPE_CHECKING:
    from manyheads.predict import Predictor


def reason(predictor: Predictor, tasks: Sequence[str], row: Mapping[str, Any]) -> str:
    """A clause about the least certain choice of all tasks, such as `section: RESULTS 0.41 or METHODS 0.38`."""
    worst, told = -1.0, ""
    for task in tasks:
        inputs = predictor.inputs_of(row, [task])
        choices = predictor.tasks[task].choices
        assert choices is not None
        assert isinstance(inputs, dict)
        for item in predictor.items(task, list(inputs.values())):
            (chance_UK,) = choices.probabilities([item])
            unsure_U = margin(chance_UK)
            if len(unsure_U) and unsure_U.max() > worst:
                unit = int(unsure_U.argmax())
                worst, told = float(unsure_U[unit]), f"{task}: {choices.describe(item, chance_UK[unit], unit)}"
    return told
