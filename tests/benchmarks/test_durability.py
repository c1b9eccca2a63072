"""The durability benchmark finds what it looks for: equal runs are equal, and those that are not are told apart."""

import json
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE, RESULTS = ROOT / "docs" / "durability.md", ROOT / "docs" / "results" / "durability.json"


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Gives a module of the benchmark."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return lambda name: import_module(f"durability.{name}")


@pytest.fixture
def small(part: Callable[[str], ModuleType], tmp_path: Path) -> Any:
    """A project of 12 steps."""
    quick = {"fit_heads": False}  # conftest.py has it solve heads otherwise than processes of their own
    return part("project").make_project(tmp_path / "work", steps=12, save_every=3, evaluate_every=6, training=quick)


@pytest.mark.long
def test_a_run_that_is_killed_ends_like_the_one_that_is_not(
    part: Callable[[str], ModuleType], small: Any, tmp_path: Path
) -> None:
    kill, runs, forks = part("kill"), part("runs"), part("forks")
    whole = small.output("whole")

    def undisturbed() -> None:
        forks.prepare(small)
        forks.command(["train", str(small.run), "--output", str(whole)])

    run = forks.begun(undisturbed, tmp_path / "log")
    assert run.wait() == 0, run.last_words()
    seconds = time.perf_counter() - run.began
    reference = runs.Reference(runs.prints(whole), seconds, 0.02, 0.02, runs.history(whole))
    assert {"history.jsonl", "metrics.json", "heads.safetensors", "encoder/model.safetensors"} <= set(reference.prints)
    row = kill.trial(small, reference, 0, 1, [reference.seconds])  # number 0 is killed in a save
    assert row["equal"], row
    assert len(row["kills"]) >= 1
    summary = kill.summary([{"reference_s": 1.0}, row])
    assert (summary["trials"], summary["equal"]) == (1, 1)
    changed = replace(reference, prints={**reference.prints, "metrics.json": "0" * 64})
    assert runs.differences(changed, whole) == ["metrics.json"]


def test_all_processes_of_a_run_are_killed_whatever_their_session(
    part: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    runs = part("runs")
    code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True); time.sleep(60)"
    run = runs.start([sys.executable, "-c", code], os.environ, tmp_path / "log")
    while len(runs.members(run.mark)) < 2:
        assert run.process.poll() is None, run.last_words()
    runs.kill(run)
    assert runs.members(run.mark) == []
    assert run.wait() == -9


@pytest.mark.long
def test_a_save_that_fails_or_is_the_last_thing_a_process_does_is_recovered_from(
    part: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    faults = part("faults")
    rows = in_child(part, lambda: list(faults.measure(tmp_path / "work", 3)), tmp_path / "rows.json")
    assert len(rows) == 4
    assert rows[0]["operations"] > 15, "every file is opened and synced, and the folder renamed"
    assert all(row["recovered"] for row in rows[1:]), rows
    assert faults.summary(rows)["recovered"] == 3


def test_damage_is_noticed_and_told_apart_from_none(part: Callable[[str], ModuleType], tmp_path: Path) -> None:
    damage = part("damage")
    path = tmp_path / "file"
    for kind, (change, _) in damage.DAMAGES.items():
        if "swapped" not in kind:
            path.write_bytes(bytes(range(256)))
            change(path, random.Random(1))
            assert not path.exists() or path.read_bytes() != bytes(range(256)), kind


@pytest.mark.long
def test_a_loss_that_is_not_a_number_leaves_the_run_as_if_its_step_had_been_left_out(
    part: Callable[[str], ModuleType], tmp_path: Path, small: Any
) -> None:
    guards, runs, poison = part("guards"), part("runs"), part("poison")

    def trained(what: str) -> Path:
        output = small.output(what)
        arguments = [what, "section", "4", "1", "train", str(small.run), "--output", str(output)]

        def work() -> int:
            part("forks").prepare(small)
            return int(poison.main(arguments))

        assert in_child(part, work, tmp_path / f"{what}.json") == 0
        return output

    poisoned, without = trained("loss"), trained("nothing")
    assert guards.told(poisoned) == {"left_out": [4], "turned_back": 0}
    differing = {name for name, value in runs.prints(poisoned).items() if runs.prints(without)[name] != value}
    assert differing == {"history.jsonl"}, "the history tells of the step that was left out"


def test_the_table_tells_what_was_missed_or_measured_in_part(part: Callable[[str], ModuleType]) -> None:
    table = part("table").table
    kill = {"trials": 100, "equal": 99, "kills": 130, "kills_by_place": {"in a save": 40}}
    lines = list(table({"parts": {"kill": {"complete": True, "summary": kill}}}))
    assert "99 of 100 equal; 130 kills, 40 of them inside a save (missed)" in lines[2]
    assert all("not measured" in line for line in lines[3:10])
    lines = list(table({"parts": {"kill": {"complete": False, "summary": {**kill, "trials": 5, "equal": 5}}}}))
    assert "(fewer trials than asked for)" in lines[2]


def test_the_page_quotes_the_results(part: Callable[[str], ModuleType]) -> None:
    page = PAGE.read_text(encoding="utf-8").splitlines()
    missing = [
        line for line in part("table").table(json.loads(RESULTS.read_text(encoding="utf-8"))) if line not in page
    ]
    assert not missing, "run `python -m durability table` and put the lines into docs/durability.md"


def test_results_are_written_whole_and_read_back(part: Callable[[str], ModuleType], tmp_path: Path) -> None:
    rows = [{"trial": i, "kills": [{"second": 1.5}]} for i in range(12)]
    result = {"machine": {"cores": 2}, "parts": {"kill": {"rows": rows}, "kill-2": {"rows": rows[:3]}}}
    part("__main__").write(tmp_path / "results.json", result)
    text = (tmp_path / "results.json").read_text(encoding="utf-8")
    assert json.loads(text) == result
    assert text.count("\n") < 40, "a line for each row"


def in_child(part: Callable[[str], ModuleType], work: Callable[[], Any], path: Path) -> Any:
    """What a function returns, computed in a forked child: it changes its process for good."""
    log = path.with_suffix(".log")
    status = part("forks").forked(lambda: path.write_text(json.dumps(work())) and None, log)
    assert status == 0, log.read_text(encoding="utf-8")[-3000:]
    return json.loads(path.read_text(encoding="utf-8"))
