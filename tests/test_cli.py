"""What the command does with its arguments, outputs and signals, whatever the model says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manyheads.cli import main
from manyheads.predict import Predictor

ROW = {"id": 1, "text": "Aspirin helps."}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A file of one row."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROW) + "\n")
    return path


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "manyheads", *map(str, arguments)], capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False, **options)  # fmt: skip


def test_an_output_that_is_the_input_is_refused(
    toy_model: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows.read_bytes()
    (tmp_path / "soft.jsonl").symlink_to(rows)
    (tmp_path / "hard.jsonl").hardlink_to(rows)
    for name in ("rows.jsonl", "soft.jsonl", "hard.jsonl"):
        assert main(["predict", str(toy_model), str(rows), "-o", str(tmp_path / name)]) == 2
        assert "is the input itself" in capsys.readouterr().err
    with rows.open() as standard_input:
        assert run("predict", toy_model, "-o", rows, stdin=standard_input).returncode == 2
    assert rows.read_bytes() == before


def test_an_earlier_output_stays_until_a_whole_one_takes_its_place(
    toy_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, bad = tmp_path / "out.jsonl", tmp_path / "bad.csv"
    out.write_text("earlier")
    bad.write_text("no header of ours\n")
    assert main(["predict", str(toy_model), str(bad), "-o", str(out)]) == 2

    def stopped(_: object, rows: Iterator[dict[str, Any]], names: object) -> Iterator[dict[str, Any]]:
        yield from rows
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "predict", stopped)
        assert main(["predict", str(toy_model), str(rows), "-o", str(out)]) == 1
    assert out.read_text() == "earlier"
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl", "out.jsonl", "bad.csv"}
    assert main(["predict", str(toy_model), str(rows), "-o", str(out)]) == 0
    assert json.loads(out.read_text())["id"] == 1


def test_standard_output_by_its_name_is_written_to_directly(toy_model: Path, rows: Path, tmp_path: Path) -> None:
    assert json.loads(run("predict", toy_model, rows, "-o", "/dev/stdout").stdout)["id"] == 1
    told = tmp_path / "told.jsonl"
    told.write_text("before\n")
    with told.open("a") as file:
        done = subprocess.run([sys.executable, "-m", "manyheads", "predict", toy_model, rows, "-o", "/dev/stdout"],
                              stdout=file, check=False)  # fmt: skip
    assert done.returncode == 0
    before, answer = told.read_text().splitlines()
    assert (before, json.loads(answer)["id"]) == ("before", 1)


def test_bad_rows_keep_their_place_and_id_in_predict_and_bulk_alike(
    toy_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_bytes(b"id,text\n1,caf\xe9\n2,b\n3,c,d\n")
    times = pa.array([0, 1], pa.timestamp("s"))
    pq.write_table(pa.table({"id": times, "text": ["a", None]}), tmp_path / "in/b.parquet")
    pq.write_table(pa.table({"id": [float("nan"), 1.5], "text": ["a", "b"]}), tmp_path / "in/c.parquet")
    told = []
    for path in sorted((tmp_path / "in").iterdir()):
        assert main(["predict", str(toy_model), str(path), "--task", "section"]) == 1
        told += [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    seen = [(row.get("id"), "error" in row) for row in told]
    assert seen == [("1", True), ("2", False), ("3", True), ("1970-01-01T00:00:00", False), ("1970-01-01T00:00:01", True),
                    (None, True), (1.5, False)]  # fmt: skip
    out = tmp_path / "out"
    assert main(["bulk", str(toy_model), str(tmp_path / "in"), str(out), "--task", "section"]) == 1
    bad = [json.loads(line) for path in sorted(out.glob("*.errors.jsonl")) for line in path.read_text().splitlines()]
    assert [{key: row[key] for key in ("id", "error") if key in row} for row in bad] == [
        row for row in told if "error" in row
    ]
    good = [row for path in sorted(out.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert [row["id"] for row in good] == ["2", "1970-01-01T00:00:00", "1.5"]
