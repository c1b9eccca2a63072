"""A folder of files answered into Parquet: nothing missing, doubled or changed, however often it is killed."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from manyheads.api import load
from manyheads.bulk import parts
from manyheads.bulk.manifest import LOCK
from manyheads.bulk.parts import Part, PartReader, list_files, split_parts
from manyheads.bulk.run import Job, RayActors, run_bulk
from manyheads.cli import main
from manyheads.data.requests import read_requests
from manyheads.durable import UNFINISHED
from manyheads.errors import DataError, UsageError
from manyheads.outputs.columns import arrow_type, schema_of, table_of, values_of
from runs import Child, wait_for
from toys import SENTENCES


def rows_for(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "id": start + i,
            "text": f"{SENTENCES[i % len(SENTENCES)]} Number {start + i}.",
            **({"question": "What?"} if i % 5 == 0 else {}),
        }
        for i in range(count)
    ]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four files of four formats, 130 rows, two of them bad."""
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    rows = rows_for(50)
    rows[7] = {"id": 7}
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "not json\n")
    with (folder / "b.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "text"])
        writer.writeheader()
        writer.writerows({"id": row["id"], "text": row["text"] + "\nnext line"} for row in rows_for(30, 100))
    pq.write_table(pa.table({"text": [row["text"] for row in rows_for(30, 200)]}), folder / "deeper/c.parquet")
    with gzip.open(folder / "d.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows_for(20, 300)))
    (folder / "notes.txt").write_text("not rows")
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != LOCK}


def answers_in(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_every_row_is_answered_once_as_predict_answers_it(young_model: Path, source: Path, tmp_path: Path) -> None:
    report = run_bulk(Job(str(young_model), source, tmp_path / "out", rows_per_part=16), None, lambda line: None)
    assert (report.rows, report.bad, report.reused) == (129, 2, 0)
    rows = answers_in(tmp_path / "out")
    places = [(row["source"], row["row"]) for row in rows]
    assert len(set(places)) == len(places) == 129
    bad = [
        json.loads(line) for path in (tmp_path / "out").glob("*.errors.jsonl") for line in path.read_text().splitlines()
    ]
    assert {(row["source"], row["row"]) for row in bad} == {("a.jsonl", 7), ("a.jsonl", 50)}
    assert not set(places) & {(row["source"], row["row"]) for row in bad}
    predictor = load(young_model).predictor
    for given, row in zip(rows_for(5), rows, strict=False):
        [plain] = predictor.predict([given])
        assert row["id"] == str(given["id"])
        assert row["windows"] == plain["windows"]
        assert row["section"]["label"] == plain["tasks"]["section"]["label"]
        assert dict(row["section"]["scores"]) == pytest.approx(plain["tasks"]["section"]["scores"], abs=1e-4)
        assert [span["text"] for span in row["entities"]] == [span["text"] for span in plain["tasks"]["entities"]]
        assert row["similarity"] == pytest.approx(plain["tasks"]["similarity"], abs=1e-4)
        assert (row["answers"] is None) == ("question" not in given)


@pytest.mark.long
def test_a_job_that_is_killed_again_and_again_ends_in_the_same_bytes(
    young_model: Path, source: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def bulk(output: Path) -> int:
        return main(["bulk", str(young_model), str(source), str(output), "--rows-per-part", "8"])

    def parts_made() -> int:
        return len(list(killed.glob("part-*.json")))

    assert bulk(whole) == 1, "two bad rows"
    for _ in range(2):
        before = parts_made()
        child = Child(lambda: bulk(killed), tmp_path / "said")
        wait_for(lambda child=child, before=before: parts_made() > before or child.ended(), "part", child)  # type: ignore[misc]
        os.kill(child.pid, signal.SIGKILL)
        child.status()
    assert bulk(killed) == 1
    assert files_in(killed) == files_in(whole)


def test_progress_counts_one_row_as_a_row(
    young_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "Aspirin lowered fever."}\n{"id": 1}\n')
    arguments = ["bulk", str(young_model), str(tmp_path / "rows.jsonl"), str(tmp_path / "out"), "--rows-per-part", "2"]
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert said.out == f"1 row answered in {tmp_path / 'out'}, 1 bad row in *.errors.jsonl\n"
    assert said.err == "2 rows in 1 part\npart 1/1  1 row answered so far\n"


def test_parts_whose_files_are_gone_or_changed_are_made_again(young_model: Path, source: Path, tmp_path: Path) -> None:
    job = Job(str(young_model), source, tmp_path / "out", rows_per_part=16)
    run_bulk(job, None, lambda line: None)
    before = files_in(job.output)
    (job.output / "part-000001.parquet").unlink()
    (job.output / "part-000002.parquet").write_bytes(b"PAR1")
    (job.output / "part-000003.json").write_text("{")
    (job.output / "part-000004.parquet.unfinished").write_bytes(b"half")
    said: list[str] = []
    report = run_bulk(job, None, said.append)
    assert report.parts - report.reused == 3
    assert files_in(job.output) == before


def test_another_job_does_not_go_into_the_same_folder(young_model: Path, source: Path, tmp_path: Path) -> None:
    job = Job(str(young_model), source, tmp_path / "out", rows_per_part=64)
    run_bulk(job, None, lambda line: None)
    with pytest.raises(UsageError, match="holds another job: tasks differ"):
        run_bulk(Job(str(young_model), source, job.output, ["section"], rows_per_part=64), None, lambda line: None)
    with pytest.raises(UsageError, match="holds another job: precision differ"):
        run_bulk(Job(str(young_model), source, job.output, rows_per_part=64, precision="bf16"), None, lambda line: None)
    (source / "a.jsonl").write_text('{"text": "another"}\n')
    with pytest.raises(UsageError, match="holds another job: files differ"):
        run_bulk(job, None, lambda line: None)
    (tmp_path / "strange").mkdir()
    for name in ("part-000000.parquet", "thesis.txt"):
        (tmp_path / "strange" / name).write_bytes(b"")
        with pytest.raises(UsageError, match=rf"holds {name} but no manifest\.json of a job; give an empty folder"):
            run_bulk(Job(str(young_model), source, tmp_path / "strange"), None, lambda line: None)
        (tmp_path / "strange" / name).unlink()
    assert not any((tmp_path / "strange").iterdir())
    (tmp_path / "strange/manifest.json").write_text('{"name": "an app"}')
    with pytest.raises(UsageError, match=r"manifest\.json is not the manifest of a job"):
        run_bulk(Job(str(young_model), source, tmp_path / "strange"), None, lambda line: None)


def test_an_output_that_lies_in_the_input_or_around_it_is_refused(
    young_model: Path, source: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    (tmp_path / "link").symlink_to(source)
    for given, output in (
        (source, source),
        (source, tmp_path / "link"),
        (source, source / "out"),
        (source / "deeper", source),
        (source / "a.jsonl", source),
    ):
        with pytest.raises(UsageError, match="overlap"):
            run_bulk(Job(str(young_model), given, output), None, lambda line: None)
    (tmp_path / "link").unlink()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_job_goes_on_where_it_was_stopped_before_it_had_a_manifest(
    young_model: Path, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    for name in (LOCK, f"manifest.json{UNFINISHED}"):
        (tmp_path / "out" / name).write_bytes(b"")
    report = run_bulk(Job(str(young_model), source / "a.jsonl", tmp_path / "out"), None, lambda line: None)
    assert report.rows == 49


def test_an_input_that_changed_in_its_middle_is_another(source: Path) -> None:
    path = source / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\n' * 300_000)
    before = list_files(path)
    with path.open("r+b") as file:
        file.seek(2_000_010)
        file.write(b"b")
    assert list_files(path) != before


def test_files_that_are_not_what_their_names_say_are_told_of(
    young_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.parquet").write_text("no parquet")
    assert main(["bulk", str(young_model), str(tmp_path / "a.parquet"), str(tmp_path / "out")]) == 2
    assert "a.parquet is not a readable parquet file" in capsys.readouterr().err
    (tmp_path / "b.jsonl").write_text('{"text": "a"}\n')
    for output in ("a.parquet", "a.parquet/out"):
        assert main(["bulk", str(young_model), str(tmp_path / "b.jsonl"), str(tmp_path / output)]) == 2
        assert "cannot be a folder" in capsys.readouterr().err


def test_two_jobs_do_not_write_into_one_folder_at_once(young_model: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / LOCK), pytest.raises(UsageError, match="another process writes into"):
        run_bulk(Job(str(young_model), source, tmp_path / "out"), None, lambda line: None)


def test_what_is_no_input_is_told_of(young_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no file of rows in it"):
        run_bulk(Job(str(young_model), tmp_path / "empty", tmp_path / "out"), None, lambda line: None)
    assert main(["bulk", str(young_model), str(tmp_path / "none"), str(tmp_path / "out")]) == 2
    assert "is neither a file nor a folder" in capsys.readouterr().err


def test_columns_follow_from_the_tasks(young_model: Path) -> None:
    tasks = load(young_model).tasks
    schema = schema_of(list(tasks.values()))
    assert schema.names == [
        "source",
        "row",
        "id",
        "windows",
        "entities",
        "section",
        "answers",
        "no_answer_score",
        "similarity",
    ]
    answer = {"id": {"k": 1}, "windows": 1, "tasks": {"section": {"label": "x", "score": 1.0, "scores": {"x": 1.0}}}}
    table = table_of(schema, [{**values_of(answer), "source": "a", "row": 0}])
    [row] = table.to_pylist()
    assert row["id"] == '{"k": 1}'
    assert row["section"] == {"label": "x", "score": 1.0, "scores": [("x", 1.0)]}
    assert row["entities"] is None
    assert arrow_type({"labels": ["string"], "scores": ("map", "float")}).num_fields == 2
    with pytest.raises(UsageError, match="the task 'row' has the name of a column that every row has"):
        schema_of([tasks["entities"], replace(tasks["section"], name="row")])


def test_kept_columns_stand_beside_the_answers_with_their_types(
    young_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    rows = [{"id": i, "text": SENTENCES[i], "year": 2000 + i, "tags": ["a", i], "half": i / 2} for i in range(4)]
    (tmp_path / "in/a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.table({"text": SENTENCES[:2], "year": pa.array([1, 2], pa.int64()), "day": pa.array([0, 1], pa.date32())}),
                   tmp_path / "in/b.parquet")  # fmt: skip
    given = [str(young_model), str(tmp_path / "in"), str(tmp_path / "out"), "--task", "section", "--rows-per-part", "3"]
    assert main(["bulk", *given, "--keep"]) == 0
    found = answers_in(tmp_path / "out")
    assert [row["year"] for row in found] == [2000, 2001, 2002, 2003, 1, 2]
    assert [row["tags"] for row in found[:2]] == ['["a", 0]', '["a", 1]']
    assert [row["half"] for row in found[:2]] == [0.0, 0.5]
    assert [str(row["day"]) for row in found] == ["None"] * 4 + ["1970-01-01", "1970-01-02"]
    assert found[0]["text"] == SENTENCES[0]
    schemas = {str(pq.read_schema(path)) for path in (tmp_path / "out").glob("*.parquet")}
    assert len(schemas) == 1, "all parts are one table"
    assert main(["bulk", *given]) == 2
    assert "holds another job: keep differ" in capsys.readouterr().err
    (tmp_path / "in/c.jsonl").write_text(json.dumps({"text": "a", "section": "x"}) + "\n")
    assert main(["bulk", *given[:2], str(tmp_path / "other"), "--keep"]) == 2
    assert "column 'section' has the name of a column of the answers" in capsys.readouterr().err


@pytest.mark.slow
def test_actors_of_ray_write_the_same_bytes(young_model: Path, source: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    run_bulk(Job(str(young_model), source, tmp_path / "local", rows_per_part=16), None, lambda line: None)
    run_bulk(Job(str(young_model), source, tmp_path / "ray", rows_per_part=16), RayActors(2), lambda line: None)
    assert files_in(tmp_path / "ray") == files_in(tmp_path / "local")


def test_parts_are_read_on_from_one_another_in_whatever_order_they_come(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def counted(path: Path) -> Any:
        opened.append(path.name)
        return read_requests(path)

    found = list(split_parts(source, list_files(source), 7))
    wanted = {part: list(PartReader(source).rows(part)) for part in found}
    monkeypatch.setattr(parts, "read_requests", counted)
    reader = PartReader(source)
    in_order = {part: [str(row) for row in reader.rows(part)] for part in found}
    assert opened == [file.name.rpartition("/")[2] for file in list_files(source)]
    mixed = sorted(found, key=lambda part: (part.index * 7) % 13)
    out_of_order = {part: [str(row) for row in reader.rows(part)] for part in mixed}
    assert in_order == out_of_order == {part: [str(row) for row in rows] for part, rows in wanted.items()}
    next(reader.rows(found[1]))  # left in the middle
    assert [str(row) for row in reader.rows(found[2])] == in_order[found[2]]


def test_a_file_that_cannot_be_read_on_is_told_of_again(tmp_path: Path) -> None:
    whole = gzip.compress("".join(json.dumps(row) + "\n" for row in rows_for(2_000)).encode())
    cut_off = tmp_path / "cut.jsonl.gz"
    cut_off.write_bytes(whole[: len(whole) // 2])
    reader = PartReader(tmp_path)
    for _ in range(2):
        with pytest.raises(DataError, match="truncated"):
            list(reader.rows(Part(0, "cut.jsonl.gz", 0, 2_000)))
