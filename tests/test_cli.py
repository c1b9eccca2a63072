"""What the command does with its arguments, outputs and signals, whatever the model says."""

from __future__ import annotations

import codecs
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manyheads.cli import main, parser
from manyheads.durable import UNFINISHED
from manyheads.predict import Predictor
from manyheads.verbs import _own_command
from runs import Child, wait_for

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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train run.yaml --outptu x", "there is no option --outptu; did you mean '--output'? See manyheads train --help"),
        ("predict m --taks=a", "there is no option --taks; did you mean '--task'? See manyheads predict --help"),
        ("train run.yaml -x", "there is no option -x; see manyheads train --help"),
        ("predict m one two", "too many arguments: two; quote a value with spaces; see manyheads predict --help"),
        (
            "train run.yaml --set training.steps=1 training.seed=2 training.clip=1",
            "too many arguments: training.seed=2 training.clip=1; give each KEY=VALUE its own --set; see manyheads train --help",
        ),
        ("compare run.yaml -o d --seeds 0 1 2", "too many arguments: 1 2; give seeds with commas and no spaces, such as --seeds 0,1,2; see manyheads compare --help"),
        ("train run.yaml --set training.steps=1 two", "too many arguments: two; quote a value with spaces; see manyheads train --help"),
        ("trian run.yaml", "argument COMMAND: there is no 'trian'; did you mean 'train'? See manyheads --help"),
        ("evaluate m --split tset", "argument --split: there is no 'tset'; did you mean 'test'? See manyheads evaluate --help"),
    ],
)
def test_a_misspelt_word_is_told_with_the_nearest_one(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(arguments.split())
    assert leaving.value.code == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_the_command_is_named_by_its_path_where_the_shell_does_not_find_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [".venv/bin/manyheads", "demo"])
    monkeypatch.setenv("PATH", "")
    assert _own_command() == ".venv/bin/manyheads"
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert _own_command() == "manyheads"
    monkeypatch.setattr(sys, "argv", ["/srv/src/manyheads/__main__.py", "demo"])
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert _own_command() == "manyheads"


def test_an_output_that_is_the_input_is_refused(
    young_model: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows.read_bytes()
    (tmp_path / "soft.jsonl").symlink_to(rows)
    (tmp_path / "hard.jsonl").hardlink_to(rows)
    for name in ("rows.jsonl", "soft.jsonl", "hard.jsonl"):
        assert main(["predict", str(young_model), str(rows), "-o", str(tmp_path / name)]) == 2
        assert "is the input itself" in capsys.readouterr().err
    with rows.open() as standard_input:
        assert run("predict", young_model, "-o", rows, stdin=standard_input).returncode == 2
    assert rows.read_bytes() == before


def test_an_earlier_output_stays_until_a_whole_one_takes_its_place(
    young_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, bad = tmp_path / "out.jsonl", tmp_path / "bad.csv"
    out.write_text("earlier")
    bad.write_text("no header of ours\n")
    assert main(["predict", str(young_model), str(bad), "-o", str(out)]) == 2

    def stopped(_: object, rows: Iterator[dict[str, Any]], names: object) -> Iterator[dict[str, Any]]:
        yield from rows
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "predict", stopped)
        assert main(["predict", str(young_model), str(rows), "-o", str(out)]) == 1
    assert out.read_text() == "earlier"
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl", "out.jsonl", "bad.csv"}
    assert main(["predict", str(young_model), str(rows), "-o", str(out)]) == 0
    assert json.loads(out.read_text())["id"] == 1


@pytest.mark.long
def test_standard_output_by_its_name_is_written_to_directly(young_model: Path, rows: Path, tmp_path: Path) -> None:
    assert json.loads(run("predict", young_model, rows, "-o", "/dev/stdout").stdout)["id"] == 1
    told = tmp_path / "told.jsonl"
    told.write_text("before\n")

    def predict() -> int:
        with told.open("a") as file:
            os.dup2(file.fileno(), 1)
        return main(["predict", str(young_model), str(rows), "-o", "/dev/stdout"])

    child = Child(predict, tmp_path / "said")
    assert child.status() == 0, child.words()
    before, answer = told.read_text().splitlines()
    assert (before, json.loads(answer)["id"]) == ("before", 1)


def test_bad_rows_keep_their_place_and_id_in_predict_and_bulk_alike(
    young_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_bytes(b"id,text\n1,caf\xe9\n2,b\n3,c,d\n")
    times = pa.array([0, 1], pa.timestamp("s"))
    pq.write_table(pa.table({"id": times, "text": ["a", None]}), tmp_path / "in/b.parquet")
    pq.write_table(pa.table({"id": [float("nan"), 1.5], "text": ["a", "b"]}), tmp_path / "in/c.parquet")
    told = []
    for path in sorted((tmp_path / "in").iterdir()):
        assert main(["predict", str(young_model), str(path), "--task", "section"]) == 1
        told += [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    seen = [(row.get("id"), "error" in row) for row in told]
    assert seen == [("1", True), ("2", False), ("3", True), ("1970-01-01T00:00:00", False), ("1970-01-01T00:00:01", True),
                    (None, True), (1.5, False)]  # fmt: skip
    out = tmp_path / "out"
    assert main(["bulk", str(young_model), str(tmp_path / "in"), str(out), "--task", "section"]) == 1
    bad = [json.loads(line) for path in sorted(out.glob("*.errors.jsonl")) for line in path.read_text().splitlines()]
    assert [{key: row[key] for key in ("id", "error") if key in row} for row in bad] == [
        row for row in told if "error" in row
    ]
    good = [row for path in sorted(out.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert [row["id"] for row in good] == ["2", "1970-01-01T00:00:00", "1.5"]


def stopped_by(number: signal.Signals, ready: Callable[[], bool], *arguments: object) -> tuple[int, str]:
    """Exit status and messages of a command that gets a signal once it is at work."""
    # Whoever runs the tests in the background leaves SIGINT ignored, and children would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen([sys.executable, "-m", "manyheads", *map(str, arguments)], stderr=subprocess.PIPE,
                                   stdout=subprocess.DEVNULL, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    limit = time.monotonic() + 60
    while not ready() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.005)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    return process.returncode, told


@pytest.mark.long
@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_a_signal_says_what_becomes_of_the_work(
    young_model: Path, tmp_path: Path, number: signal.Signals, name: str
) -> None:
    many, out, answers = tmp_path / "many.jsonl", tmp_path / "out", tmp_path / "answers.jsonl"
    many.write_text("".join(json.dumps({"id": i, "text": "Aspirin helps."}) + "\n" for i in range(200_000)))
    status, told = stopped_by(number, lambda: any(out.glob("part-*.json")), "bulk", young_model, many, out,
                              "--rows-per-part", 100)  # fmt: skip
    assert (status, told.splitlines()[-1]) == (
        75, f"error: stopped by {name}; finished parts are kept; run the same command again to continue"
    )  # fmt: skip
    half = Path(f"{answers}{UNFINISHED}")

    def predict() -> int:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return main(["predict", str(young_model), str(many), "-o", str(answers)])

    child = Child(predict, tmp_path / "told")
    wait_for(lambda: half.exists() and half.stat().st_size > 0, "answers", child)
    os.kill(child.pid, number)
    assert (child.status(), child.words().splitlines()[-1]) == (
        1, f"error: stopped by {name}; no output file was written; run the same command again"
    )  # fmt: skip
    assert not half.exists()
    assert not answers.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_inside_a_codec_is_named_like_any_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    def decode(data: bytes, errors: str = "strict") -> tuple[str, int]:
        os.kill(os.getpid(), number)
        time.sleep(5)
        return "", 0

    codec = codecs.CodecInfo(lambda *_: (b"", 0), decode, name="stopping")
    monkeypatch.setattr("manyheads.start.validate", lambda *_, **__: b"x".decode("stopping"))
    codecs.register(search := lambda name: codec if name == "stopping" else None)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs tests side by side may ignore it
    try:
        assert main(["validate", "run.yaml"]) == 1
    finally:
        codecs.unregister(search)
        signal.signal(signal.SIGINT, before)
    name = "SIGTERM" if number == signal.SIGTERM else "Ctrl-C"
    assert capsys.readouterr().err.startswith(f"error: stopped by {name}; ")


def test_an_export_that_is_stopped_does_not_speak_of_training(
    young_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("manyheads.export.export_model", stopped)
    assert main(["export", str(young_model), "--to", "onnx", "-o", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == "error: stopped by SIGTERM; nothing was exported\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_device_that_is_not_there_is_told_with_those_that_are(
    young_model: Path, rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("banana", "cuda:99"):
        assert main(["predict", str(young_model), str(rows), "--device", name]) == 2
        assert capsys.readouterr().err.startswith(f"error: there is no device '{name}'; this machine has cpu")


def test_a_pytorch_model_without_torch_says_what_to_install(
    young_model: Path, rows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["predict", str(young_model), str(rows)]) == 2
    told = capsys.readouterr().err
    assert "torch is not installed; pip install torch" in told
    assert "export --to onnx" in told


def test_an_output_that_cannot_be_written_is_told_of_before_the_model_is_loaded(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for output in (tmp_path / "no/x.jsonl", tmp_path, rows / "x.jsonl"):
        assert main(["predict", "no-model", str(rows), "-o", str(output)]) == 2
        assert f"error: {output} cannot be written" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full")
def test_a_full_disk_is_named(young_model: Path, rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(young_model), str(rows), "-o", "/dev/full"]) == 1
    assert capsys.readouterr().err == "error: /dev/full: No space left on device\n"


def test_a_text_after_the_tasks_is_told_to_stand_before_them(young_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(young_model), "--task", "section", "No patient died."]) == 2
    assert "no task 'No patient died.', and nothing to read is given; if this is the text or the file, give it before --task" in (
        capsys.readouterr().err
    )
    assert main(["predict", str(young_model), "No patient died.", "--task", "section", "nothing"]) == 2
    assert "the model has no task 'nothing'; its tasks are" in capsys.readouterr().err


def test_tasks_of_several_options_add_up(young_model: Path, rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(young_model), str(rows), "--task", "section", "--task", "entities"]) == 0
    assert set(json.loads(capsys.readouterr().out)["tasks"]) == {"section", "entities"}


@pytest.mark.parametrize("verb", [["train", "run.yaml"], ["demo"]])
def test_the_output_has_a_short_option(verb: list[str]) -> None:
    assert parser().parse_args([*verb, "-o", "runs/a"]).output == Path("runs/a")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bulk", "m", "in", "out", "--workers", "4"], "--workers requires --engine ray; add it, or remove --workers"),
        (["bulk", "m", "in", "out", "--address", "a:1"], "--address requires --engine ray"),
        (["export", "m", "--to", "onnx", "-o", "out", "--allow-drop"], "--allow-drop requires --quantize int8"),
        (["export", "m", "--to", "onnx", "-o", "out", "--task", "a", "--task", "b"], "--task was given twice (a and b); give it once"),
    ],
)  # fmt: skip
def test_an_option_that_would_do_nothing_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(arguments)
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert message in capsys.readouterr().err
