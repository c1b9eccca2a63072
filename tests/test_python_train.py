"""Training from Python: runs as dictionaries, data as objects, callbacks, progress, and interruptions."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import datasets
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import yaml
from safetensors.numpy import load_file

import manyheads as mh
from manyheads import EvaluationRecord, Run, StepRecord
from manyheads.errors import ConfigError, DataError, StoppedError, UsageError
from toys import SENTENCES

SECTIONS = ["RESULTS", "RESULTS", "METHODS", "METHODS", "RESULTS", "METHODS"]
ROWS = [{"text": text, "label": label} for text, label in zip(SENTENCES, SECTIONS, strict=True)]


def run_with(encoder: Path, data: object, **training: object) -> dict[str, object]:
    return {
        "encoder": {"name": str(encoder), "max_length": 48},
        "tasks": {"section": {"type": "text-classification", "data": data}},
        "training": {"steps": 3, "evaluate_every": 2, "refit": False, **training},
    }


def weights(folder: Path) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in load_file(folder / "heads.safetensors").items()}


@pytest.fixture(scope="module")
def from_file(toy_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained from a csv file of ROWS."""
    folder = tmp_path_factory.mktemp("file")
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(ROWS)
    data = dict.fromkeys(("train", "validation", "test"), "rows.csv")
    (folder / "run.yaml").write_text(yaml.safe_dump(run_with(toy_encoder, data)), encoding="utf-8")
    mh.train(folder / "run.yaml", output=folder / "model")
    return folder / "model"


GIVEN = {
    "dictionaries": lambda: ROWS,
    "generator": lambda: (dict(row) for row in ROWS),
    "pandas": lambda: pd.DataFrame(ROWS),
    "polars": lambda: pl.DataFrame(ROWS),
    "arrow": lambda: pa.Table.from_pylist(ROWS),
    "dataset": lambda: datasets.Dataset.from_list(ROWS),
    "class numbers": lambda: datasets.Dataset.from_list(ROWS).class_encode_column("label"),
    "streamed": lambda: datasets.Dataset.from_list(ROWS).to_iterable_dataset(),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_rows_train_the_same_weights_as_their_file(
    kind: str, from_file: Path, toy_encoder: Path, tmp_path: Path
) -> None:
    data = {split: GIVEN[kind]() for split in ("train", "validation", "test")}
    model = mh.train(run_with(toy_encoder, data), output=tmp_path / "model")
    assert weights(tmp_path / "model") == weights(from_file)
    scores = [json.loads((folder / "metrics.json").read_text()) for folder in (tmp_path / "model", from_file)]
    assert scores[0] == scores[1]
    assert model.classify(SENTENCES) == mh.load(from_file).classify(SENTENCES)


def test_the_splits_of_a_dataset_dict_are_the_splits_of_the_task(
    from_file: Path, toy_encoder: Path, tmp_path: Path
) -> None:
    splits = {split: datasets.Dataset.from_list(ROWS) for split in ("train", "validation", "test")}
    mh.train(run_with(toy_encoder, datasets.DatasetDict(splits)), output=tmp_path / "model")
    assert weights(tmp_path / "model") == weights(from_file)


def test_rows_by_themselves_are_training_data(toy_encoder: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame([*ROWS, *ROWS])
    model = mh.train(run_with(toy_encoder, frame), output=tmp_path / "model")
    assert set(model.bundle.manifest["tasks"]) == {"section"}
    saved = yaml.safe_load((tmp_path / "model/run.yaml").read_text())
    assert saved["tasks"]["section"]["data"]["train"].startswith("python:12 rows, sha256 ")


def test_a_column_of_another_name(from_file: Path, toy_encoder: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS).rename(columns={"text": "sentence"})
    source = {"path": frame, "columns": {"text": "sentence"}}
    mh.train(run_with(toy_encoder, dict.fromkeys(("train", "validation", "test"), source)), output=tmp_path / "model")
    assert weights(tmp_path / "model") == weights(from_file)


def test_a_checked_run_and_overrides(from_file: Path, toy_encoder: Path, tmp_path: Path) -> None:
    run = Run(**run_with(toy_encoder, dict.fromkeys(("train", "validation", "test"), ROWS), steps=90))
    mh.train(run, output=tmp_path / "model", overrides=["training.steps=3"])
    assert weights(tmp_path / "model") == weights(from_file)
    assert run.training.steps == 90


def test_the_dictionary_is_left_as_it_was(toy_encoder: Path, tmp_path: Path) -> None:
    run = run_with(toy_encoder, {"train": ROWS})
    with pytest.raises(ConfigError, match=r"unknown key 'training.step'; did you mean 'steps'"):
        mh.train(run, output=tmp_path / "model", overrides=["training.step=1", "training.seed=3"])
    assert run["training"] == {"steps": 3, "evaluate_every": 2, "refit": False}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([{"text": "A.", "label": "x"}, {"text": "B."}], r"tasks.section.data.train: rows\[1\]: has no 'label'"),
        ([{"text": None, "label": "x"}], r"rows\[0\]: .*text"),
        ([("A.", "x")], r"run: tasks.section.data: rows\[0\] is of type tuple"),
        ([], "there are no rows"),
        (pd.DataFrame({"sentence": ["A."], "label": ["x"]}), "the table has the columns sentence, label; expected text"),
        ({"train": datasets.DatasetDict({"a": datasets.Dataset.from_list(ROWS)})}, "DatasetDict of a has several splits"),
        ({"train": {"path": ROWS, "format": "conll"}}, "'format' is for files"),
        ({"train": 3}, "list of dictionaries, a DataFrame"),
        ({"train": "python:12 rows, sha256 12"}, "given from Python .12 rows, sha256 12. and are not stored with the run"),
    ],
)
def test_bad_rows_are_refused_with_their_place(
    data: object, message: str, toy_encoder: Path, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        mh.train(run_with(toy_encoder, data), output=tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_yaml_holds_no_rows(toy_encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run_with(toy_encoder, {"train": ROWS})), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"run.yaml:\d+: tasks.section.data.train"):
        mh.train(tmp_path / "run.yaml")


def test_callbacks_see_every_step_and_evaluation(toy_encoder: Path, tmp_path: Path) -> None:
    records: list[StepRecord | EvaluationRecord] = []
    steps: list[int] = []

    def note(record: StepRecord | EvaluationRecord) -> None:
        if isinstance(record, StepRecord):
            steps.append(record.step)

    data = dict.fromkeys(("train", "validation"), ROWS)
    mh.train(run_with(toy_encoder, data), output=tmp_path / "model", callbacks=[records.append, note])
    assert steps == [0, 1, 2]
    found = [record for record in records if isinstance(record, EvaluationRecord)]
    history = [json.loads(line) for line in (tmp_path / "model/history.jsonl").read_text().splitlines()]
    assert [(one.step, one.combined) for one in found] == [
        (row["step"], row["combined"]) for row in history if "combined" in row
    ]
    assert found[-1].metrics["section"]["accuracy"] == pytest.approx(found[-1].metrics["section"]["micro_f1"])


def test_an_error_in_a_callback_ends_the_training(toy_encoder: Path, tmp_path: Path) -> None:
    def fail(record: StepRecord | EvaluationRecord) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        mh.train(run_with(toy_encoder, ROWS), output=tmp_path / "model", callbacks=fail)


def test_ctrl_c_saves_and_the_same_call_continues(toy_encoder: Path, tmp_path: Path) -> None:
    data = dict.fromkeys(("train", "validation"), ROWS)
    whole = tmp_path / "whole"
    mh.train(run_with(toy_encoder, data), output=whole)

    def interrupt(record: StepRecord | EvaluationRecord) -> None:
        if isinstance(record, StepRecord) and record.step == 1:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(StoppedError, match=r"after step 2 of 3; it is saved\n") as error:
        mh.train(run_with(toy_encoder, data), output=tmp_path / "model", callbacks=interrupt)
    assert error.value.__notes__ == ["To continue, call train again with resume=True."]
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(UsageError, match=r"resume it \(.*\), delete the folder, or choose another output folder"):
        mh.train(run_with(toy_encoder, data), output=tmp_path / "model")
    mh.train(run_with(toy_encoder, data), output=tmp_path / "model", resume=True)
    assert weights(tmp_path / "model") == weights(whole)


def test_other_rows_are_another_run(toy_encoder: Path, tmp_path: Path) -> None:
    mh.train(run_with(toy_encoder, {"train": ROWS}), output=tmp_path / "model")
    with pytest.raises(Exception, match="another run"):
        mh.train(run_with(toy_encoder, {"train": [*ROWS, ROWS[0]]}), output=tmp_path / "model", resume=True)


def test_nothing_is_shown_unless_asked_for(
    toy_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mh.train(run_with(toy_encoder, ROWS), output=tmp_path / "quiet")
    assert capsys.readouterr() == ("", "")
    mh.train(run_with(toy_encoder, ROWS), output=tmp_path / "shown", progress=True)
    assert "step 3/3" in capsys.readouterr().err


def test_training_in_another_thread(toy_encoder: Path, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        model = pool.submit(mh.train, run_with(toy_encoder, ROWS), output=tmp_path / "model").result()
    assert list(model.tasks) == ["section"]
