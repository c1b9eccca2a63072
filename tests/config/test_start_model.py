"""Runs that start from a trained model: encoder, heads and labels continue, new tasks begin, missing ones are dropped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

import manyheads as mh
from manyheads.bundle import load_bundle
from manyheads.cli import main
from manyheads.config.build import build_plan
from manyheads.config.files import load_run
from manyheads.config.start_model import start_model
from manyheads.errors import ConfigError, DataError, UsageError
from toys import SENTENCES, trained_projects, write_csv

KINDS = {
    "hard": [],
    "private layers": ["sharing={shared_layers: 1, groups: {tokens: [entities, answers], texts: [section, similarity]}}"],
    "layer mix": ["sharing.layer_mix=true"],
    "shared adapter": ["lora={save: apart}"],
    "adapters alone": ["lora={save: adapter-only, rank: 2}"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Callable[[str], Path]:
    """The folder of a trained model of a kind, with its run file and data above it."""
    project = trained_projects(tmp_path_factory, toy_encoder, KINDS)
    return lambda kind: project(kind) / "model"


def later_run(model: Path, path: Path, **changes: dict[str, object] | None) -> Path:
    """A run file that starts from a model, with its tasks changed, or left out for None."""
    project = model.parent
    values = yaml.safe_load((project / "run.yaml").read_text(encoding="utf-8"))
    for section in values["tasks"].values():
        section["data"] = {split: str(project / file) for split, file in section["data"].items()}
    for name, change in changes.items():
        if change is None:
            values["tasks"].pop(name)
        else:
            values["tasks"][name] = {**values["tasks"].get(name, {}), **change}
    values.pop("encoder")
    values["training"] |= {"init_from": str(model), "steps": 2, "evaluate_every": 1}
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_starts_with_the_answers_of_the_model(trained: Callable[[str], Path], tmp_path: Path, kind: str) -> None:
    model = trained(kind)
    plan = build_plan(load_run(later_run(model, tmp_path / "run.yaml")), tmp_path / "out")
    before = load_bundle(model).model
    assert plan.continued == ("entities", "section", "answers", "similarity")
    ours, theirs = plan.model.state_dict(), before.state_dict()
    assert set(ours) == set(theirs)
    assert [name for name, value in theirs.items() if not torch.equal(value, ours[name])] == []
    assert plan.max_length == 48
    assert any(f"starts from {model} (continued: entities, section, answers, similarity)" in note for note in plan.notes)


def test_new_labels_extend_a_head_and_the_rows_of_old_labels_stay(trained: Callable[[str], Path], tmp_path: Path) -> None:
    model = trained("hard")
    rows = [[text, label] for text, label in zip(SENTENCES, ["RESULTS", "AIMS", "ZEAL", "AIMS", "RESULTS", "ZEAL"], strict=True)]
    write_csv(tmp_path / "sections.csv", ["text", "label"], rows)
    data = dict.fromkeys(("train", "validation"), str(tmp_path / "sections.csv"))
    words = {"tokens": ["Aspirin", "lowered", "fever"], "tags": ["B-AAA", "O", "B-Zzz"]}
    (tmp_path / "entities.jsonl").write_text(json.dumps(words) + "\n", encoding="utf-8")
    entities = dict.fromkeys(("train", "validation"), str(tmp_path / "entities.jsonl"))
    run = later_run(model, tmp_path / "run.yaml", section={"data": data}, entities={"data": entities}, answers=None)
    plan, old = build_plan(load_run(run), tmp_path / "out"), load_bundle(model)
    known = old.tasks["section"].output_names
    assert plan.tasks["section"].output_names == (*known, "AIMS", "ZEAL")
    head, before = plan.model.heads["section"].state_dict(), old.model.heads["section"].state_dict()
    for name, value in before.items():
        assert torch.equal(head[name][: len(known)], value)
    tags, tags_before = plan.tasks["entities"].output_names, old.tasks["entities"].output_names
    place = [tags.index(tag) for tag in tags_before]
    assert place == list(range(len(tags_before)))
    head, before = plan.model.heads["entities"].state_dict(), old.model.heads["entities"].state_dict()
    square = next(name for name, value in before.items() if value.shape == (len(tags_before),) * 2)
    assert torch.equal(head[square][place][:, place], before[square]), "transitions of the CRF too"
    note = next(note for note in plan.notes if note.startswith("starts from"))
    assert "continued: entities (+4 outputs), section (+2 outputs), similarity; dropped: answers" in note


def test_what_it_learned_is_a_model_like_any_other(
    trained: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = trained("private layers")
    run = later_run(model, tmp_path / "run.yaml", topic={"type": "text-classification", "data": {
        "train": str(model.parent / "data/sections.csv")}})  # fmt: skip
    assert main(["validate", str(run)]) == 0
    assert "starts from" in capsys.readouterr().out
    assert main(["train", str(run), "-o", str(tmp_path / "new")]) == 0
    assert list(mh.load(tmp_path / "new").tasks) == ["entities", "section", "answers", "similarity", "topic"]
    assert main(["evaluate", str(tmp_path / "new"), "--split", "validation"]) == 0
    saved = yaml.safe_load((tmp_path / "new" / "run.yaml").read_text(encoding="utf-8"))
    assert (tmp_path / "new" / saved["training"]["init_from"]).resolve() == model.resolve()


def test_what_does_not_go_together_is_refused(trained: Callable[[str], Path], tmp_path: Path) -> None:
    model = trained("hard")

    def refused(*overrides: str, **changes: dict[str, object] | None) -> str:
        run = later_run(model, tmp_path / "run.yaml", **changes)
        with pytest.raises((ConfigError, DataError, UsageError)) as error:
            build_plan(load_run(run, overrides), tmp_path / "out")
        return str(error.value)

    assert "training.init_from brings an encoder along; leave encoder.name out" in refused("encoder.name=all-MiniLM-L6-v2")
    assert "METHODS of the model that it starts from is not among its labels" in refused(
        section={"labels": ["RESULTS", "CONCLUSIONS", "AIMS"]})  # fmt: skip
    assert "cannot continue from" in refused(section={"hidden": 8})
    assert "is not a folder" in refused(f"training.init_from={tmp_path / 'nothing'}")
    assert start_model(load_run(model.parent / "run.yaml")) is None
