"""Old rows with the labels that a task has now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from manyheads.data.report import ReadReport, Skipped
from manyheads.data.table import BATCH_ROWS, ExampleT, ExampleTable, record_batch, row_json, table_of_rows, texts_digest
from manyheads.errors import DataError, RowError


def renamed_rows(
    table: ExampleTable[ExampleT], became: Mapping[str, str | None], report: ReadReport
) -> tuple[ExampleTable[ExampleT], ReadReport]:
    """A table in memory of the rows of another, with labels renamed, or removed for None. Raises DataError.

    Rows that have only removed labels are skipped.
    """
    rows, skipped, clusters = [], list[str](), table.clusters()
    for index in range(len(table)):
        try:
            row = table.task.renamed_row(table.row(index), became)
        except RowError as error:
            raise DataError(f"{table.where(index)}: {error}") from None
        if row is None:
            skipped.append(table.where(index))
            continue
        digest = texts_digest(table.task, table.task.read(row))
        rows.append((row_json(row).decode(), table.where(index), clusters[index], 1, digest))
    if not rows:
        raise DataError(f"{table.where(0)}: none of {len(table):,} rows has a label that is left")
    batches = [record_batch(rows[start : start + BATCH_ROWS]) for start in range(0, len(rows), BATCH_ROWS)]
    made = table_of_rows(table.task, batches)
    without = {"only dropped labels": Skipped(len(skipped), skipped[0])} if skipped else {}
    counted = made.survey()
    offered = tuple(dict.fromkeys(new for old in report.offered if (new := became.get(old, old)) is not None))
    return made, replace(report, used=len(made), skipped={**report.skipped, **without}, statistics=counted.statistics,
                         places=counted.places, offered=offered)  # fmt: skip
