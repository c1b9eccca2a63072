"""Writes the report of a run into its model folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from manyheads.bundle import REPORT
from manyheads.durable import replace_file
from manyheads.report.summary import Answered, Counts, training_summary
from manyheads.report.training import training_page

if TYPE_CHECKING:
    from manyheads.evaluate import Examples
    from manyheads.predict import Predictor


def write_training_report(
    folder: Path,
    predictor: Predictor,
    tables: Mapping[str, Examples],
    *,
    data: Counts | None = None,
    answered: Answered | None = None,
) -> Path:
    """Write `report.html` atomically into the folder of a finished run and return its path.

    `predictor`: the folder's own model; it answers at most 2,000 of the validation examples in `tables` for each task that
    is not in `answered`. `data`: row counts by task and split. Raises BundleError, OSError and ValueError.
    """
    path = folder / REPORT
    replace_file(path, training_page(training_summary(folder, predictor, tables, data=data, answered=answered)))
    return path
