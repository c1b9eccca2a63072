"""The report of a run, in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from manyheads.durable import replace_file
from manyheads.report.facts import Answered, Counts, training_facts
from manyheads.report.training import training_page

if TYPE_CHECKING:
    from manyheads.evaluate import Examples
    from manyheads.predict import Predictor

REPORT = "report.html"


def write_training_report(
    folder: Path,
    predictor: Predictor,
    tables: Mapping[str, Examples],
    *,
    data: Counts | None = None,
    answered: Answered | None = None,
) -> Path:
    """Write `report.html` into the folder of a finished run, whole or not at all, and return its path.

    `tables`: validation examples by task, of which at most 2,000 each are answered by the predictor (the folder's own
    model); tasks in `answered` are not asked again. `data`: rows of each task and split. Raises BundleError, OSError and
    ValueError.
    """
    path = folder / REPORT
    replace_file(path, training_page(training_facts(folder, predictor, tables, data=data, answered=answered)))
    return path
