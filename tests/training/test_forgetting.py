"""Tasks and labels of a model that trains on: held by its own answers, or by old rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from sklearn.metrics import f1_score

import manyheads as mh
from config.test_start_model import later_run
from manyheads.bundle import load_bundle
from manyheads.cli import main
from manyheads.compare.start_model import start_evidence
from manyheads.config.build import build_plan
from manyheads.config.dataset import read_dataset
from manyheads.config.files import load_run
from manyheads.config.start_model import start_model
from manyheads.errors import ConfigError, DataError
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.distillation import Soft
from manyheads.training.lessons import completed
from manyheads.training.plan import Plan
from manyheads.training.soft_labels import GOLD_SHARE, Supervision
from manyheads.training.stop import Stop
from manyheads.training.teaching import teach
from toys import SENTENCES, entity_rows, trained_projects, write_csv, write_jsonl


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    """A trained model with its run file and data above it."""
    return trained_projects(tmp_path_factory, toy_encoder, {"hard": []})("hard") / "model"


def planned(model: Path, folder: Path, *overrides: str, **changes: Any) -> Plan:
    return build_plan(load_run(later_run(model, folder / "run.yaml", **changes), overrides), folder / "out")


def topics(path: Path, rows: int = 6) -> dict[str, str]:
    """Data of another task, with texts of its own."""
    write_csv(path, ["text", "label"], [[f"{SENTENCES[i % 6]} Again {i}.", "ab"[i % 2]] for i in range(rows)])
    return dict.fromkeys(("train", "validation"), str(path))


KEPT = {"data": {}, "decoder": None}


def later(model: Path, path: Path, tasks: dict[str, Any], **training: Any) -> Path:
    """A run file that starts from a model."""
    values = {"tasks": tasks, "training": {"init_from": str(model), "recipe": "none", "steps": 4, "device": "cpu", **training}}
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def test_a_task_without_rows_is_kept_and_held_on_the_texts_of_the_others(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project, data = model.parent, topics(tmp_path / "topics.csv")
    run = later(model, tmp_path / "run.yaml", {
        "section": {"type": "text-classification"}, "similarity": {"type": "sentence-embedding"},
        "entities": {"type": "token-classification", "data": {"test": str(project / "data/entities.jsonl")}},
        "topic": {"type": "text-classification", "data": data}})  # fmt: skip
    made = build_plan(load_run(run), tmp_path / "out")
    assert any("(kept: section, similarity, entities; new: topic; dropped: answers)" in note for note in made.notes)
    feeds = {feed.task.name: feed for feed in made.trainer.batcher.feeds}
    assert {name: len(feed.table) for name, feed in feeds.items()} == {"section": 6, "similarity": 5, "entities": 6, "topic": 6}
    assert main(["validate", str(run)]) == 0
    assert "section is held by the answers of" in capsys.readouterr().out
    assert main(["train", str(run), "-o", str(tmp_path / "new")]) == 0
    scores = json.loads((tmp_path / "new" / "metrics.json").read_text(encoding="utf-8"))
    assert set(scores) >= {"entities", "topic"}
    assert list(mh.load(tmp_path / "new").tasks) == ["section", "similarity", "entities", "topic"]
    assert main(["evaluate", str(tmp_path / "new")]) == 0

    free = build_plan(load_run(run, ["training.prevent_forgetting=false"]), tmp_path / "out")
    assert [feed.task.name for feed in free.trainer.batcher.feeds] == ["topic"]
    assert main(["train", str(run), "-o", str(tmp_path / "free"), "--set", "training.prevent_forgetting=false"]) == 0
    old, new = (load_bundle(path).model.heads["section"].state_dict() for path in (model, tmp_path / "free"))
    assert all(torch.equal(value, new[name]) for name, value in old.items()), "its head does not train, the encoder does"


@pytest.mark.long
def test_holding_a_task_keeps_its_answers(model: Path, tmp_path: Path) -> None:
    """With the same steps on the same new task, answers stay nearer to the old ones where the task is held."""
    tasks = {"section": {"type": "text-classification"}, "topic": {"type": "text-classification", "data": topics(tmp_path / "t.csv", 24)}}
    run = later(model, tmp_path / "run.yaml", tasks, steps=30, learning_rate=2e-3, tokens_per_step=512, balancing="static")
    for name, how in (("held", "true"), ("free", "false")):
        assert main(["train", str(run), "-o", str(tmp_path / name), "--set", f"training.prevent_forgetting={how}"]) == 0

    def scores(folder: Path) -> np.ndarray:
        rows = mh.load(folder).predict([f"{text} Now {i}." for i, text in enumerate(SENTENCES)], tasks=["section"])
        return np.array([list(row["tasks"]["section"]["scores"].values()) for row in rows])

    before = scores(model)
    moved = {name: float(np.abs(scores(tmp_path / name) - before).mean()) for name in ("held", "free")}
    assert moved["held"] < 0.5 * moved["free"], moved


@pytest.mark.long
def test_tags_of_words_and_numbers_are_held_and_taught_too(toy_encoder: Path, tmp_path: Path) -> None:
    """Without rows of their own their answers stay nearer to the old ones; with rows the model is a teacher as any other."""
    write_jsonl(tmp_path / "pos.jsonl", [{"tokens": text.split(), "tags": [word[0].upper() for word in text.split()]} for text in SENTENCES])
    write_csv(tmp_path / "rating.csv", ["text", "text_pair", "value"], [[text, SENTENCES[i - 1], 10.0 + i] for i, text in enumerate(SENTENCES)])
    kinds = {"pos": ("token-tagging", "pos.jsonl"), "rating": ("text-regression", "rating.csv")}
    with_rows: dict[str, Any] = {
        name: {"type": kind, "data": dict.fromkeys(("train", "validation"), str(tmp_path / file))} for name, (kind, file) in kinds.items()}
    first = later(tmp_path, tmp_path / "first.yaml", with_rows, init_from=None, steps=40, learning_rate=5e-3, tokens_per_step=512)
    first.write_text(first.read_text() + f"encoder: {{name: {toy_encoder}, max_length: 48}}\n", encoding="utf-8")
    assert main(["train", str(first), "-o", str(tmp_path / "old")]) == 0

    tasks: dict[str, Any] = {name: {"type": kind} for name, (kind, _) in kinds.items()}
    tasks["topic"] = {"type": "text-classification", "data": topics(tmp_path / "t.csv", 24)}
    run = later(tmp_path / "old", tmp_path / "run.yaml", tasks, steps=30, learning_rate=2e-3, tokens_per_step=512, balancing="static")
    for name, how in (("held", "true"), ("free", "false")):
        assert main(["train", str(run), "-o", str(tmp_path / name), "--set", f"training.prevent_forgetting={how}"]) == 0

    def answers(folder: Path) -> dict[str, np.ndarray]:
        model = mh.load(folder)
        rows = model.predict([f"{text} Now {i}." for i, text in enumerate(SENTENCES)], tasks=["rating"])
        return {"rating": np.array([row["tasks"]["rating"]["value"] for row in rows]),
                "pos": np.concatenate([words.probabilities for words in model.word_probabilities(SENTENCES, task="pos")])}

    before, held, free = (answers(tmp_path / name) for name in ("old", "held", "free"))
    for name, old in before.items():
        assert np.abs(held[name] - old).mean() < 0.5 * np.abs(free[name] - old).mean(), name

    taught = later(tmp_path / "old", tmp_path / "taught.yaml", with_rows, teachers=dict.fromkeys(kinds, str(tmp_path / "old")))
    made = build_plan(load_run(taught), tmp_path / "out")
    assert made.teachers == tuple(f"teacher of {name}: {tmp_path / 'old'} (task '{name}'), on 6 of 6 labelled rows" for name in kinds)
    assert main(["train", str(taught), "-o", str(tmp_path / "out")]) == 0


def test_a_task_that_continues_is_blended_with_the_old_answers_from_first_to_last(model: Path, tmp_path: Path) -> None:
    made = planned(model, tmp_path)
    teach(made, lambda _: None, Stop(), score=False)
    feeds = {feed.task.name: feed for feed in made.trainer.batcher.feeds}
    assert {name for name, feed in feeds.items() if feed.soft_labels is not None} == set(made.tasks)
    [pack] = made.trainer.batcher.batch(0)
    shares = {lesson.gold_share for lessons in pack.lessons.values() for lesson in lessons}
    assert shares == {GOLD_SHARE}
    assert planned(model, tmp_path, "training.prevent_forgetting=false").teachers == ()
    named = planned(model, tmp_path, f"training.teachers={{section: {model}}}")
    assert f"teacher of section: {model} (task 'section'), on 7 of 7 labelled rows" in named.teachers, "a named teacher goes first"


def test_soft_labels_follow_renamed_merged_and_dropped_labels(model: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "new.csv", ["text", "label"], [[text, "AB"[i % 2]] for i, text in enumerate(SENTENCES)])
    data = dict.fromkeys(("train", "validation"), str(tmp_path / "new.csv"))

    def softs(labels: dict[str, str | None]) -> tuple[tuple[str, ...], np.ndarray]:
        made = planned(model, tmp_path, section={"data": data, "labels": labels})
        teach(made, lambda _: None, Stop(), score=False)
        feed = next(feed for feed in made.trainer.batcher.feeds if feed.task.name == "section")
        assert feed.soft_labels is not None
        soft = [feed.soft_labels.supervision(i, i).soft for i in range(6)]
        return feed.task.label_names, np.stack([one["chance_K"] for one in soft if one is not None])

    names, plain = softs({"RESULTS": "A"})
    assert names == ("CONCLUSIONS", "METHODS", "A", "B")
    assert np.allclose(plain.sum(1), 1)
    assert (plain[:, 3] == 0).all(), "the model knows no B"
    names, merged = softs({"RESULTS": "A", "METHODS": "A"})
    assert names == ("CONCLUSIONS", "A", "B")
    assert np.allclose(merged[:, :2], np.stack([plain[:, 0], plain[:, 1] + plain[:, 2]], 1), atol=1e-6)
    names, dropped = softs({"RESULTS": "A", "METHODS": None})
    assert np.allclose(dropped[:, :2], plain[:, [0, 2]] / plain[:, [0, 2]].sum(1, keepdims=True), atol=1e-6)


def test_rows_are_completed_with_labels_that_their_data_does_not_annotate() -> None:
    task: Any = TASK_TYPES["token-classification"](name="t", labels=("NEW", "OLD", "OTHER"))
    example = task.read({"tokens": ["a", "b", "c", "d"], "tags": ["B-NEW", "O", "O", "O"]})
    chance = np.full((4, 7), 0.01, np.float32)
    for word, tag in enumerate(["B-OLD", "B-OLD", "I-OLD", "B-OTHER"]):
        chance[word, task.output_names.index(tag)] = 0.9
    known = Supervision(gold=True, soft={"chance_WK": chance}, gold_share=GOLD_SHARE, absent=frozenset({"OLD"}))
    assert [(example.text[s:e], label) for s, e, label in completed(task, example, known).spans] == [("a", "NEW"), ("b c", "OLD")]
    several: Any = TASK_TYPES["text-classification"](name="t", labels=("a", "b", "c"), multi_label=True)
    row = several.read({"text": "x", "labels": ["a"]})
    soft: Soft = {"chance_K": np.array([0.1, 0.8, 0.9], np.float32)}
    assert completed(several, row, Supervision(True, soft, GOLD_SHARE, frozenset({"b"}))).labels == ("a", "b")
    assert completed(several, row, Supervision(True, soft, GOLD_SHARE)).labels == ("a",)


def test_old_rows_are_mixed_in_and_hold_the_task_instead_of_the_model(model: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "new.csv", ["text", "label"], [[f"{text} New.", ["FINDINGS", "METHODS", "ZEAL"][i % 3]] for i, text in enumerate(SENTENCES)])
    old = str(model.parent / "data/sections.csv")
    section = {"type": "text-classification", "labels": {"RESULTS": "FINDINGS"},
               "data": {"train": str(tmp_path / "new.csv"), "replay": old}, "validation_fraction": 0.3}  # fmt: skip
    run = later(model, tmp_path / "run.yaml", {"section": section})
    made = build_plan(load_run(run), tmp_path / "out")
    [feed] = made.trainer.batcher.feeds
    assert feed.soft_labels is None
    validation = made.validation["section"]
    assert len(feed.table) + len(validation) == 13
    assert {example.labels[0] for example in feed.table} <= {"CONCLUSIONS", "METHODS", "FINDINGS", "ZEAL"}
    assert any("sections.csv" in validation.where(i) for i in range(len(validation))), "old rows are set aside too"
    indices = feed.stream.between(0, 4 * feed.stream.tokens_per_epoch)
    assert set(indices) == set(range(len(feed.table)))
    assert main(["validate", str(run)]) == 0
    assert main(["train", str(run), "-o", str(tmp_path / "new")]) == 0
    assert main(["evaluate", str(tmp_path / "new"), "--split", "validation"]) == 0

    rehearsed = later(model, tmp_path / "kept.yaml", {"section": {"type": "text-classification", "data": {"replay": old}},
                                                      "topic": {"type": "text-classification", "data": topics(tmp_path / "t.csv")}})  # fmt: skip
    made = build_plan(load_run(rehearsed), tmp_path / "out")
    assert {feed.task.name: feed.soft_labels is None for feed in made.trainer.batcher.feeds} == {"section": True, "topic": True}


def test_labels_that_only_the_old_rows_have_are_completed_in_the_new_ones(model: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "new.jsonl", [{"tokens": text.split(), "tags": ["B-Place", *["O"] * (len(text.split()) - 1)]} for text in SENTENCES])
    entities = {"type": "token-classification", "decoder": "crf", "validation_fraction": 0,
                "data": {"train": str(tmp_path / "new.jsonl"), "replay": str(model.parent / "data/entities.jsonl")}}  # fmt: skip
    made = build_plan(load_run(later(model, tmp_path / "run.yaml", {"entities": entities})), tmp_path / "out")
    teach(made, lambda _: None, Stop(), score=False)
    [feed] = made.trainer.batcher.feeds
    assert feed.soft_labels is not None
    known = [feed.soft_labels.supervision(i, feed.examples.rows(i)[0]) for i in range(len(feed.examples))]
    absent = [one.absent for one in known]
    assert set(absent) == {frozenset({"Chemical", "Disease"}), frozenset()}
    assert absent.count(frozenset()) >= 1, "old rows are complete"
    assert {"replay", "train"} <= {name.partition(".")[2] for name in made.identity.data}


def test_what_cannot_be_kept_is_refused_before_training(model: Path, tmp_path: Path) -> None:
    topic = {"type": "text-classification", "data": topics(tmp_path / "t.csv")}

    def refused(tasks: dict[str, Any], *overrides: str) -> str:
        with pytest.raises((DataError, ConfigError)) as error:
            build_plan(load_run(later(model, tmp_path / "run.yaml", {**tasks, "topic": topic}), overrides), tmp_path / "out")
        return str(error.value)

    assert "tasks.answers has no training data, and the model's own answers cannot hold it: texts of other tasks are no input" in refused(
        {"answers": {"type": "question-answering"}})  # fmt: skip
    assert "tasks.part has no training data, so it must be a task of the model that the run starts from, which has entities (" in refused(
        {"part": {"type": "text-classification"}})  # fmt: skip
    assert "tasks.section.pooling: the task has no training data and stays as it is in the model; remove 'pooling'" in refused(
        {"section": {"type": "text-classification", "pooling": "cls"}})  # fmt: skip
    assert ":2: tasks.section.data is missing" in refused({"section": {"type": "text-classification"}}, "training.init_from=null")
    assert "tasks.section.data.train is missing" in refused(
        {"section": {"type": "text-classification", "data": {"test": "x.csv"}}}, "training.init_from=null")  # fmt: skip
    assert "tasks.part.data.replay names old rows of a task that continues from a model" in refused(
        {"part": {**topic, "data": {**topic["data"], "replay": str(tmp_path / "t.csv")}}})  # fmt: skip
    assert refused({"part": {"type": "text-classification"}}, "training.prevent_forgetting=false")


def test_a_run_on_one_kept_task_and_all_rows_resumes(model: Path, tmp_path: Path) -> None:
    """`refit` trains again on all rows: the kept task is held there too."""
    tasks = {"section": {"type": "text-classification"},
             "topic": {"type": "text-classification", "data": {"train": topics(tmp_path / "t.csv", 30)["train"]}}}  # fmt: skip
    run = later(model, tmp_path / "run.yaml", tasks, refit=True)
    assert main(["train", str(run), "-o", str(tmp_path / "new")]) == 0
    assert main(["train", str(run), "-o", str(tmp_path / "new"), "--resume"]) == 0


@pytest.mark.long
def test_compare_tells_what_the_tasks_of_the_model_lost(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = model.parent
    sections = write_csv(tmp_path / "s.csv", ["text", "label"], [
        [text, "FINDINGS" if i % 2 else "METHODS"] for i, text in enumerate(SENTENCES)])  # fmt: skip
    data = dict.fromkeys(("train", "validation", "test"), str(sections))
    pairs = {"test": str(project / "data/pairs.csv"), "replay": str(project / "data/pairs.csv")}
    run = later(model, tmp_path / "run.yaml", {
        "section": {"type": "text-classification", "data": data, "labels": {"RESULTS": "FINDINGS"}},
        "similarity": {"type": "sentence-embedding", "projection": 16, "data": pairs, "validation_fraction": 0},
    }, steps=2)  # fmt: skip
    asked = ["compare", str(run), "-o", str(tmp_path / "compared"), "--seeds", "0,1", "--singles", "twin"]
    assert main(asked) == 0
    assert f"against {model}, from which the runs start:" in capsys.readouterr().out
    start = json.loads((tmp_path / "compared" / "compare.json").read_text(encoding="utf-8"))["start"]
    assert set(start["tasks"]) == {"section", "similarity"}
    assert start["not_compared"] == {}
    before = mh.load(model).predictor
    [similarity] = set(start["tasks"]["similarity"]["single"])
    assert similarity == pytest.approx(json.loads((model / "metrics.json").read_text())["similarity"]["test"]["spearman"], abs=1e-6)
    answers = [row["tasks"]["section"]["label"] for row in before.predict([{"text": text} for text in SENTENCES], ["section"])]
    gold = ["FINDINGS" if i % 2 else "METHODS" for i in range(6)]
    renamed = [{"RESULTS": "FINDINGS"}.get(label, label) for label in answers]
    assert start["tasks"]["section"]["single"][0] == pytest.approx(macro_f1(gold, renamed), abs=1e-6)
    assert "why" not in start["tasks"]["section"], "its sentence is about sharing"
    assert "Change since the starting model" in (tmp_path / "compared" / "report.html").read_text(encoding="utf-8")


def macro_f1(gold: list[str], found: list[str]) -> float:
    return float(f1_score(gold, found, labels=sorted({*gold, *found}), average="macro", zero_division=0))


def test_answers_of_the_starting_model_follow_merged_labels_and_dropped_ones_where_they_can(model: Path, tmp_path: Path) -> None:
    """As scikit-learn and the task score mapped answers. What the mapping leaves open is not compared, and the reason is given."""
    gold = ["FINDINGS", "REST"] * 3
    sections = write_csv(tmp_path / "s.csv", ["text", "label"], [list(row) for row in zip(SENTENCES, gold, strict=True)])
    spans = [[{**span, "label": "Drug"} for span in row["entities"]] for row in entity_rows()]  # type: ignore[attr-defined]
    entities = write_jsonl(tmp_path / "e.jsonl", [{"text": text, "entities": some} for text, some in zip(SENTENCES, spans, strict=True)])

    def against(**labels: dict[str, str | None]) -> tuple[dict[str, Any], dict[str, str]]:
        files = {"section": sections, "entities": entities}
        changes: dict[str, Any] = {name: {"labels": some, "data": dict.fromkeys(("train", "validation", "test"), str(files[name]))}
                                   for name, some in labels.items()}  # fmt: skip
        file = load_run(later_run(model, tmp_path / "run.yaml", **changes))
        start = start_model(file)
        assert start is not None
        found, reasons = start_evidence(start, read_dataset(file))
        return {name: float(one.scores(np.ones((1, one.clusters)))[0]) for name, one in found.items()}, reasons

    loaded = mh.load(model)
    said = [row["label"] for row in loaded.classify(SENTENCES)]
    merged = {"RESULTS": "FINDINGS", "METHODS": "REST", "CONCLUSIONS": "REST"}
    found, reasons = against(section=merged, entities={"Chemical": "Drug", "Disease": "Drug"})
    assert found["section"] == pytest.approx(macro_f1(gold, [merged[label] for label in said]))
    task: Any = TASK_TYPES["token-classification"](name="entities", labels=("Drug",))
    answers = [[[{**span, "label": "Drug"} for span in row]] for row in loaded.entities(SENTENCES)]
    examples = [task.read(row) for row in ({"text": t, "entities": s} for t, s in zip(SENTENCES, spans, strict=True))]
    assert found["entities"] == pytest.approx(task.score(answers, examples)["f1"])
    assert reasons == {}

    dropped = dict.fromkeys(said[:1])
    found, reasons = against(section={"RESULTS": "FINDINGS", "METHODS": "REST", **dropped}, entities={"Chemical": "Drug", "Disease": None})
    assert reasons == {"section": f"the model answers {said[0]}, which the run dropped, on some of the data"}
    answers = [[[{**span, "label": "Drug"} for span in row if span["label"] == "Chemical"]] for row in loaded.entities(SENTENCES)]
    assert found["entities"] == pytest.approx(task.score(answers, examples)["f1"])
