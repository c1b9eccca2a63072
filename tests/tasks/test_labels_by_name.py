"""Labels by name: descriptions beside a fitted part, labels that are given with the texts, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import manyheads as mh
from manyheads.cli import main as manyheads
from manyheads.errors import BundleError, DataError, ManyheadsError, UsageError
from manyheads.inference.questions import choosing_among
from manyheads.nn.heads import NamedLabelsHead
from manyheads.predict import Predictor
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import DataStatistics
from manyheads.tasks.by_name import described
from manyheads.tasks.inputs import Item
from manyheads.tasks.text_classification import ClassificationByName, LabelledText
from manyheads.text.pack import Encoding, Segments, Source
from toys import SENTENCES, write_csv

TEXTS = {"drug_effect": "Aspirin lowered fever.", "trial": "We measured blood pressure.", "adverse": "Nausea was common."}


def run_file(folder: Path, encoder: Path, **settings: Any) -> Path:
    """A run file with texts of three labels."""
    labels = ["drug_effect", "drug_effect", "trial", "trial", "adverse", "adverse"]
    rows = write_csv(folder / "rows.csv", ["text", "label"], [*map(list, zip(SENTENCES, labels, strict=True))])
    data = dict.fromkeys(("train", "validation", "test"), str(rows))
    run = {"encoder": {"name": str(encoder), "max_length": 48},
           "tasks": {"intent": {"type": "text-classification", "by_name": True, "data": data, **settings}},
           "training": {"steps": 60, "tokens_per_step": 256, "evaluate_every": 60, "learning_rate": 3e-3, "device": "cpu"}}  # fmt: skip
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    made = tmp_path_factory.mktemp("by-name")
    path = run_file(made, toy_encoder, descriptions={"trial": "how patients were measured"})
    assert manyheads(["train", str(path), "-o", str(made / "model")]) == 0
    assert manyheads(["export", str(made / "model"), "--to", "onnx", "-o", str(made / "onnx")]) == 0
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> mh.Model:
    return mh.load(folder / "model")


def task_of(**settings: Any) -> ClassificationByName:
    return ClassificationByName(name="intent", by_name=True, **settings)


def fitted(labels: str = "abc", **settings: Any) -> ClassificationByName:
    return task_of(**settings).fit(DataStatistics(dict.fromkeys(labels, 2), frozenset(["single-label"])))


def test_it_learns_its_labels(model: mh.Model) -> None:
    assert [answer["label"] for answer in model.classify(SENTENCES)] == [
        "drug_effect", "drug_effect", "trial", "trial", "adverse", "adverse",
    ]  # fmt: skip


def test_descriptions_are_read_and_other_labels_by_their_names(model: mh.Model) -> None:
    assert model.tasks["intent"].label_texts == ("adverse", "drug effect", "how patients were measured")  # type: ignore[attr-defined]


def test_its_own_labels_given_with_the_texts_change_nothing(model: mh.Model) -> None:
    for given in (model.labels(), {"drug_effect": None, "trial": "how patients were measured", "adverse": "adverse"}):
        for found, own in zip(model.classify(SENTENCES, labels=given), model.classify(SENTENCES), strict=True):
            assert found["scores"] == pytest.approx(own["scores"], abs=1e-5)


def test_labels_never_seen_are_chosen_by_their_descriptions(model: mh.Model) -> None:
    texts = ["ibuprofen for migraine", "metformin in diabetes"]
    given = {"head": "ibuprofen for migraine", "sugar": "metformin in diabetes"}
    assert [answer["label"] for answer in model.classify(texts, labels=given)] == ["head", "sugar"]
    assert set(model.classify(texts, labels=["trial", "head", "sugar"])[0]["scores"]) == {"trial", "head", "sugar"}


def test_labels_that_are_given_leave_the_model_as_it_was(model: mh.Model) -> None:
    before = model.classify(SENTENCES)
    model.classify(SENTENCES, labels=["one", "two"])
    assert model.classify(SENTENCES) == before
    assert model.labels() == ["adverse", "drug_effect", "trial"]


def test_a_label_has_the_same_logit_whatever_others_are_given(model: mh.Model) -> None:
    few, many = ({"trial": None, "head": "an ache"}, {"head": "an ache", "other": "money", "trial": None})
    odds = [np.log(one["scores"]["trial"] / one["scores"]["head"])
            for given in (few, many) for one in model.classify(SENTENCES[:1], labels=given)]  # fmt: skip
    assert odds[0] == pytest.approx(odds[1], abs=1e-4)


def test_fitted_scores_tell_known_labels_from_one_another_but_not_from_new_ones() -> None:
    task = fitted("abc").choosing_among({"c": None, "new": None, "a": None})
    fitted_SK = np.array([[5.0, 9.0, 3.0]], np.float32)
    windows = ({"vector_SD": np.ones((1, 2), np.float32), "fitted_SK": fitted_SK, "scale_1": np.ones(1, np.float32)},)
    encoding = Encoding(*(np.zeros(3, np.int64),) * 4, np.zeros(3, np.int8), 0)
    item = Item(Source("a text"), None, [encoding], windows)
    assert task.logits([item]).tolist() == [[-2.0, 0.0, 0.0]]
    assert fitted("abc").choosing_among({"b": None, "a": None}).logits([item]).tolist() == [[9.0, 5.0]]
    assert fitted("abc").logits([item]).tolist() == [[5.0, 9.0, 3.0]]


def test_an_export_encodes_labels_with_its_own_graph(folder: Path, model: mh.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    exported = mh.load(folder / "onnx")
    for given in (None, {"head": "ibuprofen for migraine", "trial": None}):
        for ours, theirs in zip(model.classify(SENTENCES, labels=given), exported.classify(SENTENCES, labels=given), strict=True):
            assert theirs["scores"] == pytest.approx(ours["scores"], abs=1e-4)


def test_vectors_of_its_labels_are_encoded_once_for_all(model: mh.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise AssertionError("labels were encoded again")

    monkeypatch.setattr(Predictor, "items", refused)
    model.classify(SENTENCES)
    with pytest.raises(AssertionError):
        model.classify(SENTENCES, labels=["one", "two"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("refund", "a list of names, or a mapping of names to descriptions; seen 'refund'"),
        (["refund"], "of which 1 is given; give at least two"),
        (["refund", "refund"], "label 'refund' is given twice"),
        (["refund", 3], "a label must be a text that is not empty; seen 3"),
        ({"refund": " ", "other": None}, "the description of 'refund' must be a text that is not empty"),
        (["card_lost", "card lost"], "labels 'card_lost' and 'card lost' both read 'card lost'; describe them"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_refused(model: mh.Model, labels: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model.classify(SENTENCES, labels=labels)


def test_the_command_reads_labels_from_a_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "labels.yaml").write_text("head: ibuprofen for migraine\ntrial:\n", encoding="utf-8")
    asked = ["predict", str(folder / "model"), "ibuprofen for migraine", "--labels"]
    assert manyheads([*asked, str(tmp_path / "labels.yaml")]) == 0
    answer = json.loads(capsys.readouterr().out)["tasks"]["intent"]
    assert (answer["label"], set(answer["scores"])) == ("head", {"head", "trial"})
    (tmp_path / "list.json").write_text('["head", "sugar"]', encoding="utf-8")
    assert manyheads([*asked, str(tmp_path / "list.json"), "--task", "intent"]) == 0
    assert set(json.loads(capsys.readouterr().out)["tasks"]["intent"]["scores"]) == {"head", "sugar"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("head", "must be a list of labels, or a mapping of labels to descriptions; seen 'head'"),
        ("a: x\na: y", "labels.yaml:2"),
        ("[1, 2]", "a label must be a text that is not empty; seen 1"),
        (None, "cannot be read"),
    ],
)
def test_the_command_refuses_a_file_without_labels(
    folder: Path, tmp_path: Path, content: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "labels.yaml").write_text(content, encoding="utf-8")
    assert manyheads(["predict", str(folder / "model"), "a text", "--labels", str(tmp_path / "labels.yaml")]) == 2
    assert message in capsys.readouterr().err


def test_the_task_that_takes_labels_is_found_among_others(model: mh.Model) -> None:
    fixed = TASK_TYPES["text-classification"](name="section")
    several = model.predictor.with_tasks({"section": fixed, **model.tasks})
    assert choosing_among(several, None, ["a", "b"])[0] == "intent"
    with pytest.raises(UsageError, match="trained with by_name: true can choose among others"):
        choosing_among(several, "section", ["a", "b"])
    with pytest.raises(UsageError, match="'section' knows only the labels"):
        choosing_among(several.with_tasks({"section": fixed}), None, ["a", "b"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"descriptions": {"trail": "x"}}, "descriptions has 'trail'; labels are adverse, drug_effect, trial; correct it"),
        ({"descriptions": {"trial": " "}}, "that of 'trial' is empty; describe the label, or leave it out"),
        ({"descriptions": {"trial": "x" * 1001}}, "has 1,001 characters; at most 1,000"),
        ({"descriptions": {"trial": "adverse"}}, "labels 'adverse' and 'trial' both read 'adverse'"),
        ({"hidden": 8}, "tasks.intent.hidden"),
        ({"unit": "sentence"}, "by_name"),
        ({"by_name": False, "descriptions": {"trial": "x"}}, "descriptions"),
        ({"by_name": "yes please"}, "by_name"),
    ],
)
def test_bad_settings_are_refused(
    tmp_path: Path, toy_encoder: Path, settings: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert manyheads(["validate", str(run_file(tmp_path, toy_encoder, **settings))]) == 2
    assert message in "".join(capsys.readouterr())


def test_several_labels_of_a_text_are_refused() -> None:
    with pytest.raises(DataError, match="by_name is for texts with one label each"):
        task_of().fit(DataStatistics({"a": 1, "b": 1}, frozenset(["multi-label"])))


def test_a_text_is_trained_with_its_label_and_a_fixed_number_of_others() -> None:
    task = fitted("abcdefgh", negatives=3)
    for label in "abcdefgh":
        for text in SENTENCES:
            read = [entry.source.first for entry in task.sources_of_example(LabelledText(text, None, (label,), False))]
            assert read[:2] == [text, label]
            assert len(set(read[1:])) == 4
    assert len(task.scored_inputs(LabelledText("a text", None, ("a",), False))) == 1
    assert len(fitted("ab", negatives=9).sources_of_example(LabelledText("a text", None, ("a",), False))) == 3


def test_scores_are_held_out_in_training_alone() -> None:
    torch.manual_seed(0)
    head = NamedLabelsHead(4, 50, pooling="mean", dropout=0.0, scale=20.0)
    torch.nn.init.ones_(head.fitted.bias)
    hidden_TD, segments = torch.randn(400, 4), Segments.of([2] * 200)
    kept_S = head.train()(hidden_TD, segments)["fitted_SK"].mean(1)
    assert 0.35 < float((kept_S == 1).float().mean()) < 0.65, "half of the sequences have all scores"
    assert 0.45 < float(kept_S[kept_S < 1].detach().mean()) < 0.55, "the others about half of them"
    assert bool((head.eval()(hidden_TD, segments)["fitted_SK"] == 1).all())


def test_labels_renamed_or_dropped_take_their_descriptions_along() -> None:
    task = fitted("abc", descriptions={"a": "the first", "b": "the second"})
    changed = task.with_labels(["b", "d"])
    assert (changed.descriptions, changed.label_texts) == ({"b": "the second"}, ("the second", "d"))
    grown = task_of(descriptions={"d": "new"}).fit_from(changed, DataStatistics({"b": 1, "d": 1, "e": 1}, frozenset(["single-label"])))
    assert grown.labels == ("b", "d", "e")
    assert grown.label_texts == ("the second", "new", "e")


def test_names_are_read_with_spaces() -> None:
    assert described(["card_lost", "_"], {}) == ("card lost", "_")


def test_damaged_vectors_are_refused() -> None:
    task = fitted("abc")
    for vector in (None, np.zeros((2, 4), np.float32), np.zeros((3, 4)), np.full((3, 4), np.nan, np.float32)):
        with pytest.raises(ValueError, match=r"has (no )?vectors of"):
            task.store.with_arrays({} if vector is None else {"label.vectors": vector})


def test_a_damaged_store_names_its_file(folder: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(folder / "model", tmp_path / "copy"))
    (copy / "stores" / "intent.safetensors").write_bytes(b"")
    with pytest.raises((BundleError, ManyheadsError), match=r"intent\.safetensors"):
        mh.load(copy)


def test_it_continues_with_its_labels_and_a_new_one(folder: Path, tmp_path: Path, toy_encoder: Path) -> None:
    rows = write_csv(tmp_path / "more.csv", ["text", "label"], [[text, label] for text, label in zip(SENTENCES, "xxxyyy", strict=True)])
    run = {"tasks": {"intent": {"type": "text-classification", "by_name": True, "labels": {"trial": "study"},
                                "data": {"train": str(rows), "validation": str(rows)}}},
           "training": {"steps": 4, "evaluate_every": 4, "device": "cpu", "prevent_forgetting": False,
                        "init_from": str(folder / "model")}}  # fmt: skip
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
    assert manyheads(["train", str(tmp_path / "run.yaml"), "-o", str(tmp_path / "model")]) == 0
    later = mh.load(tmp_path / "model")
    assert later.labels() == ["adverse", "drug_effect", "study", "x", "y"]
    assert later.tasks["intent"].label_texts == ("adverse", "drug effect", "study", "x", "y")  # type: ignore[attr-defined]
