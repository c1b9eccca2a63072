"""Folders of `save_to_disk` and Arrow files: the names of classes, splits, columns of other names, and damage."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest

from manyheads.config.dataset import source_of
from manyheads.config.files import RunFile, parse_run
from manyheads.data.build import build_table
from manyheads.data.saved_datasets import SavedDataset, is_saved_dataset, open_saved_dataset
from manyheads.errors import DataError
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.token_classification import TokenClassification

NER, TEXT = "token-classification", "text-classification"


@pytest.fixture
def tagged() -> datasets.Dataset:
    tags = datasets.Sequence(datasets.ClassLabel(names=["O", "B-PER", "I-PER"]))
    features = datasets.Features({"tokens": datasets.Sequence(datasets.Value("string")), "ner_tags": tags})
    rows = {"tokens": [["Ada", "Byron", "wrote"], ["No", "one"]], "ner_tags": [[1, 2, 0], [0, 0]]}
    return datasets.Dataset.from_dict(rows, features=features)


def test_a_saved_folder_has_the_names_of_its_classes(tagged, tmp_path):
    tagged.save_to_disk(tmp_path / "set")
    opened = open_saved_dataset(SavedDataset(tmp_path / "set", None, {"tags": "ner_tags"}), TokenClassification, "train")
    assert opened.formats == ("saved data set",)
    assert [row.values for row in opened.rows()] == [
        {"tokens": ["Ada", "Byron", "wrote"], "tags": ["B-PER", "I-PER", "O"]},
        {"tokens": ["No", "one"], "tags": ["O", "O"]},
    ]
    table, report = build_table(TASK_TYPES[NER](name="t"), SavedDataset(tmp_path / "set", None, {"tags": "ner_tags"}), "train")
    assert (len(table), dict(report.statistics.labels)) == (2, {"PER": 1})


def test_one_of_several_splits_is_taken_and_a_missing_one_is_named(tagged, tmp_path):
    datasets.DatasetDict({"train": tagged, "dev": tagged.select([1])}).save_to_disk(tmp_path / "set")
    columns = {"tags": "ner_tags"}
    assert len(list(open_saved_dataset(SavedDataset(tmp_path / "set", None, columns), TokenClassification, "train").rows())) == 2
    assert len(list(open_saved_dataset(SavedDataset(tmp_path / "set", "dev", columns), TokenClassification, "validation").rows())) == 1
    with pytest.raises(DataError, match="has no split 'validation'; name one of train, dev under 'split'"):
        open_saved_dataset(SavedDataset(tmp_path / "set", None, columns), TokenClassification, "validation")


def test_an_arrow_file_is_read_by_itself(tagged, tmp_path):
    tagged.save_to_disk(tmp_path / "set")
    (file,) = (tmp_path / "set").glob("*.arrow")
    rows = open_saved_dataset(SavedDataset(file, None, {"tags": "ner_tags"}), TokenClassification, "train").rows()
    assert [row.values["tags"] for row in rows] == [["B-PER", "I-PER", "O"], ["O", "O"]]


def test_a_damaged_folder_or_file_is_refused(tagged, tmp_path):
    tagged.save_to_disk(tmp_path / "set")
    (file,) = (tmp_path / "set").glob("*.arrow")
    whole = file.read_bytes()
    for content in (b"", whole[:40], whole[: len(whole) // 2], b"text"):
        file.write_bytes(content)
        for path in (file, tmp_path / "set"):
            with pytest.raises(DataError, match="is not a readable dataset"):
                open_saved_dataset(SavedDataset(path), TokenClassification, "train")
    (tmp_path / "set" / "state.json").write_text("[")
    with pytest.raises(DataError, match="is not a readable dataset"):
        open_saved_dataset(SavedDataset(tmp_path / "set"), TokenClassification, "train")


def test_a_run_file_names_a_saved_folder_as_any_other_path(tagged, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tagged.save_to_disk("set")
    text = "tasks: {t: {type: token-classification, data: {train: %s}}}"
    for given, made in (
        ("set", SavedDataset(Path("set"))),
        ("{path: set, split: dev, columns: {tags: ner_tags}}", SavedDataset(Path("set"), "dev", {"tags": "ner_tags"})),
    ):
        run = parse_run(text % given, "run.yaml")
        assert source_of(RunFile(run, tmp_path / "run.yaml"), run.tasks["t"].data.train) == made
    assert not is_saved_dataset(tmp_path)
