"""`manyheads demo` with a small project in place of its own: the table, with and without the heads trained alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from manyheads import demo
from manyheads.cli import main
from manyheads.demo import alone
from manyheads.start import train_run
from manyheads.training.progress import Quiet

HEADS = ("entities", "section", "answers", "similarity")
Rows = dict[str, list[float]]


@pytest.fixture
def run(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    values = yaml.safe_load(project.read_text(encoding="utf-8"))
    values["training"] = {"steps": 4, "tokens_per_step": 128, "evaluate_every": 4, "device": "cpu", "seed": 0}
    project.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    monkeypatch.setattr(demo, "RUN", project)
    return project


def rows_of(text: str) -> Rows:
    """The numbers of the table, by head."""
    found = {}
    for line in text.splitlines():
        if line.startswith(HEADS) and (numbers := re.findall(r"-?\d\.\d{3}", line)):
            found[line.split()[0]] = [float(number) for number in numbers]
    return found


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["demo", *arguments]) == 0
    return capsys.readouterr().out


def main_scores(folder: Path, split: str) -> dict[str, float]:
    scores = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    names = {"entities": "f1", "section": "macro_f1", "answers": "f1", "similarity": "spearman"}
    return {name: round(scores[name][split][metric], 3) for name, metric in names.items()}


@pytest.mark.long
def test_the_table_compares_the_heads_with_baselines_and_says_how_to_see_them_alone(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "demo"
    text = shown(capsys, "--output", str(output))
    rows = rows_of(text)
    assert set(rows) == set(HEADS)
    assert {len(numbers) for numbers in rows.values()} == {4}, "chance, frozen, together; and on test data"
    assert {name: numbers[2] for name, numbers in rows.items()} == main_scores(output, "validation")
    assert {name: numbers[3] for name, numbers in rows.items()} == main_scores(output, "test")
    assert "--alone also trains a model for each head, which takes about as long again" in text
    assert not re.search(r"\balone +together\b", text)


@pytest.mark.long
def test_alone_fills_a_column_from_models_of_one_head_and_keeps_the_model_that_is_there(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "demo"
    first = rows_of(shown(capsys, "--output", str(output)))
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    text = shown(capsys, "--output", str(output), "--alone")
    rows = rows_of(text)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    assert re.search(r"chance +frozen +alone +together +alone +together", text)
    assert {len(numbers) for numbers in rows.values()} == {6}
    for name, (chance, frozen, _, together, _, test) in rows.items():
        assert [chance, frozen, together, test] == first[name], "what was there before stays"
    assert list(tmp_path.glob("**/manyheads.json")) == [output / "manyheads.json"], "single models are not kept"


@pytest.mark.long
def test_a_head_alone_scores_as_a_run_file_with_one_task_that_reads_its_data_as_often(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, dict[str, Any]] = {}
    settings_alone = alone.settings_alone

    def watched(*given: Any) -> dict[str, dict[str, Any]]:
        seen.update(settings_alone(*given))
        return seen

    monkeypatch.setattr(alone, "settings_alone", watched)
    rows = rows_of(shown(capsys, "--output", str(tmp_path / "demo"), "--alone"))
    values = yaml.safe_load(run.read_text(encoding="utf-8"))
    assert set(seen["section"]) == {"epochs", "tokens_per_step", "evaluate_every"}
    epochs = seen["section"]["epochs"]
    assert epochs > 0
    values |= {
        "tasks": {"section": values["tasks"]["section"]},
        "training": {"epochs": epochs, "device": "cpu", "seed": 0},
    }
    single = run.parent / "single.yaml"
    single.write_text(yaml.safe_dump(values), encoding="utf-8")
    _, scores = train_run(single, tmp_path / "single", (), Quiet())
    assert rows["section"][2] == round(scores["section"]["validation"]["macro_f1"], 3)
    assert rows["section"][4] == round(scores["section"]["test"]["macro_f1"], 3)


@pytest.mark.long
def test_ctrl_c_while_heads_train_alone_keeps_the_shared_model_and_says_so(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Iterator[Any]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(alone, "train_alone", interrupted)
    output = tmp_path / "demo"
    assert main(["demo", "--output", str(output), "--alone"]) == 75
    assert f"stopped by Ctrl-C; {output} has the model with all heads" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr(demo, "RUN", run)
    assert len(rows_of(shown(capsys, "--output", str(output), "--alone"))["answers"]) == 6


@pytest.mark.long
def test_a_folder_with_another_model_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "demo"
    shown(capsys, "--output", str(output))
    values = yaml.safe_load(run.read_text(encoding="utf-8"))
    values["training"]["steps"] = 5
    run.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    assert main(["demo", "--output", str(output), "--alone"]) == 2
    assert "contains the finished model of another run file" in capsys.readouterr().err
