"""Heads are added, trained again, dropped, renamed and merged, and every other head stays as it was, bit for bit."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import manyheads as mh
from heads.conftest import KINDS
from manyheads.bundle import METRICS, load_bundle, read_manifest
from manyheads.bundle.manifest import file_entries, write_manifest
from manyheads.cli import main
from manyheads.errors import TrainingError, UsageError
from manyheads.heads import folder as folders
from manyheads.heads.add import Addition, add, retrain
from manyheads.heads.command import drop, merge, rename
from manyheads.heads.forms import Form
from manyheads.training.progress import Quiet
from manyheads.training.stop import Stop
from toys import SENTENCES

ROWS = [{"text": text, "question": "What lowered fever?"} for text in SENTENCES]


def hashes(folder: Path) -> dict[str, str]:
    """Of every file."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}  # fmt: skip


def answers(model: Path, *tasks: str) -> list[str]:
    """Answers to `ROWS`, as JSON."""
    return [json.dumps(row["tasks"], sort_keys=True) for row in mh.load(model).predict(ROWS, tasks=list(tasks))]


def quiet(line: str) -> None:
    """Says nothing."""


def warned(model: Path, folder: Path, **warnings: str) -> Path:
    """A copy of a model whose scores have these warnings for test data, by task, and one about all tasks."""
    shutil.copytree(model, folder)
    scores = json.loads((folder / METRICS).read_text())
    for values in scores["_all"].values():
        values.pop("warnings", None)
    scores["_all"]["test"]["warnings"] = {"combined": "of other tasks", **warnings}
    (folder / METRICS).write_text(json.dumps(scores))
    manifest = read_manifest(folder)
    write_manifest(folder, {**manifest, "files": {**manifest["files"], **file_entries(folder, [METRICS])}})
    return folder


def warnings_of(model: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The warnings that `info` shows."""
    capsys.readouterr()
    assert main(["info", str(model)]) == 0
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]


def test_the_tasks_of_a_new_model_keep_their_warnings_under_their_new_names(
    trained: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = warned(trained("hard"), tmp_path / "model", section="finds nothing", answers="is poor")
    assert "warning: section (test): finds nothing" in warnings_of(model, capsys)
    rename(model, "section", "part", tmp_path / "renamed", quiet)
    assert warnings_of(tmp_path / "renamed", capsys) == ["warning: part (test): finds nothing", "warning: answers (test): is poor"]
    assert "part (test): finds nothing" in (tmp_path / "renamed/README.md").read_text(encoding="utf-8")
    drop(tmp_path / "renamed", ["part"], tmp_path / "dropped", quiet)
    assert warnings_of(tmp_path / "dropped", capsys) == ["warning: answers (test): is poor"]
    drop(tmp_path / "renamed", ["entities", "answers", "similarity"], tmp_path / "part", quiet)
    merge([tmp_path / "part", tmp_path / "dropped"], tmp_path / "merged", quiet)
    assert warnings_of(tmp_path / "merged", capsys) == ["warning: part (test): finds nothing", "warning: answers (test): is poor"]


@pytest.mark.long
def test_added_and_retrained_tasks_have_the_warnings_of_their_training_and_the_others_keep_theirs(
    trained: Callable[[str], Path], more: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(
        "manyheads.training.model_folder.head_warnings", lambda tasks, *_: dict.fromkeys(tasks, "is bad")
    )
    model = warned(trained("hard"), tmp_path / "model", section="finds nothing", answers="is poor")
    old = ["warning: section (test): finds nothing", "warning: answers (test): is poor"]
    add(Addition(model, more("hard", topic="section"), tmp_path / "added", (), Form("head")), Quiet(), Stop())
    new = ["warning: topic (validation): is bad", "warning: topic (test): is bad"]
    assert sorted(warnings_of(tmp_path / "added", capsys)) == sorted([*old, *new])
    asked = Addition(model, more("hard", section="section"), tmp_path / "again", (), Form("head"))
    retrain(asked, "section", Quiet(), Stop())
    new = ["warning: section (validation): is bad", "warning: section (test): is bad"]
    assert sorted(warnings_of(tmp_path / "again", capsys)) == sorted([old[1], *new])


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_the_other_tasks_of_a_model_answer_the_same_when_one_is_dropped_and_another_renamed(
    trained: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    model = trained(kind)
    before = hashes(model)
    rest = ["section", "answers", "similarity"]
    drop(model, ["entities"], tmp_path / "dropped", quiet)
    assert list(mh.load(tmp_path / "dropped").tasks) == rest
    assert answers(tmp_path / "dropped", *rest) == answers(model, *rest)
    rename(tmp_path / "dropped", "section", "part", tmp_path / "renamed", quiet)
    assert list(mh.load(tmp_path / "renamed").tasks) == ["part", "answers", "similarity"]
    [found] = {row.replace('"part"', '"section"') for row in answers(tmp_path / "renamed", "part")[:1]}
    assert found == answers(model, "section")[0]
    assert hashes(model) == before
    manifest = json.loads((tmp_path / "renamed" / "manyheads.json").read_text())
    [unchanged] = manifest["unchanged"]
    assert unchanged["model"] == load_bundle(tmp_path / "dropped").hash
    assert unchanged["tasks"] == {"section": "part", "answers": "answers", "similarity": "similarity"}
    assert unchanged["texts"] > 10
    assert main(["evaluate", str(tmp_path / "renamed"), "--task", "part"]) == 0, "its run file still finds the data"


FORMS = ("head", "top:1", "top:2", "lora")
ADDED = [pytest.param(kind, own, marks=[] if kind == "hard" or own == "top:1" else [pytest.mark.slow]) for kind in KINDS for own in FORMS]
"""By default every form on a plain model, and one form on models of every kind."""


@pytest.mark.long
@pytest.mark.parametrize(("kind", "own"), ADDED)
def test_a_task_is_added_in_every_form_to_models_of_every_kind(
    trained: Callable[[str], Path], more: Callable[..., Path], tmp_path: Path, kind: str, own: str
) -> None:
    model, new = trained(kind), tmp_path / "new"
    old = list(mh.load(model).tasks)
    lines = add(Addition(model, more(kind, topic="section"), new, (), Form.parse(own)), Quiet(), Stop())
    assert [line.partition(",")[0] for line in lines] == [f"topic: {own}"]
    assert list(mh.load(new).tasks) == [*old, "topic"]
    assert answers(new, *old) == answers(model, *old)
    assert not (tmp_path / "new.training").exists()
    scores = json.loads((new / "metrics.json").read_text())
    assert {"validation", "test"} <= set(scores["topic"])
    assert scores["entities"] == json.loads((model / "metrics.json").read_text())["entities"]


@pytest.mark.long
def test_without_own_the_cheapest_form_near_the_task_alone_is_taken(
    trained: Callable[[str], Path], more: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = more("hard", topic="section", sense="similarity")
    assert main(["add", str(trained("hard")), str(run), "-o", str(tmp_path / "new")]) == 0
    told = capsys.readouterr()
    assert "topic: " in told.out
    assert "(alone " in told.out
    assert "unchanged, bit for bit, on " in told.err
    assert list(mh.load(tmp_path / "new").tasks)[-2:] == ["topic", "sense"]


@pytest.mark.long
def test_a_task_is_trained_again_and_the_others_stay(
    trained: Callable[[str], Path], more: Callable[..., Path], tmp_path: Path
) -> None:
    model, new = trained("private layers"), tmp_path / "new"
    retrain(Addition(model, more("private layers", section="section"), new, (), Form("top", 1)), "section", Quiet(), Stop())
    rest = ["entities", "answers", "similarity"]
    assert answers(new, *rest) == answers(model, *rest)
    assert answers(new, "section") != answers(model, "section")


@pytest.mark.long
def test_models_on_one_encoder_are_merged(trained: Callable[[str], Path], more: Callable[..., Path], tmp_path: Path) -> None:
    model = trained("hard")
    for name, own in (("topic", "head"), ("sense", "top:1")):
        like = {"topic": "section", "sense": "similarity"}[name]
        add(Addition(model, more("hard", **{name: like}), tmp_path / f"with {name}", (), Form.parse(own)), Quiet(), Stop())
        drop(tmp_path / f"with {name}", ["entities", "answers", "similarity", "section"], tmp_path / name, quiet)
    merge([model, tmp_path / "topic", tmp_path / "sense"], tmp_path / "all", quiet)
    assert list(mh.load(tmp_path / "all").tasks) == [*mh.load(model).tasks, "topic", "sense"]
    for part in (model, tmp_path / "topic", tmp_path / "sense"):
        names = list(mh.load(part).tasks)
        assert answers(tmp_path / "all", *names) == answers(part, *names)
    assert main(["export", str(tmp_path / "all"), "--to", "onnx", "-o", str(tmp_path / "onnx")]) == 0


def test_a_weight_that_moved_by_a_hair_is_noticed_and_nothing_is_written(
    trained: Callable[[str], Path], more: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assemble = folders.assemble

    def moved(*arguments: object) -> object:
        model, tasks = assemble(*arguments)  # type: ignore[arg-type]
        with torch.no_grad():
            next(p for n, p in model.encoder.named_parameters() if "layer.0" in n and p.ndim == 2)[0, 0] += 1e-7
        return model, tasks

    monkeypatch.setattr(folders, "assemble", moved)
    addition = Addition(trained("hard"), more("hard", topic="section"), tmp_path / "new", (), Form("head"))
    with pytest.raises(TrainingError, match=r"task 'entities' does not stay as it was: the weight encoder\..*layer\.0.* differs"):
        add(addition, Quiet(), Stop())
    assert [path.name for path in tmp_path.iterdir() if path.name != "more.yaml"] == ["new.training"]


@pytest.mark.long
def test_what_cannot_be_is_refused_before_training(
    trained: Callable[[str], Path], more: Callable[..., Path], tmp_path: Path
) -> None:
    model, new = trained("hard"), tmp_path / "new"

    def refused(run: Path, own: Form | None = None, *overrides: str) -> str:
        with pytest.raises(UsageError) as error:
            add(Addition(model, run, new, overrides, own), Quiet(), Stop())
        assert not new.exists()
        assert not new.with_name("new.training").exists()
        return str(error.value)

    assert "has a task 'section' already (its tasks: entities, section, answers, similarity); use `manyheads retrain`" in refused(
        more("hard", section="section"))  # fmt: skip
    run = more("hard", topic="section")
    assert "--own top:9: the encoder has 2 layers" in refused(run, Form("top", 9))
    assert "the model reads windows of 48 tokens; leave it out" in refused(run, None, "encoder.max_length=32")
    assert "leave sharing and lora out, and use --own" in refused(run, None, "lora={}")
    with pytest.raises(UsageError, match="has no task 'topic'; its tasks are entities"):
        retrain(Addition(model, run, new), "topic", Quiet(), Stop())
    with pytest.raises(UsageError, match=r"is of type text-classification in .* and sentence-embedding in"):
        retrain(Addition(model, more("hard", section="similarity"), new), "section", Quiet(), Stop())
    with pytest.raises(UsageError, match=r"none of head, top:N"):
        Form.parse("all")
    with pytest.raises(UsageError, match="keeps at least one task"):
        drop(model, list(mh.load(model).tasks), new, quiet)
    with pytest.raises(UsageError, match="has a task 'answers' already"):
        rename(model, "section", "answers", new, quiet)
    with pytest.raises(UsageError, match="must start with a letter"):
        rename(model, "section", "1st", new, quiet)
    drop(trained("shared adapter"), ["entities", "answers", "similarity"], tmp_path / "other", quiet)
    rename(tmp_path / "other", "section", "part", tmp_path / "one", quiet)
    with pytest.raises(UsageError, match=r"the encoder of .* has other weights"):
        merge([model, tmp_path / "one"], new, quiet)
    (tmp_path / "same").symlink_to(model)
    with pytest.raises(UsageError, match=r"both .* have a task 'entities'"):
        merge([model, tmp_path / "same"], new, quiet)
    with pytest.raises(UsageError, match="is given twice; merge takes different models"):
        merge([model, model], new, quiet)
    with pytest.raises(UsageError, match=r"/new cannot be created \(Not a directory\)"):
        drop(model, ["section"], run / "new", quiet)
    (tmp_path / "there").mkdir()
    shutil.copy(run, tmp_path / "there")
    with pytest.raises(UsageError, match="exists already; give another -o"):
        drop(model, ["section"], tmp_path / "there", quiet)


@pytest.mark.long
def test_a_head_grows_new_labels_without_rows_of_the_old_ones(
    trained: Callable[[str], Path], more: Callable[..., Path], tmp_path: Path
) -> None:
    model, new = trained("adapters per task"), tmp_path / "new"
    run = more("adapters per task", section="section")
    (tmp_path / "sections.csv").write_text("text,label\n" + "".join(
        f"{text},{label}\n" for text, label in zip(SENTENCES, ["AIMS", "ZEAL"] * 3, strict=True)), encoding="utf-8")  # fmt: skip
    sections = ",".join(f"{split}: {tmp_path / 'sections.csv'}" for split in ("train", "validation")).replace(":", ": ")
    overrides = (f"tasks.section.data={{{sections}}}",)
    retrain(Addition(model, run, new, overrides, Form("head")), "section", Quiet(), Stop())
    old, grown = load_bundle(model), load_bundle(new)
    known = old.tasks["section"].output_names
    assert grown.tasks["section"].output_names == (*known, "AIMS", "ZEAL")
    rest = ["entities", "answers", "similarity"]
    assert answers(new, *rest) == answers(model, *rest)


def test_a_head_without_weights_is_added_as_it_is(
    trained: Callable[[str], Path], more: Callable[..., Path], tmp_path: Path
) -> None:
    run = more("hard", sense="similarity")
    overrides = ("tasks.sense.projection=null",)
    [line] = add(Addition(trained("hard"), run, tmp_path / "new", overrides, Form("head")), Quiet(), Stop())
    assert line.startswith("sense: head, ")
    assert mh.load(tmp_path / "new").embed(["a"], task="sense").shape[0] == 1
