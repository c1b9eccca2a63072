"""`manyheads pick` and `manyheads review` as commands, on a toy model."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from manyheads.annotation.cross_validation import FOLDS
from manyheads.cli import main
from manyheads.start import train_run
from manyheads.training.progress import Quiet
from toys import SENTENCES, write_csv, write_jsonl

LABELS = ("Chemical", "Disease")
DRUGS = ("Aspirin", "Metformin", "cisplatin", "Ibuprofen")
ILLS = ("fever", "influenza", "Nausea", "migraine")


def sentence(number: int) -> tuple[list[str], list[str]]:
    """Tokens and tags of a sentence with a drug and a disease."""
    drug, ill = DRUGS[number % 4], ILLS[number // 4 % 4]
    words = [drug, ["lowered", "improved"][number % 2], ill, "in", "children", "."]
    return words, ["B-Chemical", "O", "B-Disease", "O", "O", "O"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    """A folder with a run file and its model; line 15 of the columns and line 9 of the table have a wrong label."""
    folder = tmp_path_factory.mktemp("planted")
    lines = []
    for number in range(48):
        words, tags = sentence(number)
        if number == 2:
            tags = ["O", *tags[1:]]
        lines.append([f"{word} {tag}" for word, tag in zip(words, tags, strict=True)])
    (folder / "entities.conll").write_text("\n\n".join("\n".join(block) for block in lines) + "\n", encoding="utf-8")
    rows: list[list[object]] = [
        [f"{DRUGS[i % 4]} was given to {i} patients" if i % 2 else f"{ILLS[i % 4]} was common in {i} hospitals",
         "METHODS" if i % 2 else "RESULTS"]
        for i in range(60)
    ]  # fmt: skip
    rows[7][1] = "RESULTS"
    write_csv(folder / "sections.csv", ["text", "label"], rows)
    (folder / "run.yaml").write_text(
        f"""
encoder: {{name: {toy_encoder}, max_length: 48}}
tasks:
  entities: {{type: token-classification, decoder: crf, data: {{train: entities.conll}}, validation_fraction: 0}}
  section: {{type: text-classification, data: {{train: sections.csv}}, validation_fraction: 0}}
training: {{recipe: none, steps: 4, tokens_per_step: 256, learning_rate: 1.0e-3, device: cpu, save_every: 0}}
output: model
""",
        encoding="utf-8",
    )
    train_run(folder / "run.yaml", None, [], Quiet())
    return folder


def test_review_lists_every_label_and_the_planted_errors_first(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["review", str(planted / "model"), str(planted / "run.yaml"), "-o", str(tmp_path / "found")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "found/suspects.jsonl").read_text(encoding="utf-8").splitlines()]
    by_task = {name: [row for row in rows if row["task"] == name] for name in ("entities", "section")}
    first = by_task["section"][0]
    assert first["where"].endswith("sections.csv:9")  # a header, and seven rows before it
    assert (first["gold"], first["suggestion"], first["suspected"]) == ("RESULTS", "METHODS", True)
    assert len(by_task["section"]) == 60
    first = by_task["entities"][0]
    assert first["where"].endswith("entities.conll:15")  # two sentences of six words and a blank line before it
    assert (first["kind"], first["gold"]) == ("missed", None)
    assert first["suggestion"] == {"start": 0, "end": 9, "label": "Chemical", "text": "cisplatin"}
    assert len(by_task["entities"]) >= 95
    qualities = [row["gold_probability"] for row in rows]
    assert qualities == sorted(qualities)
    with (tmp_path / "found/suspects.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["where"] for row in table] == [row["where"] for row in rows]
    assert "cisplatin [0:9] Chemical" in {row["suggestion"] for row in table}
    assert "review.html" in capsys.readouterr().out


def test_review_does_not_depend_on_the_order_of_the_rows(planted: Path, tmp_path: Path) -> None:
    header, *rows = (planted / "sections.csv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "sections.csv").write_text("\n".join([header, *reversed(rows)]) + "\n", encoding="utf-8")
    text = (planted / "run.yaml").read_text(encoding="utf-8")
    run = tmp_path / "run.yaml"
    run.write_text(text.replace("entities.conll", str(planted / "entities.conll")), encoding="utf-8")
    found = []
    for number, path in enumerate((planted / "run.yaml", run)):
        output = tmp_path / f"found-{number}"
        assert main(["review", str(planted / "model"), str(path), "-o", str(output), "--task", "section"]) == 0
        lines = (output / "suspects.jsonl").read_text(encoding="utf-8").splitlines()
        found.append({row["text"]: row["gold_probability"] for row in map(json.loads, lines)})
    assert found[0] == pytest.approx(found[1], abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "test"], "task 'entities' has no test data; it has train"),
        (["--task", "nothing"], "the model has no task 'nothing'; its tasks are entities, section"),
    ],
)
def test_review_refuses_what_it_cannot_do(
    planted: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "found"
    assert main(["review", str(planted / "model"), str(planted / "run.yaml"), "-o", str(output), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not output.exists()


def test_review_leaves_an_existing_folder_alone(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kept.txt").write_text("kept", encoding="utf-8")
    assert main(["review", str(planted / "model"), "-o", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_review_needs_enough_examples(planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(tmp_path / "few.csv", ["text", "label"], [[text, "AB"[i % 2]] for i, text in enumerate(SENTENCES)])
    (tmp_path / "run.yaml").write_text(
        "tasks: {section: {type: text-classification, data: {train: few.csv}, validation_fraction: 0}}",
        encoding="utf-8",
    )
    assert main(["review", str(planted / "model"), str(tmp_path / "run.yaml"), "-o", str(tmp_path / "found")]) == 2
    assert f"6 examples of 'section' are too few to review; give at least {2 * FOLDS}" in capsys.readouterr().err


def test_review_lists_every_question_with_its_answer_in_the_passage(
    toy_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = []
    for i in range(30):
        context = f"{DRUGS[i % 4]} lowered {ILLS[i // 4 % 4]} in {i} children."
        answers = [] if i % 5 == 4 else [{"text": DRUGS[i % 4], "start": 0}]
        rows.append({"id": str(i), "question": "Which drug was given?", "context": context, "answers": answers})
    write_jsonl(tmp_path / "asked.jsonl", rows)
    run = tmp_path / "run.yaml"
    run.write_text(
        f"""
encoder: {{name: {toy_encoder}, max_length: 48}}
tasks: {{answers: {{type: question-answering, data: {{train: asked.jsonl}}, validation_fraction: 0}}}}
training: {{recipe: none, steps: 2, tokens_per_step: 256, learning_rate: 1.0e-3, device: cpu, save_every: 0}}
output: model
""",
        encoding="utf-8",
    )
    train_run(run, None, [], Quiet())
    command = ["review", str(tmp_path / "model"), str(run), "-o", str(tmp_path / "found")]
    assert main(command) == 2
    told = capsys.readouterr().err
    assert "answers: not reviewed, because only an encoder that learned question-answering can judge it" in told
    assert main([*command, "--own-encoder"]) == 0
    found = [json.loads(line) for line in (tmp_path / "found/suspects.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(int(row["where"].rpartition(":")[2]) for row in found) == list(range(1, 31))
    assert sum(row["gold"] is None for row in found) == 6
    for row in found:
        for label in (row["gold"], row["suggestion"]):
            assert label is None or row["text"][label["start"] : label["end"]] == label["text"]
        assert (row["kind"] == "") == (row["gold"] == row["suggestion"])
        assert row["text"].endswith("∥ Which drug was given?")
    assert "wrong answer" not in {row["kind"] for row in found if row["gold"] is None}


def picked(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def pick(model: Path, rows: Path, output: Path, *more: str) -> int:
    return main(["pick", str(model), str(rows), "-o", str(output), "-n", "4", *more])


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    texts = [*SENTENCES, *(f"{drug} for {ill}" for drug in DRUGS for ill in ILLS), SENTENCES[0].upper()]
    return write_jsonl(folder / "rows.jsonl", [{"id": i, "text": text, "site": "A"} for i, text in enumerate(texts)])


@pytest.mark.parametrize("by", ["mixed", "margin", "entropy", "confidence", "diversity", "gradient", "random"])
def test_pick_writes_different_rows_with_answers_a_score_and_a_reason(
    planted: Path, rows: Path, tmp_path: Path, by: str
) -> None:
    tasks = ["section"] if by == "gradient" else ["entities", "section"]
    assert pick(planted / "model", rows, tmp_path / "next.jsonl", "--by", by, "--task", *tasks) == 0
    found = picked(tmp_path / "next.jsonl")
    assert len({row["text"] for row in found}) == 4
    assert [row["pick_rank"] for row in found] == [1, 2, 3, 4]
    assert all(set(row["tasks"]) == set(tasks) for row in found)  # type: ignore[call-overload]
    assert all(" or " in str(row["pick_reason"]) and row["site"] == "A" for row in found)


def test_pick_by_margin_takes_the_rows_whose_answers_are_closest(planted: Path, rows: Path, tmp_path: Path) -> None:
    assert pick(planted / "model", rows, tmp_path / "next.jsonl", "--by", "margin", "--task", "section") == 0
    assert (
        main(["predict", str(planted / "model"), str(rows), "-o", str(tmp_path / "all.jsonl"), "--task", "section"])
        == 0
    )
    gaps = {}
    for row in picked(tmp_path / "all.jsonl")[:-1]:  # the last repeats the first in capitals
        scores: Sequence[float] = sorted(row["tasks"]["section"]["scores"].values())  # type: ignore[index]
        gaps[row["id"]] = scores[-1] - scores[-2]
    expected = sorted(gaps, key=gaps.__getitem__)[:4]
    assert [row["id"] for row in picked(tmp_path / "next.jsonl")] == expected


def test_pick_leaves_out_labelled_rows_in_any_format_and_says_so(
    planted: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tmp_path / "first.jsonl"
    assert pick(planted / "model", rows, first, "--by", "margin") == 0
    known = [row["text"] for row in picked(first)]
    write_csv(tmp_path / "labelled.csv", ["text", "label"], [[known[0], "RESULTS"], [known[1], "METHODS"]])
    write_jsonl(tmp_path / "labelled.jsonl", [{"text": text, "entities": []} for text in known[2:]])
    files = [str(tmp_path / name) for name in ("labelled.csv", "labelled.jsonl")]
    assert pick(planted / "model", rows, tmp_path / "next.jsonl", "--by", "margin", "--labelled", *files) == 0
    assert not {row["text"] for row in picked(tmp_path / "next.jsonl")} & set(known)
    assert "rows already labelled" in capsys.readouterr().err


def test_pick_writes_the_formats_of_annotation_tools(planted: Path, rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "next.json"
    assert pick(planted / "model", rows, output, "--to", "label-studio", "--task", "entities") == 0
    tasks = json.loads(output.read_text(encoding="utf-8"))
    assert len(tasks) == 4
    assert all(task["data"]["pick_rank"] for task in tasks)
    assert all("predictions" in task for task in tasks)


def test_pick_by_disagreement_needs_several_models_and_prefers_rows_they_disagree_about(
    planted: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pick(planted / "model", rows, tmp_path / "none.jsonl", "--by", "disagreement") == 2
    assert "disagreement takes several models" in capsys.readouterr().err
    train_run(planted / "run.yaml", tmp_path / "other", ["training.seed=1", "training.steps=2"], Quiet())
    arguments = ["pick", str(planted / "model"), str(tmp_path / "other"), str(rows), "-o", str(tmp_path / "next.jsonl")]
    assert main([*arguments, "-n", "4", "--by", "disagreement"]) == 0
    scores = [float(str(row["pick_score"])) for row in picked(tmp_path / "next.jsonl")]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "luck"], "--by luck: rows are picked by mixed, margin"),
        (["--task", "nothing"], "the model has no task 'nothing'"),
        (["--to", "nothing"], "there is no output format 'nothing'"),
        (["--labelled", "missing.jsonl"], "missing.jsonl"),
        (["--by", "gradient"], "gradient is for one task with one label per text"),
    ],
)
def test_pick_refuses_what_it_cannot_do(
    planted: Path, rows: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pick(planted / "model", rows, tmp_path / "next.jsonl", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "next.jsonl").exists()
