"""Task types that say nothing of files: scored by their own `read` and `score`, in formats that follow from their columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest
from pyarrow import parquet

from manyheads.cli import main
from manyheads.errors import DataError, RowError, UsageError
from manyheads.scoring import score_files
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import DataStatistics, Moments, Row, Task, text_of
from manyheads.text.values import number_of

Columns = tuple[tuple[str, ...], ...]


def absent(*_: Any) -> Any:
    """What scoring does not need."""
    raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Rating(Task[Any]):
    """A number for a text; the error is measured in the range of the gold ratings."""

    kind: ClassVar[str] = "rating"
    main_metric: ClassVar[str] = "error"
    metric_names: ClassVar[tuple[str, ...]] = ()
    example_noun: ClassVar[str] = "reviews"
    outputs: ClassVar[Mapping[str, Any]] = {}
    answer_types: ClassVar[Mapping[str, Any]] = {}
    span: tuple[float, float] = (0.0, 0.0)

    sources_of_example = source_of_row = build_head = targets = denominator = loss = decode = evidence = describe = validate = absent

    def read(self, row: Row) -> float:
        text_of(row)
        if "rating" not in row:
            raise RowError("has no 'rating'")
        return number_of(row["rating"], "rating")

    def row_of_target(self, row: Row, target: Any) -> Row:
        return {"text": text_of(row), "rating": target}

    def collect(self, example: float) -> DataStatistics:
        return DataStatistics(numbers={"rating": Moments.of(example)})

    def fit(self, statistics: DataStatistics) -> Rating:
        rating = statistics.numbers["rating"]
        return replace(self, span=(rating.low, rating.high))

    def score(self, answers: Sequence[Sequence[Any]], examples: Sequence[float]) -> dict[str, float]:
        off = [abs(answer[0] - example) for answer, example in zip(answers, examples, strict=True)]
        return {"error": sum(off) / len(off) / max(self.span[1] - self.span[0], 1.0)}


class Lenient(Rating):
    """An unanswered text is as far off as can be."""

    kind: ClassVar[str] = "lenient"

    def score(self, answers: Sequence[Sequence[Any]], examples: Sequence[float]) -> dict[str, float]:
        width = self.span[1] - self.span[0]
        given = [
            [example + width] if answer[0] is None else answer
            for answer, example in zip(answers, examples, strict=True)
        ]
        return super().score(given, examples)


class Nested(Rating):
    """Answers are objects, and rows have them as columns of their own."""

    kind: ClassVar[str] = "nested"

    @classmethod
    def matches_entry(cls, entry: Any) -> bool:
        return isinstance(entry, Mapping) and "stars" in entry

    def score(self, answers: Sequence[Sequence[Any]], examples: Sequence[float]) -> dict[str, float]:
        return super().score([[answer["stars"]] for [answer] in answers], examples)


@pytest.fixture(autouse=True)
def others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The types above are known, and messages show relative paths."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TASK_TYPES, "_known", dict(TASK_TYPES))
    for cls in (Rating, Lenient, Nested):
        TASK_TYPES.register(cls)


def written(name: str, content: Any) -> Path:
    path = Path(name)
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(content), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
    else:
        path.write_text(content)
    return path


RATED = [{"id": f"r{k}", "text": f"t{k}", "rating": rating} for k, rating in enumerate([1.0, 5.0, 3.0])]
GIVEN = [1.0, 3.0, 5.0]
ERROR = {"error": (0 + 2 + 2) / 3 / 4}
GOLD: dict[str, Any] = {
    "g.jsonl": RATED,
    "g.parquet": RATED,
    "g.csv": "id,text,rating\nr0,t0,1\nr1,t1,5.0\nr2,t2,3\n",
    "g.targets.jsonl": [{"id": r["id"], "text": r["text"], "targets": {"stars": r["rating"]}} for r in RATED],
}
PREDICTED: dict[str, Any] = {
    "p.jsonl": [{"text": f"t{k}", "answer": x} for k, x in enumerate(GIVEN)],
    "p.ids.jsonl": [{"id": f"r{k}", "answer": GIVEN[k]} for k in (2, 0, 1)],
    "p.parquet": [{"id": f"r{k}", "answer": x} for k, x in enumerate(GIVEN)],
    "p.rows.jsonl": [{"id": f"r{k}", "windows": 1, "tasks": {"stars": x}} for k, x in enumerate(GIVEN)],
    "p.targets.jsonl": [{"id": f"r{k}", "text": f"t{k}", "targets": {"stars": x}} for k, x in enumerate(GIVEN)],
}  # fmt: skip


@pytest.mark.parametrize("gold", GOLD)
@pytest.mark.parametrize("predicted", PREDICTED)
def test_a_type_that_says_nothing_is_scored_by_its_own_read_and_score(gold: str, predicted: str) -> None:
    scores = score_files("rating", written(gold, GOLD[gold]), written(predicted, PREDICTED[predicted]))
    assert scores.metrics == pytest.approx(ERROR)
    assert scores.notes == ["3 reviews"]


def test_rows_without_a_target_are_left_out() -> None:
    gold = written("g.jsonl", [*GOLD["g.targets.jsonl"], {"id": "r3", "text": "t3", "targets": {}}])
    scores = score_files(
        "rating", gold, written("p.jsonl", [*PREDICTED["p.rows.jsonl"], {"id": "r3", "tasks": {"stars": 9.0}}])
    )
    assert scores.metrics == pytest.approx(ERROR)
    assert scores.notes == ["3 reviews", "1 gold rows have nothing for the task and are ignored"]


def test_answers_beside_those_of_other_tasks_are_chosen_by_name_or_by_what_the_type_holds() -> None:
    gold = written("g.jsonl", RATED)
    rows = [{"id": f"r{k}", "windows": 1, "tasks": {"ner": [], "stars": {"stars": x}}} for k, x in enumerate(GIVEN)]
    guesses = written("p.jsonl", rows)
    assert score_files("nested", gold, guesses).metrics == pytest.approx(ERROR)
    with pytest.raises(DataError, match=r"p.jsonl has several tasks that could be rating: ner, stars; name one"):
        score_files("rating", gold, guesses)
    plain = [{"id": f"r{k}", "tasks": {"ner": [], "stars": x}} for k, x in enumerate(GIVEN)]
    assert score_files("rating", gold, written("q.jsonl", plain), "stars").metrics == pytest.approx(ERROR)
    alone = [{"id": f"r{k}", "stars": x} for k, x in enumerate(GIVEN)]
    assert score_files("nested", gold, written("a.jsonl", alone)).metrics == pytest.approx(ERROR)


def test_an_error_is_answered_with_none_where_the_type_can_score_that() -> None:
    gold = written("g.jsonl", RATED)
    rows = [
        {"id": "r0", "tasks": {"s": 1.0}},
        {"id": "r1", "error": {"message": "no"}},
        {"id": "r2", "tasks": {"s": 3.0}},
    ]
    guesses = written("p.jsonl", rows)
    assert score_files("lenient", gold, guesses).metrics == pytest.approx({"error": 1 / 3})
    with pytest.raises(
        DataError, match=r"p.jsonl:2 has an error: .*without its answer, leave the row out of both files"
    ):
        score_files("rating", gold, guesses)


WRONG: dict[str, tuple[Any, Any, str]] = {
    "gold": ([{"text": "t"}], [{"answer": 1.0}], r"g.jsonl:1: has no 'rating'"),
    "gold value": ([{"text": "t", "rating": "good"}], [{"answer": 1.0}], r"g.jsonl:1: 'rating' must be a number, seen 'good'"),
    "answer": (
        RATED, [{"answer": 1.0}, {"answer": "5"}, {"answer": 1.0}],
        r"p.jsonl:2: rating cannot score the answer '5' \(TypeError: .*\)$",
    ),
    "no answer": (
        RATED, [{"rating": 1.0}] * 3,
        r"p.jsonl:1: rating cannot score the answer \{'rating': 1.0\} \(TypeError: .*\); give the answer as 'answer'$",
    ),
    "text": (RATED, [{"text": "x", "answer": 1.0}] * 3, r"p.jsonl:1 has the text 'x' where g.jsonl:1 has 't0'"),
    "number": (RATED, [{"answer": 1.0}] * 2, r"g.jsonl:3 has no counterpart"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_rows_that_the_type_cannot_score_are_refused_with_their_place(name: str) -> None:
    gold, guesses, message = WRONG[name]
    with pytest.raises(DataError, match=message):
        score_files("rating", written("g.jsonl", gold), written("p.jsonl", guesses))


def test_an_error_of_the_type_itself_is_not_laid_on_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Rating, answers: Sequence[Any], examples: Sequence[Any]) -> dict[str, float]:
        return {"error": 0.0} if len(examples) == 1 else {}["error"]

    monkeypatch.setattr(Rating, "score", broken)
    with pytest.raises(KeyError):
        score_files("rating", written("g.jsonl", RATED), written("p.jsonl", PREDICTED["p.jsonl"]))


TABLES = ".csv, .json, .jsonl, .ndjson, .parquet, .tsv"


@pytest.mark.parametrize(
    ("columns", "formats"),
    [
        ((), TABLES),
        ((("text", "rating"),), TABLES),
        ((("text", "answers"), ("text", "rating")), TABLES),
        ((("text", "answers"),), ".json, .jsonl, .ndjson, .parquet"),
        ((("text", "entities"),), ".json, .jsonl, .ndjson, .parquet"),
        ((("tokens", "tags", "heads"),), ".json, .jsonl, .ndjson, .parquet"),
    ],
)
def test_formats_follow_from_the_columns(columns: Columns, formats: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rating, "columns", columns)
    with pytest.raises(DataError, match=rf"x.txt: rating is scored from {formats}, each also as .gz"):
        score_files("rating", Path("x.txt"), Path("x.txt"))


def test_columns_of_tags_and_squad_are_read_for_types_that_have_such_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    def tags(self: Rating, row: Row) -> float:
        return float(row["tags"][0] == "B-BAD")

    monkeypatch.setattr(Rating, "columns", (("tokens", "tags"),))
    monkeypatch.setattr(Rating, "read", tags)
    gold = written("g.conll", "bad B-BAD\n\ngood O\n")
    guesses = written("p.jsonl", [{"answer": 1.0}, {"answer": 0.0}])
    assert score_files("rating", gold, guesses).metrics == {"error": 0.0}
    monkeypatch.setattr(Rating, "columns", (("question", "answers"),))
    monkeypatch.setattr(Rating, "read", lambda self, row: float(len(row["answers"])))
    qas = [{"id": "q1", "question": "?", "answers": []}, {"id": "q2", "question": "?", "answers": [{"text": "a"}]}]
    gold = written("g.json", json.dumps({"data": [{"paragraphs": [{"context": "c", "qas": qas}]}]}))
    assert score_files("rating", gold, written("p.json", json.dumps({"q2": 1, "q1": 0}))).metrics == {"error": 0.0}


def test_one_file_for_both_has_gold_in_the_column_before_only_where_it_has_columns_of_tags() -> None:
    path = written("x.jsonl", [{"text": "t", "rating": 1.0, "answer": 1.0, "before": ""}])
    scores = score_files("rating", path, path)
    assert scores.metrics == {"error": 0.0}
    assert scores.notes == ["1 reviews"]


def test_known_types_are_named_by_help_and_by_the_error_for_an_unknown_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(UsageError, match=r"no task type is called 'stars'; choose one of .*, rating, lenient, nested"):
        score_files("stars", Path("a"), Path("b"))
    with pytest.raises(SystemExit) as ended:
        main(["score", "--help"])
    assert ended.value.code == 0
    assert f"{', '.join(list(TASK_TYPES)[:-1])} or nested" in " ".join(capsys.readouterr().out.split())
    assert main(["score", "rating", str(written("g.jsonl", RATED)), str(written("p.jsonl", PREDICTED["p.jsonl"]))]) == 0
    assert "0.3333" in capsys.readouterr().out
