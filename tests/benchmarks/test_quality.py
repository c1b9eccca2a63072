"""The quality suite gives every method the same rows, never tunes on what it tests, and keeps what it has measured."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Gives a module of the suite."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return import_module


@pytest.fixture
def toys(part: Callable[[str], ModuleType]) -> dict[str, Any]:
    """One data set of each kind and headline, 60 train and 12 test rows, in documents of three."""
    sets = part("cells.sets")
    words = ["red", "blue", "grey"]

    def made(row: Callable[[int], dict[str, Any]]) -> Callable[[Path], tuple[list[Any], list[Any]]]:
        return lambda data: ([row(n) for n in range(60)], [row(n) for n in range(60, 72)])

    def label(n: int) -> dict[str, Any]:
        return {"text": f"a {words[n % 3]} thing {n}", "label": words[n % 3], "document": str(n // 3)}

    rows: dict[str, tuple[str, str, Callable[[int], dict[str, Any]]]] = {
        "plain": ("labels", "accuracy", lambda n: {"text": f"thing {n}", "label": words[n % 2]}),
        "grouped": ("labels", "macro_f1", label),
        "several": ("label sets", "micro_f1", lambda n: {"text": f"thing {n}", "labels": words[: n % 3]}),
        "names": ("entities", "f1", lambda n: {"tokens": ["in", "Oslo", "Fjord"], "tags": ["O", "B-L", "I-L"]}),
        "questions": ("answers", "f1", lambda n: {"answers": [{"text": f"the year {n}", "start": 0}]}),
        "pairs": ("pairs", "spearman", lambda n: {"text_a": "a", "text_b": f"{n}", "score": float(n * 7 % 5)}),
    }
    return {
        name: sets.DataSet(kind, headline, made(row), (10, 30, None)) for name, (kind, headline, row) in rows.items()
    }


ANSWERS: dict[str, Callable[[int], Any]] = {
    "plain": lambda n: ["red", "grey", "blue"][n % 3],
    "grouped": lambda n: ["red", "blue"][n % 2],
    "several": lambda n: ["red"] if n % 2 else [],
    "names": lambda n: [["O", "B-L", "O"], ["O", "B-L", "I-L"]][n % 2],
    "questions": lambda n: f"year {n + n % 2}",
    "pairs": lambda n: float(n % 4),
}


@pytest.fixture
def suite(part: Callable[[str], ModuleType], toys: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The suite on the toy sets, with two methods that count how often they are called."""
    methods, sets = part("cells.methods"), part("cells.sets")
    quality, draw = part("quality"), part("cells.draw")
    monkeypatch.setattr(sets, "SETS", toys)
    for module in (quality, draw, part("cells.table"), part("cells.plot")):
        monkeypatch.setattr(module, "SETS", toys)

    class Counted:
        calls = 0

        def __call__(self, job: Any) -> Any:
            Counted.calls += 1
            name = next(name for name, data in toys.items() if data is job.data)
            return methods.Found([ANSWERS[name](n + job.seed) for n in range(len(job.test))], {"chosen": 1})

    quality.Counted = Counted  # type: ignore[attr-defined]
    monkeypatch.setattr(methods.Method, "function", lambda self: Counted())
    kinds = tuple(data.kind for data in toys.values())
    for module in (quality, part("cells.kept"), part("cells.table"), part("cells.plot")):
        monkeypatch.setattr(module, "METHODS", {
            "peer": methods.Method(kinds, "", (), 1), "ours": methods.Method(kinds, "", (), 1)
        })  # fmt: skip
    monkeypatch.setattr(part("cells.kept"), "source_hash", lambda: "one")
    return quality


def command(suite: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["quality.py", *map(str, words)])
    status: int = suite.main()
    return status


def test_a_larger_cell_has_the_rows_of_the_smaller_one_and_seeds_differ(suite: ModuleType, part: Any) -> None:
    draw = part("cells.draw")
    for name in ("plain", "grouped"):
        small, large, whole, other = (
            {row["text"] for row in draw.rows(draw.Cell(name, size, seed), Path(), "test")[0]}
            for size, seed in ((10, 0), (30, 0), (None, 0), (10, 1))
        )
        assert small < large < whole
        assert (len(small), len(large), len(whole)) == (10, 30, 60)
        assert small != other


def test_rows_that_are_tuned_on_are_in_no_cell_and_share_no_document_with_one(suite: ModuleType, part: Any) -> None:
    draw = part("cells.draw")
    for name in ("plain", "grouped"):
        for size in (10, 30, None):
            train, tuned = draw.rows(draw.Cell(name, size, 0), Path(), "tune")
            groups = [{row.get("document", row["text"]) for row in rows} for rows in (train, tuned)]
            assert not groups[0] & groups[1]
            assert 9 <= len(tuned) <= 12
        free = {row["text"] for row in draw.rows(draw.Cell(name, 30, 0), Path(), "test")[0]}
        assert not free & {row["text"] for row in tuned}, "a cell has the same rows whatever is scored"


def test_a_large_test_split_is_sampled_alike_for_all(suite: ModuleType, part: Any) -> None:
    draw = part("cells.draw")
    rows = [{"text": str(n)} for n in range(50)]
    assert draw.sample("x", rows, 20) == draw.sample("x", list(rows), 20)
    assert len(draw.sample("x", rows, 20)) == 20
    assert draw.sample("x", rows, 50) == rows


@pytest.mark.parametrize("name", ANSWERS)
def test_evidence_gives_the_headline(name: str, toys: dict[str, Any], part: Any) -> None:
    scores, data = part("cells.scores"), toys[name]
    _, test = data.read(Path())
    answers = [ANSWERS[name](n) for n in range(len(test))]
    evidence = scores.evidence(data, test, answers)
    assert evidence.scores(np.ones((1, evidence.clusters)))[0] == pytest.approx(scores.headline(data, test, answers))
    assert 0 < abs(scores.headline(data, test, answers)) < 1


@pytest.mark.long
def test_a_suite_that_was_stopped_does_only_what_is_missing(
    suite: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part: Any
) -> None:
    run = ("run", tmp_path, "--work", tmp_path / "work", "--sizes", "10")
    assert command(suite, monkeypatch, *run, "--seeds", "0") == 0
    assert suite.Counted.calls == 12
    assert command(suite, monkeypatch, *run) == 0
    assert suite.Counted.calls == 36
    monkeypatch.setattr(part("cells.kept"), "source_hash", lambda: "another")
    assert command(suite, monkeypatch, *run, "--seeds", "0") == 0
    assert suite.Counted.calls == 42, "ours alone runs again when the library has changed"


@pytest.mark.long
def test_a_method_that_fails_is_reported_and_the_others_run(
    suite: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    methods = sys.modules["cells.methods"]

    def function(self: Any) -> Any:
        if "pairs" in self.kinds and not hasattr(function, "failed"):
            function.failed = True  # type: ignore[attr-defined]
            raise RuntimeError("out of luck")
        return suite.Counted()

    monkeypatch.setattr(methods.Method, "function", function)  # type: ignore[attr-defined]
    run = ("run", tmp_path, "--work", tmp_path / "work", "--sizes", "10", "--seeds", "0")
    assert command(suite, monkeypatch, *run) == 1
    assert "out of luck" in capsys.readouterr().out
    assert len(list((tmp_path / "work" / "results").iterdir())) == 11
    assert command(suite, monkeypatch, *run) == 0


@pytest.mark.long
def test_the_table_shows_scores_differences_and_what_is_incomplete(
    suite: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    work, summary = ("--work", tmp_path / "work"), tmp_path / "quality.json"
    command(suite, monkeypatch, "run", tmp_path, *work, "--sizes", "10", "--seeds", "0", "1")
    capsys.readouterr()
    command(suite, monkeypatch, "table", *work, "--results", summary)
    shown = capsys.readouterr().out
    assert "| plain | accuracy | 10 |" in shown
    assert "(2) |" in shown, "two of three seeds"
    assert "+0.0 (-" in shown, "both methods answer alike"
    assert "| peer | 6 |" in shown
    assert '"answers"' not in summary.read_text(encoding="utf-8")
    command(suite, monkeypatch, "table", "--work", tmp_path / "none", "--results", summary)
    assert "| plain | accuracy | 10 |" in capsys.readouterr().out, "the summary alone makes a table"
    command(suite, monkeypatch, "plot", *work, "--plot", tmp_path / "quality.png")
    assert (tmp_path / "quality.png").read_bytes().startswith(b"\x89PNG")


def test_spans_of_characters_become_tags_of_words(part: Any) -> None:
    ours = part("cells.ours")
    tokens = ["Mr", "Ole", "Olsen", "of", "Bergen"]
    spans = [{"start": 3, "end": 12, "label": "PER"}, {"start": 16, "end": 22, "label": "LOC"}]
    assert ours.tags(tokens, spans) == ["O", "B-PER", "I-PER", "O", "B-LOC"]
    assert ours.tags(tokens, []) == ["O"] * 5


def test_what_the_library_refuses_is_told(part: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, methods, sets = part("cells.ours"), part("cells.methods"), part("cells.sets")
    data = sets.DataSet("labels", "accuracy", lambda data: ([], []))
    monkeypatch.setattr(ours, "trained", lambda job, rows: "error: no label")
    with pytest.raises(RuntimeError, match="refuses:\nerror: no label"):
        ours.default(methods.Job(data, [], [], 0, tmp_path))
