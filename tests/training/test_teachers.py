"""Learning from teachers: models and files of soft labels, on labelled and unlabelled rows, end to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import manyheads as mh
from manyheads.cli import main
from manyheads.errors import CheckpointError, DataError
from manyheads.report.baselines import baseline_parts
from manyheads.report.summary import TEACHER, training_summary
from manyheads.training.lessons import annealed
from manyheads.training.plan import Plan
from manyheads.training.stop import Stop
from manyheads.training.teaching import teach
from plans import assert_equal, plan, stepped
from runs import PulledError, Watch, assert_same, history, outcome, run_training, went
from toys import SENTENCES, write_csv, write_jsonl

Run = Callable[..., Path]

SHORT = ("training.steps=6", "training.evaluate_every=3", "training.save_every=1")


def texts(count: int) -> list[tuple[str, str]]:
    """Texts of two kinds, with the word that tells which."""
    starts = ("Aspirin lowered", "Metformin improved", "We measured", "Ibuprofen may be", "The trial enrolled")
    ends = ("in children", "in patients", "before treatment", "after treatment", "in three hospitals")
    return [
        (
            f"{starts[i % 5]} {'fever' if i % 2 else 'glucose'} {ends[(i // 5) % 5]} {i}.",
            "FEVER" if i % 2 else "GLUCOSE",
        )
        for i in range(count)
    ]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Run:
    """Writes a run file with one task `section` in a folder of its own."""

    def written(rows: int = 40, keys: str = "", name: str = "run") -> Path:
        folder = tmp_path_factory.mktemp(name)
        write_csv(folder / "train.csv", ["text", "label"], [list(pair) for pair in texts(rows)])
        write_csv(folder / "dev.csv", ["text", "label"], [list(pair) for pair in texts(60)[40:]])
        (folder / "run.yaml").write_text(
            f"encoder: {{name: {toy_encoder}, max_length: 48}}\n"
            "tasks:\n  section: {type: text-classification, data: {train: train.csv, validation: dev.csv}}\n"
            "training:\n  recipe: none\n  steps: 40\n  tokens_per_step: 256\n  learning_rate: 2.0e-3\n"
            f"  evaluate_every: 20\n  device: cpu\n{keys}output: model\n",
            encoding="utf-8",
        )
        return folder / "run.yaml"

    return written


@pytest.fixture(scope="session")
def teacher(run: Run) -> Path:
    """A model that knows the two kinds."""
    made = plan(run(name="teacher"))
    went(made)
    assert json.loads((made.output / "metrics.json").read_text())["section"]["validation"]["accuracy"] == 1.0
    return made.output


def taught(teacher: Path, *more: str) -> str:
    return f"  teachers: {{section: {{{', '.join([f'model: {teacher}', *more])}}}}}\n"


def chances(model: Path, asked: list[str]) -> np.ndarray:
    """What a model says of texts, its scores in the order of names of labels."""
    rows = mh.load(model).predict(asked)
    return np.array([[row["tasks"]["section"]["scores"][label] for label in ("FEVER", "GLUCOSE")] for row in rows])


def still(path: Path, *keys: str) -> Plan:
    """A plan without dropout or clipping, its teachers asked."""
    made = plan(path, "training.clip=1e9", "training.warmup=0", *keys)
    for module in made.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    teach(made, lambda _: None, Stop(), score=False)
    return made


def test_a_student_that_has_few_labels_learns_the_teachers_answers_from_unlabelled_rows(
    run: Run, teacher: Path
) -> None:
    more = [{"text": text} for text, _ in texts(80)]
    path = run(2, taught(teacher, "unlabelled: more.jsonl"))
    write_jsonl(path.parent / "more.jsonl", more)  # type: ignore[arg-type]
    made = plan(path)
    watch = went(made)
    [feed] = made.trainer.batcher.feeds
    assert len(feed.table) == 82
    assert [feed.table.is_labelled(i) for i in (0, 1, 2, 81)] == [True, True, False, False]
    asked = [text for text, _ in texts(100)[80:]]
    seen, said = chances(made.output, asked), chances(teacher, asked)
    assert (seen.argmax(1) == said.argmax(1)).all()
    assert watch.lines("taught by") == [f"section: taught by {teacher} (task 'section') on 82 of 82 texts"]
    assert watch.lines("the teacher scores 1.0000 on validation data")
    assert [row["teacher"] for row in history(made.output) if "teacher" in row] == ["section"]
    facts = training_summary(made.output, mh.load(made.output).predictor, made.validation)
    assert facts.tasks["section"].baselines[TEACHER] == 1.0
    assert "its teacher" in repr(baseline_parts(facts.tasks))


def test_gold_labels_take_over_linearly() -> None:
    assert [annealed(step, 4) for step in range(6)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


def test_a_step_has_the_blend_of_both_losses_and_each_alone_where_there_is_one(run: Run, teacher: Path) -> None:
    """The first step is the teacher's alone on labelled rows; half way both count the same."""
    made = still(run(8, taught(teacher)), "training.steps=4", "training.fit_heads=false")
    trainer, task = made.trainer, made.tasks["section"]
    trainer.prepare(made.phases[0])
    [batch] = trainer.batcher.batch(0)
    [lesson] = batch.lessons["section"]
    assert lesson.gold is not None
    assert lesson.soft is not None
    with torch.no_grad():
        output = made.model(batch.pack, batch.reads)["section"]
        logits = output["logits_SK"]
        gold = torch.nn.functional.cross_entropy(logits, lesson.gold["label_BK"].argmax(-1))
        chance = lesson.soft["chance_BK"]
        divergence = torch.nn.functional.kl_div(logits.log_softmax(-1), chance, reduction="batchmean")
        entropy = -(chance * chance.log()).sum(-1).mean()
    for step, weight in ((0, 0.0), (2, 0.5), (4, 1.0)):
        sums = trainer.gradients.of(step, [batch])
        expected = (weight * gold + (1 - weight) * (divergence + entropy)) / np.log(2)
        assert float(sums["section"]) == pytest.approx(float(expected), rel=1e-5)
    assert task.distillation is not None


@pytest.mark.long
def test_a_taught_run_that_is_cut_off_goes_on_bit_for_bit(
    run: Run, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run(12, taught(teacher, "unlabelled: [more.jsonl]"))
    write_jsonl(path.parent / "more.jsonl", [{"text": text} for text, _ in texts(30)[12:]])  # type: ignore[arg-type]
    monkeypatch.setenv("MANYHEADS_CACHE", str(path.parent / "whole"))
    whole = plan(path, *SHORT, "output=whole-run")
    went(whole)
    for name, cut in (("same", 1), ("other", 4)):
        monkeypatch.setenv("MANYHEADS_CACHE", str(path.parent / name))
        with pytest.raises(PulledError):
            run_training(plan(path, *SHORT, f"output={name}-run"), Watch(pull=cut))
        again = plan(path, *SHORT, f"output={name}-run")
        watch = went(again, resume=True)
        assert watch.lines("its answers were kept from before")
        seen, expected = outcome(again), outcome(whole)
        assert seen.pop("run.yaml") == expected.pop("run.yaml")
        assert_same(seen, expected)


@pytest.mark.long
def test_the_teacher_is_asked_once_for_all_seeds_and_for_the_run_on_all_rows(run: Run, teacher: Path) -> None:
    path = run(40, taught(teacher) + "  refit: true\n")
    text = path.read_text().replace(", validation: dev.csv", "")
    path.write_text(text)
    first, second = (went(plan(path, *SHORT, f"training.seed={seed}", f"output=seed-{seed}")) for seed in (1, 2))
    assert len(first.lines("taught by")) == 2
    assert len(second.lines("kept from before")) == 2


def test_what_cannot_teach_is_refused_before_training_with_all_mistakes_at_once(
    run: Run, teacher: Path, young_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run(4, "  teachers:\n"
               f"    section: {young_model}\n    sections: {teacher}\n    other: nowhere/to-be/found\n")  # fmt: skip
    for verb in ("train", "validate"):
        assert main([verb, str(path)]) == 2
        said = "".join(capsys.readouterr())
        assert (
            "training.teachers.sections: there is no task 'sections'; did you mean 'section'? (tasks: section)"
            in said
        )
        assert "training.teachers.other: there is no task 'other'" in said
        assert "the teacher's are CONCLUSIONS, METHODS, RESULTS; the task's are FEVER, GLUCOSE" in said
        assert "it lacks FEVER, GLUCOSE" in said
    assert not (path.parent / "model").exists()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("{model: nowhere}", "training.teachers.section: .*nowhere"),
        ("{model: TEACHER, task: none}", "has no task 'none'; its tasks are section"),
        (
            "{model: YOUNG, task: answers}",
            "task 'answers' of .* is question-answering, and this one is text-classification",
        ),
        ("{model: TEACHER, unlabelled: no.jsonl}", "no.jsonl"),
        ("{model: TEACHER, unlabelled: bad.jsonl}", "bad.jsonl:2: has no 'text'"),
        ("soft.jsonl", "soft.jsonl"),
        ("bad.jsonl", "bad.jsonl:1: has no 'scores'"),
        ("labels.jsonl", "labels.jsonl:1: 'scores' has the labels A, FEVER, and the task has FEVER, GLUCOSE"),
        ("sums.jsonl", "sums.jsonl:1: 'scores' add up to 1.3, not to 1"),
        ("twice.jsonl", "twice.jsonl:2: has the same text as .*twice.jsonl:1 but different soft labels"),
        ("strange.jsonl", "soft labels for none of the 4 training rows"),
    ],
)
def test_each_mistake_is_told_with_its_place(
    run: Run, teacher: Path, young_model: Path, given: str, expected: str
) -> None:
    key = given.replace("TEACHER", str(teacher)).replace("YOUNG", str(young_model))
    path = run(4, f"  teachers: {{section: {key}}}\n")
    known = texts(1)[0][0]
    files: dict[str, list[dict[str, Any]]] = {
        "bad": [{"text": "fine"}, {"label": "x"}],
        "labels": [{"text": known, "scores": {"FEVER": 0.5, "A": 0.5}}],
        "sums": [{"text": known, "scores": {"FEVER": 0.5, "GLUCOSE": 0.8}}],
        "twice": [{"text": known, "scores": {"FEVER": p, "GLUCOSE": 1 - p}} for p in (0.5, 0.25)],
        "strange": [{"text": "unheard of", "scores": {"FEVER": 0.5, "GLUCOSE": 0.5}}],
    }
    for name, rows in files.items():
        write_jsonl(path.parent / f"{name}.jsonl", rows)
    with pytest.raises(DataError, match=expected):
        plan(path)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("{}", "a teacher is either a model or a file of soft labels"),
        ("{model: a, file: b.jsonl}", "a teacher is either a model or a file of soft labels"),
        ("{file: b.jsonl, task: x}", "a file of soft labels has no heads; remove task"),
        ("{modle: a}", "unknown key 'training.teachers.section.modle'"),
    ],
)
def test_a_teacher_that_says_too_much_or_nothing_is_a_mistake_of_the_run_file(
    run: Run, given: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run(4, f"  teachers: {{section: {given}}}\n")
    assert main(["validate", str(path)]) == 2
    assert expected in capsys.readouterr().err


def test_what_predict_writes_of_the_training_rows_teaches_as_the_model_does(run: Run, teacher: Path) -> None:
    """But for six decimals, and for the temperature that the scores of a file have."""
    path = run(6, "  teachers: {section: soft.jsonl}\n")
    asked = [text for text, _ in texts(6)][:5]
    rows = mh.load(teacher).predict(asked)
    write_jsonl(path.parent / "soft.jsonl", [{"text": text, **row} for text, row in zip(asked, rows, strict=True)])
    made = plan(path, *SHORT)
    watch = went(made)
    assert watch.lines("taught by soft.jsonl on 5 of 6 texts") or watch.lines("soft.jsonl on 5 of 6 texts")
    [batch] = made.trainer.batcher.batch(0)
    alone, both = batch.lessons["section"]
    assert (alone.soft, alone.denominator, both.denominator) == (None, len(alone.gold["label_BK"]), len(both.soft["chance_BK"]))  # type: ignore[index,arg-type]


def test_validate_says_who_teaches_how_many_rows(run: Run, teacher: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run(12, taught(teacher, "unlabelled: more.jsonl"))
    write_jsonl(path.parent / "more.jsonl", [{"text": text} for text, _ in texts(5)])  # type: ignore[arg-type]
    assert main(["validate", str(path)]) == 0
    expected = f"teacher of section: {teacher} (task 'section'), on 12 of 12 labelled rows and 5 without labels"
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    "keys",
    [
        ("training.balancing=equal-norm",), ("training.anchor=0.5",), ("training.max_tokens_per_pack=64",),
        ("training.fit_heads=true",), ("training.freeze={layers: 1}",),
    ],
)  # fmt: skip
def test_teachers_go_with_other_ways_to_train(run: Run, teacher: Path, keys: tuple[str, ...]) -> None:
    made = plan(run(12, taught(teacher)), *SHORT, *keys)
    assert len(went(made).records) == 6


def test_a_step_in_small_packs_has_the_gradient_of_the_whole(run: Run, teacher: Path) -> None:
    path = run(12, taught(teacher, "unlabelled: more.jsonl"))
    write_jsonl(path.parent / "more.jsonl", [{"text": text} for text, _ in texts(30)[12:]])  # type: ignore[arg-type]
    found = []
    for keys in ((), ("training.max_tokens_per_pack=48",)):
        made = still(path, *SHORT, *keys)
        found.append(stepped(made, 3))
    (whole, one), (parts, many) = found
    assert many.packs > one.packs
    assert many.losses == pytest.approx(one.losses, rel=1e-5)
    assert_equal(parts, whole)


FOUR = """  teachers:
    entities: {model: MODEL, unlabelled: more/texts.jsonl}
    section: {model: MODEL, unlabelled: [more/texts.jsonl]}
    answers: {model: MODEL, unlabelled: more/questions.jsonl}
    similarity: {model: MODEL, unlabelled: more/pairs.csv}
"""


@pytest.fixture
def four(project: Path, young_model: Path) -> Path:
    """The project with teachers for its four tasks, and rows that they alone label."""
    text = project.read_text(encoding="utf-8").replace(
        "  steps: 12\n", f"  steps: 6\n{FOUR.replace('MODEL', str(young_model))}"
    )
    project.write_text(text.replace("evaluate_every: 6", "evaluate_every: 3"), encoding="utf-8")
    more = project.parent / "more"
    write_jsonl(more / "texts.jsonl", [{"text": f"{a} {b}"} for a in SENTENCES[:3] for b in SENTENCES[3:]])
    write_jsonl(more / "questions.jsonl", [{"question": "What fell?", "context": sentence} for sentence in SENTENCES])
    write_csv(more / "pairs.csv", ["text_a", "text_b"], [list(pair) for pair in pairwise(SENTENCES)])
    return project


@pytest.mark.parametrize("method", ["pcgrad", "adatask", "gradnorm"])
def test_gradients_of_each_task_are_those_of_its_taught_loss(four: Path, method: str) -> None:
    made = still(four, f"training.balancing={method}")
    _, record = stepped(made, 2)
    assert sorted(record.losses) == ["answers", "entities", "section", "similarity"]


@pytest.mark.long
def test_all_kinds_of_tasks_are_taught_together_and_go_on_bit_for_bit(
    four: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ("training.balancing=equal-norm", "training.save_every=1")
    monkeypatch.setenv("MANYHEADS_CACHE", str(four.parent / "whole"))
    whole = plan(four, *keys, "output=runs/whole")
    watch = went(whole)
    assert len(watch.lines("taught by")) == len(watch.lines("the teacher scores")) == 4
    monkeypatch.setenv("MANYHEADS_CACHE", str(four.parent / "parts"))
    with pytest.raises(PulledError):
        run_training(plan(four, *keys, "output=runs/parts"), Watch(pull=3))
    again = plan(four, *keys, "output=runs/parts")
    went(again, resume=True)
    seen, expected = outcome(again), outcome(whole)
    del seen["run.yaml"], expected["run.yaml"]
    assert_same(seen, expected)


def test_answers_that_predict_wrote_teach_every_kind_of_task_that_has_scores(four: Path, young_model: Path) -> None:
    model, folder = mh.load(young_model), four.parent
    text = four.read_text(encoding="utf-8")
    start, stop = text.index("  teachers:"), text.index("  tokens_per_step")
    soft = {
        "entities": [{"text": sentence} for sentence in SENTENCES],
        "section": [{"text": sentence} for sentence in SENTENCES],
        "answers": [{"question": "What lowered fever?", "context": SENTENCES[0]}],
    }
    for name, rows in soft.items():
        said = model.predict([dict(row) for row in rows], tasks=name)
        write_jsonl(folder / f"{name}-soft.jsonl", [{**row, **answer} for row, answer in zip(rows, said, strict=True)])
    teachers = "".join(f"    {name}: {name}-soft.jsonl\n" for name in soft)
    four.write_text(f"{text[:start]}  teachers:\n{teachers}{text[stop:]}", encoding="utf-8")
    watch = went(plan(four))
    assert sorted(line.rpartition(" on ")[2] for line in watch.lines("taught by")) == [
        "1 of 4 texts",
        "6 of 6 texts",
        "6 of 7 texts",
    ]


def test_the_folder_of_a_taught_model_names_its_teachers_from_where_it_lies(four: Path) -> None:
    import yaml

    made = plan(four)
    went(made)
    section = yaml.safe_load((made.output / "run.yaml").read_text())["training"]["teachers"]["entities"]
    assert (made.output / section["model"] / "manyheads.json").is_file()
    assert (made.output / section["unlabelled"]).is_file()
    assert main(["evaluate", str(made.output), "--task", "section"]) == 0


def test_a_run_does_not_go_on_with_another_teacher(run: Run, teacher: Path, tmp_path: Path) -> None:
    path = run(6, "  teachers: {section: soft.jsonl}\n")
    for first in (0.25, 0.75):
        rows: list[dict[str, Any]] = [
            {"text": text, "scores": {"FEVER": first, "GLUCOSE": 1 - first}} for text, _ in texts(6)
        ]
        write_jsonl(path.parent / "soft.jsonl", rows)
        made = plan(path, *SHORT)
        if first == 0.25:
            with pytest.raises(PulledError):
                run_training(made, Watch(pull=3))
        else:
            with pytest.raises(CheckpointError, match=r"the data of section\.teacher has changed"):
                run_training(made, Watch(), resume=True)
