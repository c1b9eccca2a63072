"""Labels of a model that goes on with new data: renamed, merged, dropped and new ones, in heads of every kind."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import manyheads as mh
from config.test_start_model import later_run
from manyheads.bundle import load_bundle, read_manifest
from manyheads.cli import main
from manyheads.config.build import build_plan
from manyheads.config.dataset import read_dataset
from manyheads.config.files import load_run
from manyheads.config.head_outputs import Outputs
from manyheads.errors import ConfigError, DataError
from manyheads.heads.add import Addition, retrain
from manyheads.heads.forms import Form
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.labels import renamed_answer
from manyheads.training.plan import Plan
from manyheads.training.progress import Quiet
from manyheads.training.stop import Stop
from toys import SENTENCES, write_csv, write_jsonl

Trained = Callable[[str], Path]

SECTIONS = ["RESULTS", "AIMS", "ZEAL", "AIMS", "RESULTS", "ZEAL"]


def sections(path: Path, labels: list[str]) -> dict[str, str]:
    """Data of `section`, with these labels."""
    write_csv(path, ["text", "label"], [[text, label] for text, label in zip(SENTENCES, labels, strict=True)])
    return dict.fromkeys(("train", "validation"), str(path))


def planned(model: Path, folder: Path, *overrides: str, **changes: dict[str, object] | None) -> Plan:
    return build_plan(load_run(later_run(model, folder / "run.yaml", **changes), overrides), folder / "out")


def head(model: Any, name: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = model.heads[name].state_dict()
    return found


def test_labels_are_renamed_merged_dropped_and_added(trained: Trained, tmp_path: Path) -> None:
    model = trained("hard")
    old = load_bundle(model)
    before = old.tasks["section"].label_names
    assert before == ("CONCLUSIONS", "METHODS", "RESULTS")
    data = sections(tmp_path / "new.csv", ["FINDINGS", "ZEAL", "FINDINGS", "ZEAL", "METHODS", "METHODS"])
    made = planned(model, tmp_path, section={"data": data, "labels": {"RESULTS": "FINDINGS", "CONCLUSIONS": None}})
    assert made.tasks["section"].label_names == ("METHODS", "FINDINGS", "ZEAL")
    for name, value in head(old.model, "section").items():
        assert torch.equal(head(made.model, "section")[name][:2], value[1:]), name
    [line] = [note for note in made.notes if note.startswith("labels of section")]
    assert line == "labels of section: kept METHODS (2); renamed RESULTS to FINDINGS (2); dropped CONCLUSIONS; new ZEAL (2)"

    data = sections(tmp_path / "merged.csv", ["END", "METHODS"] * 3)
    made = planned(model, tmp_path, section={"data": data, "labels": {"RESULTS": "END", "CONCLUSIONS": "END"}})
    assert made.tasks["section"].label_names == ("END", "METHODS")
    weights, olds = head(made.model, "section"), head(old.model, "section")
    [weight] = [name for name, value in olds.items() if value.ndim == 2]
    bias = weight.replace("weight", "bias")
    assert torch.equal(weights[weight][1], olds[weight][1])
    assert torch.equal(weights[bias][1], olds[bias][1])
    assert torch.allclose(weights[weight][0], olds[weight][[0, 2]].mean(0))
    assert torch.allclose(weights[bias][0], olds[bias][[0, 2]].mean() + math.log(2))
    assert "merged CONCLUSIONS, RESULTS into END (3)" in " ".join(made.notes)


def test_the_row_of_merged_labels_is_tangent_to_their_log_sum_exp(trained: Trained, tmp_path: Path) -> None:
    olds = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    olds[1] = olds[3]
    outputs = Outputs([[0], [1, 3], [2]], 4)
    joint = torch.zeros(3, 3)
    assert outputs.fill(joint, olds[:4], bias=False)
    biases, found = torch.tensor([0.1, 0.2, 0.3, 0.2]), torch.zeros(3)
    assert outputs.fill(found, biases, bias=True)
    x = torch.randn(3, generator=torch.Generator().manual_seed(1))
    logits = olds[:4] @ x + biases
    assert torch.allclose(joint[1] @ x + found[1], logits[[1, 3]].logsumexp(0)), "equal logits: exact"
    assert outputs.fill(torch.zeros(3, 3), olds[:4, :3], bias=False)
    assert not outputs.fill(torch.zeros(7), biases, bias=True)


@pytest.mark.parametrize("kind", ["hard", "layer mix"])
def test_entity_labels_are_mapped_with_both_tags_and_the_transitions(trained: Trained, tmp_path: Path, kind: str) -> None:
    model = trained(kind)
    old = load_bundle(model)
    assert old.tasks["entities"].label_names == ("Chemical", "Disease")
    words = {"tokens": ["Aspirin", "lowered", "fever"], "tags": ["B-Drug", "O", "B-Sign"]}
    write_jsonl(tmp_path / "new.jsonl", [words])
    data = dict.fromkeys(("train", "validation"), str(tmp_path / "new.jsonl"))
    made = planned(model, tmp_path, entities={"data": data, "labels": {"Chemical": "Drug"}})
    assert made.tasks["entities"].output_names == ("O", "B-Drug", "I-Drug", "B-Disease", "I-Disease", "B-Sign", "I-Sign")
    weights = head(made.model, "entities")
    for name, value in head(old.model, "entities").items():
        new = weights[name]
        for axis in range(new.ndim):
            new = new.narrow(axis, 0, value.shape[axis])
        assert torch.equal(new, value), name
    made = planned(model, tmp_path, entities={"data": data, "labels": {"Chemical": "Drug", "Disease": "Drug"}})
    assert made.tasks["entities"].label_names == ("Drug", "Sign")
    transitions = head(old.model, "entities")["crf.transitions_KK"]
    assert torch.allclose(head(made.model, "entities")["crf.transitions_KK"][0, 1], transitions[0, [1, 3]].mean())


def test_heads_for_several_labels_for_tags_and_for_numbers_grow(toy_encoder: Path, tmp_path: Path) -> None:
    def rows(extra: bool) -> dict[str, list[dict[str, object]]]:
        some = [[["a"], ["b"], ["a", "b"], [], ["b"], ["a"]], [["b"], ["c"], ["c", "b"], [], ["c"], ["b"]]][extra]
        tags = [["X" if i % 2 else "Y" if not extra else "Z" for i, _ in enumerate(text.split())] for text in SENTENCES]
        numbers = [{"fluency": i, **({"accuracy": i % 3} if extra else {})} for i in range(6)]
        return {"topics": [{"text": text, "labels": labels} for text, labels in zip(SENTENCES, some, strict=True)],
                "pos": [{"tokens": text.split(), "tags": tags} for text, tags in zip(SENTENCES, tags, strict=True)],
                "rating": [{"text": text, "values": values} for text, values in zip(SENTENCES, numbers, strict=True)]}  # fmt: skip

    kinds = {"topics": "text-classification", "pos": "token-tagging", "rating": "text-regression"}
    folders = []
    for stage in ("old", "new"):
        folder = tmp_path / stage
        for name, found in rows(stage == "new").items():
            write_jsonl(folder / f"{name}.jsonl", found)
        tasks = {name: {"type": kind, "data": dict.fromkeys(("train", "validation"), str(folder / f"{name}.jsonl"))}
                 for name, kind in kinds.items()}  # fmt: skip
        tasks["topics"] |= {"labels": {"a": "A"}} if stage == "new" else {}
        start = {"encoder": {"name": str(toy_encoder), "max_length": 48}} if stage == "old" else {}
        init = {"init_from": str(tmp_path / "model")} if stage == "new" else {}
        (folder / "run.yaml").write_text(json.dumps({**start, "tasks": tasks, "training": {
            "recipe": "none", "steps": 2, "device": "cpu", **init}}), encoding="utf-8")  # fmt: skip
        folders.append(folder / "run.yaml")
    assert main(["train", str(folders[0]), "-o", str(tmp_path / "model")]) == 0
    made, old = build_plan(load_run(folders[1]), tmp_path / "out"), load_bundle(tmp_path / "model")
    expected = {"topics": ("A", "b", "c"), "pos": ("X", "Y", "Z"), "rating": ("accuracy", "fluency")}
    for name, outputs in expected.items():
        assert made.tasks[name].output_names == outputs
        known = [outputs.index({"a": "A"}.get(label, label)) for label in old.tasks[name].output_names]
        for key, value in head(old.model, name).items():
            new = head(made.model, name)[key]
            for axis, (mine, theirs) in enumerate(zip(new.shape, value.shape, strict=True)):
                new = new.index_select(axis, torch.tensor(known)) if mine != theirs else new
            assert torch.equal(new, value), f"{name}.{key}"
    assert made.tasks["rating"].standards["fluency"] == old.tasks["rating"].standards["fluency"]  # type: ignore[attr-defined]
    assert main(["train", str(folders[1]), "-o", str(tmp_path / "out")]) == 0
    write_jsonl(folders[1].parent / "rating.jsonl", [{"text": text, "values": {"accuracy": i}} for i, text in enumerate(SENTENCES)])
    with pytest.raises(DataError, match="lack 'fluency' of the model that it starts from"):
        build_plan(load_run(folders[1]), tmp_path / "other")


def test_labels_that_cannot_be_are_refused_before_training(trained: Trained, tmp_path: Path) -> None:
    model = trained("hard")
    data = sections(tmp_path / "new.csv", ["RESULTS", "METHODS"] * 3)

    def refused(*overrides: str, **section: object) -> str:
        with pytest.raises((DataError, ConfigError)) as error:
            planned(model, tmp_path, *overrides, section={"data": data, **section})
        return str(error.value)

    assert "the model has no label 'RESULT'; did you mean 'RESULTS'? its labels are CONCLUSIONS, METHODS, RESULTS" in refused(
        labels={"RESULT": "FINDINGS"})  # fmt: skip
    said = refused(labels=["RESULTS", "METHODS", "CONCLUSION"])
    assert "CONCLUSIONS of the model that it starts from is not among its labels" in said
    assert "did you mean 'CONCLUSION'? add it, rename it with `labels: {CONCLUSIONS: NEW}`, or drop it" in said
    with pytest.raises(DataError, match="renames labels of a model, but the task does not continue one"):
        planned(model, tmp_path, topic={"type": "text-classification", "data": data, "labels": {"RESULTS": "FINDINGS"}})
    with pytest.raises(DataError, match="renames labels of a model, but the task does not continue one"):
        read_dataset(load_run(model.parent / "run.yaml", ["tasks.section.labels={RESULTS: FINDINGS}"]))


def test_retrain_renames_labels_and_keeps_what_became_of_them(
    trained: Trained, more: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from manyheads.config import dataset

    model, new, read = trained("hard"), tmp_path / "new", []
    build_table = dataset.build_table

    def counted(*arguments: Any) -> Any:
        read.append(arguments[2])
        return build_table(*arguments)

    monkeypatch.setattr(dataset, "build_table", counted)
    data = sections(tmp_path / "new.csv", ["FINDINGS", "METHODS", "ZEAL"] * 2)
    listed = ", ".join(f"{split}: {path}" for split, path in data.items())
    overrides = (f"tasks.section.data={{{listed}}}", "tasks.section.labels={RESULTS: FINDINGS, CONCLUSIONS: null}")
    retrain(Addition(model, more("hard", section="section"), new, overrides, Form("head")), "section", Quiet(), Stop())
    assert read.count("train") == 1
    manifest = read_manifest(new)
    assert manifest["started_from"] == {"model": load_bundle(model).hash, "labels": {"section": {
        "became": {"CONCLUSIONS": None, "METHODS": "METHODS", "RESULTS": "FINDINGS"}, "new": ["ZEAL"],
        "examples": {"METHODS": 2, "FINDINGS": 2, "ZEAL": 2}}}}  # fmt: skip
    assert mh.load(new).tasks["section"].label_names == ("METHODS", "FINDINGS", "ZEAL")
    assert main(["evaluate", str(new), "--split", "validation", "--task", "section"]) == 0


@pytest.mark.parametrize(("kind", "row", "after"), [
    ("text-classification", {"text": "a", "label": "old"}, {"text": "a", "label": "new"}),
    ("text-classification", {"text": "a", "label": "gone"}, None),
    ("text-classification", {"text": "a", "labels": ["old", "gone", "new"]}, {"text": "a", "labels": ["new"]}),
    ("token-classification", {"tokens": ["a", "b", "c"], "tags": ["B-old", "I-old", "B-gone"]},
     {"tokens": ["a", "b", "c"], "tags": ["B-new", "I-new", "O"]}),
    ("token-classification", {"text": "a b", "entities": [{"start": 0, "end": 1, "label": "old"}, {"start": 2, "end": 3, "label": "gone"}]},
     {"text": "a b", "entities": [{"start": 0, "end": 1, "label": "new"}]}),
    ("token-tagging", {"tokens": ["a", "b"], "tags": ["old", "new"]}, {"tokens": ["a", "b"], "tags": ["new", "new"]}),
    ("token-tagging", {"tokens": ["a", "b"], "tags": ["old", "gone"]}, None),
])  # fmt: skip
def test_old_rows_are_read_with_the_new_names(kind: str, row: dict[str, Any], after: dict[str, Any] | None) -> None:
    assert TASK_TYPES[kind](name="t").renamed_row(row, {"old": "new", "gone": None}) == after


BECAME = {"old": "new", "gone": None}


@pytest.mark.parametrize(("form", "answer", "after"), [
    ("classes", {"label": "old", "score": 0.9, "scores": {}}, {"label": "new"}),
    ("classes", {"label": "kept", "score": 0.9, "scores": {}}, {"label": "kept"}),
    ("classes", {"label": "gone", "score": 0.9, "scores": {}}, None),
    ("classes", {"labels": ["new", "gone", "old"], "scores": {}}, {"labels": ["new"]}),
    ("spans", [{"start": 0, "end": 1, "label": "old"}, {"start": 2, "end": 3, "label": "gone"}], [{"start": 0, "end": 1, "label": "new"}]),
    ("tags", [{"start": 0, "tag": "old"}, {"start": 2, "tag": "kept"}], [{"start": 0, "tag": "new"}, {"start": 2, "tag": "kept"}]),
    ("tags", [{"start": 0, "tag": "old"}, {"start": 2, "tag": "gone"}], None),
    ("sentences", [{"start": 0, "label": "old"}], [{"start": 0, "label": "new"}]),
    ("sentences", [{"start": 0, "label": "gone"}], None),
    ("json", {"old": 1}, None),
])  # fmt: skip
def test_answers_get_the_new_names_where_that_is_an_answer(form: Any, answer: Any, after: Any) -> None:
    assert renamed_answer(answer, form, BECAME) == after
