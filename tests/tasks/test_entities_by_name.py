"""Entities by name: tags of known labels as in any head, labels that are given with the texts, and what is refused."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import manyheads as mh
from manyheads.cli import main as manyheads
from manyheads.errors import UsageError
from manyheads.inference.questions import choosing_among
from manyheads.serve.labels import INVALID_LABELS, answering, packed
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import DataStatistics
from manyheads.tasks.by_name.draws import generator_of, some_of
from manyheads.tasks.token_classification import EntitiesByName, by_name_decoding, by_name_training
from manyheads.tasks.token_classification.by_name_training import UNCOUNTED, edge_loss, gold_entities, label_to_read
from manyheads.text.entities import EntityExample
from toys import SENTENCES, entity_rows, write_jsonl

DRUG = "a medicine or substance given to treat"


def run_file(folder: Path, encoder: Path, **settings: Any) -> Path:
    """A run file with drugs and diseases."""
    rows = write_jsonl(folder / "rows.jsonl", entity_rows())
    data = dict.fromkeys(("train", "validation", "test"), str(rows))
    run = {"encoder": {"name": str(encoder), "max_length": 48},
           "tasks": {"entities": {"type": "token-classification", "by_name": True, "described": 1.0, "data": data, **settings}},
           "training": {"steps": 60, "tokens_per_step": 256, "evaluate_every": 60, "learning_rate": 3e-3, "device": "cpu"}}  # fmt: skip
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    made = tmp_path_factory.mktemp("entities-by-name")
    path = run_file(made, toy_encoder, descriptions={"Chemical": DRUG})
    assert manyheads(["train", str(path), "-o", str(made / "model")]) == 0
    assert manyheads(["export", str(made / "model"), "--to", "onnx", "-o", str(made / "onnx")]) == 0
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> mh.Model:
    return mh.load(folder / "model")


def task_of(**settings: Any) -> EntitiesByName:
    return EntitiesByName(name="entities", by_name=True, **settings)


def fitted(labels: str = "abc", **settings: Any) -> EntitiesByName:
    return task_of(**settings).fit(DataStatistics(dict.fromkeys(labels, 2)))


def spans(answers: list[Any]) -> list[list[tuple[int, int, str]]]:
    return [[(span["start"], span["end"], span["label"]) for span in answer] for answer in answers]


def gold() -> list[list[tuple[int, int, str]]]:
    return spans([row["entities"] for row in entity_rows()])


def test_it_learns_its_labels(model: mh.Model) -> None:
    assert spans(model.entities(SENTENCES)) == gold()


def test_descriptions_are_read_and_other_labels_by_their_names(model: mh.Model) -> None:
    assert model.tasks["entities"].label_texts == (DRUG, "Disease")  # type: ignore[attr-defined]


def test_descriptions_alone_find_what_they_describe(model: mh.Model) -> None:
    """Under other names, the labels of the training data are found by their texts."""
    renamed = {"medicine": DRUG, "illness": "Disease"}
    other = {"Chemical": "medicine", "Disease": "illness"}
    found = spans(model.entities(SENTENCES, labels=renamed))
    expected = [[(start, end, other[label]) for start, end, label in of_text] for of_text in gold()]
    right = sum(len(set(one) & set(two)) for one, two in zip(found, expected, strict=True))
    assert right >= 0.8 * max(sum(map(len, found)), sum(map(len, expected)))


def test_its_own_labels_given_with_the_texts_change_nothing(model: mh.Model) -> None:
    for given in (["Disease", "Chemical"], {"Chemical": None, "Disease": "anything"}):
        assert model.entities(SENTENCES, labels=given) == model.entities(SENTENCES)


def test_a_known_label_alone_is_found_without_the_others(model: mh.Model) -> None:
    found = spans(model.entities(SENTENCES, labels=["Disease"]))
    assert found == [[span for span in of_text if span[2] == "Disease"] for of_text in gold()]


def test_known_labels_keep_their_spans_beside_new_ones(model: mh.Model) -> None:
    asked = model.entities(SENTENCES, labels={"Chemical": None, "Disease": None, "city": "a town in Wales", "person": None})
    for of_text, own in zip(asked, model.entities(SENTENCES), strict=True):
        assert [span for span in of_text if span["label"] in ("Chemical", "Disease")] == own
        assert all(one["end"] <= other["start"] for one, other in itertools.pairwise(of_text))


def test_labels_that_are_given_leave_the_model_as_it_was(model: mh.Model) -> None:
    before = model.entities(SENTENCES)
    model.entities(SENTENCES, labels=["one", "two"])
    assert model.entities(SENTENCES) == before
    assert model.labels() == ["Chemical", "Disease"]


def test_an_export_encodes_labels_with_its_own_graph(folder: Path, model: mh.Model) -> None:
    exported = mh.load(folder / "onnx")
    for given in (None, {"medicine": DRUG, "Disease": None}):
        ours, theirs = (one.entities(SENTENCES, labels=given) for one in (model, exported))
        assert spans(ours) == spans(theirs)
        for one, other in zip(itertools.chain(*ours), itertools.chain(*theirs), strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_rows_with_words_are_answered_at_their_words(model: mh.Model) -> None:
    [found] = model.entities([{"tokens": ["Aspirin", "lowered", "fever"]}], labels={"medicine": DRUG, "Disease": None})
    assert all((span["start"], span["end"]) in {(0, 7), (8, 15), (16, 21)} for span in found)


def test_labels_have_the_same_logits_in_training_and_in_answers() -> None:
    generator = np.random.default_rng(0)
    unit_NX, name_MD = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
                        for vectors in (generator.normal(size=(5, 4)), generator.normal(size=(3, 4))))  # fmt: skip
    output = {"scale_1": np.array([3.0]), "none_1": np.array([0.7]), "centre_X": generator.normal(size=4)}
    tensors = {key: torch.tensor(value) for key, value in output.items()}
    ours = by_name_training.choice_logits(tensors, torch.tensor(unit_NX), torch.tensor(name_MD))
    np.testing.assert_allclose(by_name_decoding.choice_logits(output, 2 * unit_NX, name_MD), ours.numpy(), rtol=1e-5)


def test_entities_of_a_window_begin_at_its_edge_too() -> None:
    inside, of, label = gold_entities(np.array([3, 4, 4, 0, 2, 1, 2, 3]), np.array([0, 0, 1, 1, 1, 1, 1, 1]))
    assert inside.tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert of.tolist() == [0, 0, 1, 2, 3, 3, 4]
    assert label.tolist() == [1, 1, 0, 0, 1]
    assert [len(part) for part in gold_entities(np.zeros(0, np.int64), np.zeros(0, np.int64))] == [0, 0, 0]


def test_the_most_surprising_words_outside_of_entities_do_not_count() -> None:
    logits_P2 = torch.tensor([[9.0, -9.0], [8.0, -9.0], *[[-5.0, -5.0]] * 8, [5.0, -5.0]])
    tag_PN = torch.tensor([[0]] * 10 + [[1]])
    assert UNCOUNTED == 0.2
    found = edge_loss({"edge_T2": logits_P2}, {"piece_P": torch.arange(11), "tag_PN": tag_PN})
    assert float(found) < 0.02


@pytest.mark.parametrize("decoder", ["softmax", "crf"])
def test_the_head_of_the_tags_begins_as_an_ordinary_one(decoder: Any) -> None:
    torch.manual_seed(0)
    ours = fitted("ab", decoder=decoder).build_head(8)
    torch.manual_seed(0)
    plain = fitted("ab", decoder=decoder).plain.build_head(8)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, ours.state_dict()[f"solved.tags.{name}"])


def test_a_share_of_the_texts_brings_one_description() -> None:
    task = fitted("abcdefgh", described=0.25)
    texts = [EntityExample(f"text {k}", ((0, 4, "c"),)) for k in range(2000)]
    read = [label_to_read(task, text) for text in texts]
    assert {len(labels) for labels in read} == {0, 1}
    brought = [labels[0] for labels in read if labels]
    assert 0.2 < len(brought) / 2000 < 0.3
    assert 0.45 < np.mean(np.array(brought) == 2) < 0.7, "half of them a label of their own"
    assert set(brought) == set(range(8))
    assert [len(task.sources_of_example(text)) for text in texts] == [1 + len(labels) for labels in read]
    assert {len(task.scored_inputs(text)) for text in texts} == {1}


def test_labels_of_a_step_are_held_out_at_random() -> None:
    drawn = [tuple(some_of([2, 4, 4, 7], generator_of([str(k)]))) for k in range(900)]
    assert set(drawn) == {(2,), (4,), (7,), (2, 4), (2, 7), (4, 7), (2, 4, 7)}
    sizes = np.bincount([len(labels) for labels in drawn])[1:] / 900
    assert np.allclose(sizes, 1 / 3, atol=0.06)
    assert some_of([], generator_of([])) == []


def test_a_teacher_a_review_and_an_export_see_an_ordinary_head() -> None:
    task = fitted("ab", decoder="crf")
    assert type(task.plain) is TASK_TYPES["token-classification"]
    assert type(task.choices.refitted_as()) is TASK_TYPES["token-classification"]
    assert task.distillation.terms == task.plain.distillation.terms


def test_the_centre_is_the_mean_direction_of_the_entities_of_each_label() -> None:
    vector_TX = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 3.0]])
    centre_X = torch.zeros(2, requires_grad=True)
    output = {"vector_TX": vector_TX, "name_SD": torch.ones((1, 2)), "scale_1": torch.ones(1), "none_1": torch.zeros(1),
              "centre_X": centre_X}  # fmt: skip
    targets = {"piece_P": torch.arange(3), "inside_Q": torch.arange(3), "of_Q": torch.arange(3), "label_N": torch.tensor([0, 1, 1]),
               "present_L": torch.tensor([0, 1]), "choice_N": torch.zeros(3, dtype=torch.int64), "asked_M": torch.tensor([0]), "row_R": torch.tensor([0]),
               "name_R": torch.tensor([0])}  # fmt: skip
    by_name_training.label_loss(fitted("ab"), output, targets).backward()  # type: ignore[no-untyped-call]
    assert centre_X.grad is not None
    assert torch.allclose(centre_X.grad, torch.tensor([-1.0, -1.0])), "towards (0.5, 0.5)"


def test_labels_renamed_or_dropped_take_their_descriptions_along() -> None:
    task = fitted("abc", descriptions={"a": "the first", "b": "the second"})
    changed = task.with_labels(["b", "d"])
    assert (changed.descriptions, changed.label_texts) == ({"b": "the second"}, ("the second", "d"))
    grown = task_of(descriptions={"d": "new"}).fit_from(changed, DataStatistics({"b": 1, "d": 1, "e": 1}))
    assert grown.labels == ("b", "d", "e")
    assert grown.label_texts == ("the second", "new", "e")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("drug", "a list of names, or a mapping of names to descriptions; seen 'drug'"),
        ([], "no label is given; give at least one"),
        (["drug", "drug"], "label 'drug' is given twice"),
        ({"drug": " "}, "the description of 'drug' must be a text that is not empty"),
        (["side_effect", "side effect"], "labels 'side_effect' and 'side effect' both read 'side effect'; describe them"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_refused(model: mh.Model, labels: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model.entities(SENTENCES, labels=labels)


def test_the_task_that_takes_labels_is_found_by_the_form_of_its_answers(model: mh.Model) -> None:
    text, plain = (TASK_TYPES[kind](name=kind) for kind in ("text-classification", "token-classification"))
    several = model.predictor.with_tasks({"section": text, "plain": plain, **model.tasks})
    for form in (None, "spans"):
        assert choosing_among(several, None, ["a", "b"], form)[0] == "entities"  # type: ignore[arg-type]
    for name, form in (("plain", "spans"), ("plain", None), (None, "classes")):
        with pytest.raises(UsageError, match="trained with by_name: true can choose among others"):
            choosing_among(several, name, ["a", "b"], form)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no task that answers spans called 'section'"):
        choosing_among(several, "section", ["a", "b"], "spans")


def test_the_command_reads_labels_from_a_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "labels.yaml").write_text(f"medicine: {DRUG}\nDisease:\n", encoding="utf-8")
    asked = ["predict", str(folder / "model"), SENTENCES[0], "--labels", str(tmp_path / "labels.yaml")]
    assert manyheads(asked) == 0
    answer = json.loads(capsys.readouterr().out)["tasks"]["entities"]
    assert {span["label"] for span in answer} <= {"medicine", "Disease"}
    assert any(span["text"] == "fever" for span in answer)


def test_the_server_answers_with_labels_of_a_request(model: mh.Model) -> None:
    given = {"medicine": DRUG, "Disease": None}
    asked = [({"text": text}, ["entities"], packed(given)) for text in SENTENCES] + [({"text": SENTENCES[0]}, ["entities"], None)]
    *found, own = [row["tasks"]["entities"] for row in answering(model.predictor)(asked)]
    assert spans(found) == spans(model.entities(SENTENCES, labels=given))
    assert spans([own]) == gold()[:1]
    [refused] = answering(model.predictor)([({"text": "a text"}, ["entities"], packed(["one", "one"]))])
    assert refused["error"]["type"] == INVALID_LABELS


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"descriptions": {"Drug": "x"}}, "descriptions has 'Drug'; labels are Chemical, Disease; correct it"),
        ({"descriptions": {"Disease": " "}}, "that of 'Disease' is empty; describe the label, or leave it out"),
        ({"descriptions": {"Disease": "Chemical"}}, "labels 'Chemical' and 'Disease' both read 'Chemical'"),
        ({"described": 0}, "tasks.entities.described"),
        ({"overlap": "per-label"}, "overlap"),
        ({"by_name": False}, "described"),
    ],
)
def test_bad_settings_are_refused(
    tmp_path: Path, toy_encoder: Path, settings: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert manyheads(["validate", str(run_file(tmp_path, toy_encoder, **settings))]) == 2
    assert message in "".join(capsys.readouterr())


def test_it_continues_with_its_labels_and_a_new_one(folder: Path, tmp_path: Path) -> None:
    more = [{**row, "entities": [{**entity, "label": "Drug" if entity["label"] == "Chemical" else "Finding"}
                                 for entity in row["entities"]]} for row in entity_rows()]  # type: ignore[attr-defined]  # fmt: skip
    rows = str(write_jsonl(tmp_path / "more.jsonl", more))
    run = {"tasks": {"entities": {"type": "token-classification", "by_name": True, "labels": {"Chemical": "Drug"},
                                  "data": {"train": rows, "validation": rows}}},
           "training": {"steps": 4, "evaluate_every": 4, "device": "cpu", "prevent_forgetting": False,
                        "init_from": str(folder / "model")}}  # fmt: skip
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
    assert manyheads(["train", str(tmp_path / "run.yaml"), "-o", str(tmp_path / "model")]) == 0
    assert mh.load(tmp_path / "model").labels() == ["Drug", "Disease", "Finding"]
