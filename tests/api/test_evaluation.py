"""`Model.evaluate`: scores on run files and on rows from Python are those of the command."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest

import manyheads as mh
from manyheads.cli import main
from manyheads.errors import ConfigError, UsageError


@pytest.fixture(scope="module")
def model(young_model: Path) -> mh.Model:
    return mh.load(young_model)


@pytest.fixture(scope="module")
def rows(young_model: Path) -> list[dict[str, Any]]:
    """The rows of `sections.csv`."""
    path = next(parent for parent in young_model.parents if (parent / "data").is_dir()) / "data/sections.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_scores_are_those_of_the_command(model: mh.Model, tmp_path: Path) -> None:
    for split in ("test", "validation"):
        assert main(["evaluate", str(model.folder), "--split", split, "--json", str(tmp_path / "scores.json")]) == 0
        assert model.evaluate(split=split) == json.loads((tmp_path / "scores.json").read_text())
    scores = model.evaluate(model.folder / "run.yaml", tasks="section")
    assert set(scores) == {"section", "_all"}
    assert scores["section"]["test"] == model.evaluate(str(model.folder / "run.yaml"))["section"]["test"]


GIVEN: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "dictionaries": lambda rows: rows,
    "by split": lambda rows: {"test": rows},
    "pandas": pd.DataFrame,
    "datasets": datasets.Dataset.from_list,
    "DatasetDict": lambda rows: datasets.DatasetDict(test=datasets.Dataset.from_list(rows)),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_rows_from_python_are_scored_as_the_file_with_them(kind: str, model: mh.Model, rows: list[dict[str, Any]]) -> None:
    expected = model.evaluate(tasks="section")
    assert model.evaluate({"section": GIVEN[kind](rows)})["section"] == expected["section"]


def test_a_path_stands_for_its_rows(model: mh.Model, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    scores = model.evaluate({"section": str(tmp_path / "rows.csv")}, split="validation")
    assert scores["section"]["validation"] == model.evaluate(tasks="section")["section"]["test"]


def test_what_cannot_be_scored_is_refused(
    model: mh.Model, rows: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UsageError, match="has no task 'sections'; its tasks are entities"):
        model.evaluate({"sections": rows})
    with pytest.raises(UsageError, match="the given data has no test data for section"):
        model.evaluate({"section": {"train": rows}})
    assert "section: the given data has no test data, so not scored" in caplog.text
    with pytest.raises(UsageError, match="split is 'dev', but must be one of train, validation, test"):
        model.evaluate(split="dev")
    with pytest.raises(UsageError, match=r"data must be the path of a run file, or a dictionary .* seen list"):
        model.evaluate(rows)
    with pytest.raises(ConfigError, match="there is no such run file"):
        model.evaluate("missing.yaml")
