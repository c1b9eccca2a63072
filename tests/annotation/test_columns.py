"""`manyheads pick` and `review` on files whose columns have other names."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manyheads.cli import main
from manyheads.data.requests import read_requests
from manyheads.start import train_run
from manyheads.training.progress import Quiet
from toys import SENTENCES, write_csv, write_jsonl

TEXTS = [f"{text} In {number} children." for number in range(10) for text in SENTENCES]


@pytest.fixture(scope="module")
def tickets(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    """A folder with a model whose run file renames columns."""
    folder = tmp_path_factory.mktemp("tickets")
    write_csv(
        folder / "labelled.csv", ["nr", "body", "topic"], [[i, text, "AB"[i % 2]] for i, text in enumerate(TEXTS[:40])]
    )
    (folder / "run.yaml").write_text(
        f"""
encoder: {{name: {toy_encoder}, max_length: 48}}
tasks:
  topic:
    type: text-classification
    data: {{train: {{path: labelled.csv, columns: {{text: body, label: topic}}}}}}
    validation_fraction: 0
training: {{recipe: none, steps: 3, tokens_per_step: 256, learning_rate: 1.0e-3, device: cpu, save_every: 0}}
output: model
""",
        encoding="utf-8",
    )
    train_run(folder / "run.yaml", None, [], Quiet())
    return folder


def write(path: Path, name: str, texts: list[str]) -> str:
    """Unlabelled rows with their texts under a name, in the format of the ending."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"nr": list(range(len(texts))), name: texts}), path)
    elif path.suffix == ".csv":
        write_csv(path, ["nr", name], [[i, text] for i, text in enumerate(texts)])
    else:
        write_jsonl(path, [{"nr": i, name: text} for i, text in enumerate(texts)])
    return str(path)


def picked(tickets: Path, rows: str, output: Path, *more: str) -> list[str]:
    assert main(["pick", str(tickets / "model"), rows, "-o", str(output), "-n", "50", *more]) == 0
    return [json.loads(line)["text"] for line in output.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_rows_and_labelled_files_have_the_columns_of_the_models_run_file(
    tickets: Path, tmp_path: Path, ending: str
) -> None:
    rows = write(tmp_path / f"rows.{ending}", "body", TEXTS[30:])
    found = picked(tickets, rows, tmp_path / "next.jsonl", "--labelled", str(tickets / "labelled.csv"))
    assert sorted(found) == sorted(TEXTS[40:])


def test_our_own_names_are_read_as_well(tickets: Path, tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", "text", TEXTS[30:])
    labelled = write_csv(tmp_path / "own.csv", ["text", "label"], [[text, "A"] for text in TEXTS[:50]])
    assert sorted(picked(tickets, rows, tmp_path / "next.jsonl", "--labelled", str(labelled))) == sorted(TEXTS[50:])


def test_other_names_are_given_with_the_command(tickets: Path, tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.csv", "message", TEXTS[30:])
    labelled = write_csv(tmp_path / "old.csv", ["message", "queue"], [[text, "A"] for text in TEXTS[:50]])
    given = ["--labelled", str(labelled), "--columns", "text=message", "label=queue"]
    assert sorted(picked(tickets, rows, tmp_path / "next.jsonl", *given)) == sorted(TEXTS[50:])


def test_the_output_has_our_names_and_the_other_columns(tickets: Path, tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.csv", "body", TEXTS[:20])
    output = tmp_path / "next.csv"
    assert main(["pick", str(tickets / "model"), rows, "-o", str(output), "-n", "3"]) == 0
    with output.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 3
    assert all(TEXTS[int(row["nr"])] == row["text"] for row in found)
    assert "body" not in found[0]


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("message", [], "needs a 'text' column; it has nr, message"),
        ("body", ["--columns", "text"], "must be OURS=THEIRS, such as text=body, seen 'text'"),
        ("body", ["--columns", "text=massage"], "needs a 'text' column; it has nr, body"),
        ("text", ["--columns", "text=massage", "label=topic", "--labelled", "LABELLED"],
         "has no column 'massage' (for text); its columns are nr, body, topic"),
    ],
)  # fmt: skip
def test_columns_that_are_not_there_are_an_error_with_those_that_are(
    tickets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, more: list[str], message: str
) -> None:
    rows = write(tmp_path / "rows.csv", name, TEXTS[:9])
    given = [str(tickets / "labelled.csv") if word == "LABELLED" else word for word in more]
    command = ["pick", str(tickets / "model"), rows, "-o", str(tmp_path / "next.jsonl"), *given]
    try:
        status = main(command)
    except SystemExit as error:  # of the parser
        status = int(str(error.code))
    assert status == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "next.jsonl").exists()


def test_a_labelled_file_with_unknown_names_says_how_to_give_them(
    tickets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = write(tmp_path / "rows.csv", "body", TEXTS[:9])
    labelled = write_csv(tmp_path / "old.csv", ["message", "queue"], [[text, "A"] for text in TEXTS[:50]])
    assert (
        main(["pick", str(tickets / "model"), rows, "-o", str(tmp_path / "n.jsonl"), "--labelled", str(labelled)]) == 2
    )
    told = capsys.readouterr().err
    assert "has the columns message, queue; expected" in told
    assert "give them as --columns OURS=THEIRS" in told


def test_the_option_for_columns_is_not_named_for_other_defects_of_a_labelled_file(
    tickets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = write(tmp_path / "rows.csv", "body", TEXTS[:9])
    labelled = write_csv(tmp_path / "old.csv", ["text", "label"], [["It was late.", "A"], ["It was torn.", "A", "B"]])
    assert main(["pick", str(tickets / "model"), rows, "-o", str(tmp_path / "n.jsonl"), "--labelled", str(labelled)]) == 2
    told = capsys.readouterr().err
    assert "old.csv:3 has 3 columns, the header has 2" in told
    assert "--columns" not in told


def test_review_reads_the_data_as_its_run_file_says(tickets: Path, tmp_path: Path) -> None:
    assert main(["review", str(tickets / "model"), str(tickets / "run.yaml"), "-o", str(tmp_path / "found")]) == 0
    found = [json.loads(line) for line in (tmp_path / "found/suspects.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["text"] for row in found} == set(TEXTS[:40])


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_renamed_text_may_be_empty_and_one_of_our_name_stays(tmp_path: Path, ending: str) -> None:
    path = Path(write(tmp_path / f"rows.{ending}", "body", ["A text.", ""]))
    rows = list(read_requests(path, [("text", "message"), ("text", "body"), ("id", "nr")]))
    assert [row["text"] for row in rows if isinstance(row, dict)] == ["A text.", ""]
    assert [int(row["id"]) for row in rows if isinstance(row, dict)] == [0, 1]
    own = Path(write(tmp_path / f"own.{ending}", "text", ["A text."]))
    [row] = read_requests(own, [("text", "nr")])
    assert isinstance(row, dict)
    assert row["text"] == "A text."
    assert int(row["nr"]) == 0
