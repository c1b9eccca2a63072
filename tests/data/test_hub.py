"""Hub data sets: a local folder through the real `load_dataset`, and data sets with class numbers in its place."""

from __future__ import annotations

from typing import Any

import datasets
import pytest

from manyheads.data.formats.rows import RawRow
from manyheads.data.hub import Hub, open_hub
from manyheads.errors import DataError
from manyheads.tasks.base import Task
from manyheads.tasks.question_answering import QuestionAnswering
from manyheads.tasks.sentence_embedding import SentenceEmbedding
from manyheads.tasks.text_classification import TextClassification
from manyheads.tasks.token_classification import TokenClassification


@pytest.fixture
def hub_has(monkeypatch):
    """Put a data set where `load_dataset` would look; gives the calls made."""
    calls: list[tuple[Any, ...]] = []

    def serve(data: datasets.Dataset) -> list[tuple[Any, ...]]:
        def load_dataset(*args: Any, **settings: Any) -> datasets.Dataset:
            calls.append((*args, settings))
            return data

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        return calls

    return serve


def data_of(columns: dict[str, list[Any]], **features: Any) -> datasets.Dataset:
    data = datasets.Dataset.from_dict(columns)
    return data.cast(datasets.Features({**data.features, **features}))


def refusal(hub: Hub, task: type[Task[Any]] = TextClassification) -> str:
    with pytest.raises(DataError) as caught:
        list(open_hub(hub, task, "train").rows())
    return str(caught.value)


def test_a_local_folder_is_loaded_by_the_real_library(write, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    write("set/train.csv", "text,label\nnaïve,A\nb,B\n")
    write("set/test.csv", "text,label\nc,A\n")
    hub = Hub(str(tmp_path / "set"))
    opened = open_hub(hub, TextClassification, "train")
    assert [(row.values, row.where) for row in opened.rows()] == [
        ({"text": "naïve", "label": "A"}, f"hf:{tmp_path}/set (train): row 1"),
        ({"text": "b", "label": "B"}, f"hf:{tmp_path}/set (train): row 2"),
    ]
    other = open_hub(Hub(str(tmp_path / "set"), split="test"), TextClassification, "train")
    assert [row.values["text"] for row in other.rows()] == ["c"]
    assert opened.fingerprint == open_hub(hub, TextClassification, "train").fingerprint != other.fingerprint


def test_class_numbers_become_names_and_missing_classes_are_skipped_with_their_reason(hub_has):
    label = datasets.ClassLabel(names=["neg", "pos"])
    calls = hub_has(data_of({"sentence": ["a", "b", "c"], "label": [1, -1, 0], "idx": [0, 1, 2]}, label=label))
    hub = Hub("glue", "sst2", columns={"text": "sentence"}, revision="main")
    rows = list(open_hub(hub, TextClassification, "validation").rows())
    assert calls == [("glue", "sst2", {"split": "validation", "revision": "main"})]
    place = "hf:glue/sst2 (validation): row"
    assert rows == [
        RawRow({"text": "a", "label": "pos", "idx": 0}, f"{place} 1"),
        RawRow({"text": "b", "label": -1, "idx": 1}, f"{place} 2", skip="no label (label is -1)"),
        RawRow({"text": "c", "label": "neg", "idx": 2}, f"{place} 3"),
    ]


def test_tags_in_lists_become_names(hub_has):
    tags = datasets.List(datasets.ClassLabel(names=["O", "B-PER"]))
    hub_has(data_of({"tokens": [["Ann", "sat"]], "ner_tags": [[1, 0]]}, ner_tags=tags))
    rows = list(open_hub(Hub("conll", columns={"tags": "ner_tags"}), TokenClassification, "train").rows())
    assert rows[0].values == {"tokens": ["Ann", "sat"], "tags": ["B-PER", "O"]}


def test_answers_of_the_hubs_squad_become_a_list(hub_has):
    answers = [{"text": ["France", "in France"], "answer_start": [12, 9]}, {"text": [], "answer_start": []}]
    hub_has(data_of({"question": ["Where?", "Who?"], "context": ["Paris is in France."] * 2, "answers": answers}))
    rows = list(open_hub(Hub("squad"), QuestionAnswering, "train").rows())
    assert rows[0].values["answers"] == [{"text": "France", "start": 12}, {"text": "in France", "start": 9}]
    assert rows[1].values["answers"] == []


def test_a_plain_number_below_zero_is_no_missing_class(hub_has):
    hub_has(data_of({"text_a": ["a"], "text_b": ["b"], "score": [-1]}))
    rows = list(open_hub(Hub("sts"), SentenceEmbedding, "train").rows())
    assert rows[0].skip is None


def test_columns_that_do_not_fit_are_named(hub_has):
    hub_has(data_of({"sentence": ["a"], "label": [1]}))
    assert refusal(Hub("glue", columns={"text": "sentense"})) == (
        "hf:glue (train) has no column 'sentense' (for text); did you mean 'sentence'? its columns are sentence, label"
    )
    assert refusal(Hub("glue")) == (
        "hf:glue (train) has the columns sentence, label; expected text, label or text, labels: "
        "write columns: {text: sentence}"
    )
    hub_has(data_of({"text": [], "label": []}))
    assert refusal(Hub("glue")) == "hf:glue (train) has no rows; name another split"


def test_a_data_set_that_cannot_be_had_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    message = refusal(Hub("nobody/has-this", "en"))
    assert message.startswith("hf:nobody/has-this/en (split train) cannot be loaded: ")
    assert message.endswith("check the name, config and split, and the connection, or download it and give a path")
    assert "\n" not in message
