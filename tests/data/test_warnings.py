"""What is likely to be wrong with data is told with its place and what to do, and stops nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from datafiles import TEXT, jsonl, rows_of
from manyheads.config.dataset import read_task
from manyheads.config.files import load_run
from manyheads.config.task_data import TaskData
from manyheads.data.warnings import step_warnings, warnings_of
from manyheads.errors import DataError
from manyheads.tasks.sentence_embedding.training import _cosine_target


def read(write, kind: str, train: str, rows: str, more: str = "", **splits: str) -> TaskData:
    """A task of a run file with these data files."""
    for name, content in {train: rows, **{f"{k}.{train.rpartition('.')[2]}": v for k, v in splits.items()}}.items():
        write(name, content)
    data = {"train": train, **{split: f"{split}.{train.rpartition('.')[2]}" for split in splits}}
    run = f"tasks:\n  t:\n    type: {kind}\n    data: {json.dumps(data)}\n{more}"
    return read_task(load_run(write("run.yaml", run)), "t")


def warned(data: TaskData, split: str = "train") -> list[str]:
    return warnings_of(data.splits)[split]


def texts(labels: list[object]) -> str:
    return jsonl(*({"text": f"text {i}", "label": label} for i, label in enumerate(labels)))


def test_rare_labels_are_told_and_stop_nothing(write):
    data = read(write, TEXT, "a.jsonl", texts(["A"] * 30 + ["B"] * 30 + ["C"]), "    validation_fraction: 0\n")
    assert data.task.labels == ("A", "B", "C")
    assert warned(data) == [
        "a.jsonl:61: label 'C' has 1 example, from which little is learned; add examples, or correct or remove the row"
    ]


def test_few_rows_for_validation_are_told_with_what_gives_more(write):
    aside = read(write, TEXT, "a.jsonl", texts(["A", "B"] * 30))
    assert warned(aside, "validation")[0].endswith(
        "so scores depend on chance; raise tasks.t.validation_fraction, or name a larger file under tasks.t.data.validation"
    )
    named = read(write, TEXT, "a.jsonl", texts(["A", "B"] * 30), validation=texts(["A", "B"]))
    assert warned(named, "validation")[0] == (
        "2 examples, so scores depend on chance; name a larger file under tasks.t.data.validation"
    )


def test_few_steps_are_told_where_the_recipe_did_not_choose_them():
    rate = ["recipe: learning_rate: 0.0001 (for an encoder of width 384)"]
    assert step_warnings(60, "steps", rate) == [
        "training has 60 steps, fewer than 100, in which little is learned; raise training.steps"
    ]
    [warning] = step_warnings(60, "epochs", rate)
    assert warning.endswith("; raise training.epochs, or lower training.tokens_per_step")
    assert (
        step_warnings(60, "epochs", ["recipe: epochs: 15 (80 rows: 15 up to 300 rows, fewer with more, at least 3)"]) == []
    )
    assert step_warnings(100, "steps", []) == []
    assert step_warnings(0, "epochs", []) == [], "everything is frozen"


def test_labels_of_other_splits_that_training_never_shows_are_told_and_scored_as_misses(write):
    data = read(
        write, TEXT, "a.jsonl", texts(["Alpha", "Beta"] * 30), validation=texts(["Alpha", "Alpa", "Beta", "Zeta"])
    )
    assert warned(data, "validation")[1] == (
        "labels that are not in the training data: 'Alpa' (1, the first at validation.jsonl:2), did you mean 'Alpha'?, 'Zeta' (1, "
        "the first at validation.jsonl:4), did you mean 'Beta'?; they are scored as misses: correct them, or add examples to train"
    )
    examples = list(data.table("validation"))
    answers = [[{"label": "Alpha", "score": 1.0, "scores": {"Alpha": 1.0, "Beta": 0.0}}] for _ in examples]
    assert data.task.score(answers, examples)["accuracy"] == 0.25
    assert data.task.evidence(answers, examples, [""] * 4) is not None


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["Bad", "bad", "good"], ["differ by case", "'Bad' (20, the first at a.jsonl:1)", "'bad' (20, the first at a.jsonl:2)"]),
        (["très bon", "très  bon", "x"], ["differ by case, white space or form alone"]),
        (["caf\u00e9", "cafe\u0301", "x"], ["differ by case, white space or form alone"]),
        (["1", "1.0", "x"], ["differ by case, white space or form alone"]),
        ([0.0, 1.0], ["labels are decimal numbers, read as whole numbers"]),
        ([0.5, 1.5, 2.5], ["labels are decimal numbers such as '0.5'"]),
        (list(range(25)), ["all 25 labels are numbers, and each is a separate class"]),
        (["a", "b", "a;b"], ["label 'a;b' looks like several labels"]),
    ],
)  # fmt: skip
def test_labels_that_look_like_slips_are_told(write, labels, words):
    data = read(write, TEXT, "a.jsonl", texts(labels * 20), "    validation_fraction: 0\n")
    told = "\n".join(warned(data))
    assert all(word in told for word in words), told


def test_labels_that_are_as_they_should_be_are_not(write):
    for labels in (["-1", "0", "1"], ["positive", "negative"], ["A-1", "A-2"], ["B cell", "T cell"], list(range(19))):
        data = read(write, TEXT, "a.jsonl", texts(labels * 20), "    validation_fraction: 0\n")
        assert warned(data) == []


def test_uneven_classes_and_a_small_validation_part_are_told_with_the_key_to_change(write):
    data = read(write, TEXT, "a.jsonl", texts(["A"] * 520 + ["B"] * 8))
    assert any("more than 50 to 1" in text and "set tasks.t.class_weights: balanced" in text for text in warned(data))
    data = read(write, TEXT, "a.jsonl", texts(["A"] * 520 + ["B"] * 8), "    class_weights: balanced\n")
    assert not any("to 1" in text for text in warned(data))
    small = read(write, TEXT, "a.jsonl", texts(["A", "B"] * 40))
    assert "raise tasks.t.validation_fraction" in warned(small, "validation")[0]


def test_a_list_of_labels_that_leaves_one_out_says_so(write):
    with pytest.raises(DataError) as caught:
        read(write, TEXT, "a.jsonl", texts(["A", "B"] * 30), "    labels: [A, C]\n    validation_fraction: 0\n")
    assert str(caught.value).splitlines()[0] == (
        "tasks.t.data.train: a.jsonl:2: label 'B' is not among the labels of the task, which are A, C; add it to "
        "tasks.t.labels, or leave 'labels' out, so that all labels of the data count"
    )


def test_the_defects_of_all_splits_are_told_at_once(write):
    with pytest.raises(DataError) as caught:
        read(write, TEXT, "a.jsonl", texts(["A", None]), validation='{"text": 1}\n', test="{\n")
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == [
        "tasks.t.data.train", "tasks.t.data.validation", "tasks.t.data.test"
    ]  # fmt: skip


def test_lists_that_went_through_csv_are_lists_and_zeros_and_ones_are_refused(write):
    rows = "text,labels\n" + "".join(f"text {i},\"['bad', 'late']\"\ntext {i}b,['good']\n" for i in range(30))
    assert read(write, TEXT, "a.csv", rows).task.labels == ("bad", "good", "late")
    with pytest.raises(
        DataError, match=r"a\.csv:2: label \"\['bad'\]\" is a list in a string; name the column 'labels'"
    ):
        read(write, TEXT, "a.csv", "text,label\na,['bad']\nb,['good']\n")
    with pytest.raises(DataError, match=r"a\.jsonl:1: 'labels' is a vector of zeros and ones"):
        read(write, TEXT, "a.jsonl", jsonl({"text": "a", "labels": [0, 1, 0]}, {"text": "b", "labels": [1, 0, 0]}))
    both = jsonl(*({"text": f"{i}", "labels": [i % 2, 1 - i % 2]} for i in range(30)))
    assert any("every example has all 2 labels (0, 1)" in text for text in warned(read(write, TEXT, "a.jsonl", both)))


@pytest.mark.parametrize("label", ["nan", "NA", "-", "N/A"])
def test_labels_that_stand_for_a_missing_one_are_told(write, label):
    found = warned(read(write, TEXT, "a.jsonl", jsonl(*({"text": f"{i}", "label": ["good", label][i % 2]} for i in range(60)))))
    assert any(f"label {label!r} has" in text and "usually stands for a missing label" in text for text in found)


@pytest.mark.parametrize("nested", [False, True])
def test_class_numbers_of_parquet_become_their_names(write, nested):
    label = {"_type": "ClassLabel", "names": ["late", "in time"]}
    column, name = ([[0, 1], [1], [-1]], "labels") if nested else ([0, 1, -1], "label")
    features = {name: {"_type": "Sequence", "feature": label} if nested else label}
    table = pa.table({"text": ["a", "b", "c"], name: column})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    write("x", "")
    parquet.write_table(table.replace_schema_metadata(metadata), "a.parquet")
    rows = rows_of(Path("a.parquet"), TEXT)
    if nested:
        assert [row.values[name] for row in rows[:2]] == [["late", "in time"], ["in time"]]
    else:
        assert [row.values[name] for row in rows] == ["late", "in time", -1]
        assert [row.skip for row in rows] == [None, None, "no label (label is -1)"]


PAIRS_HEAD = "text_a,text_b,score\n"


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.9, -1, 0.2], (-1.0, 1.0)), ([0.1, 0.9], (0.0, 1.0)), ([0, 2.5, 5], (0.0, 5.0)), ([1, 9.5], (0.0, 10.0)),
        ([10, 99], (0.0, 100.0)), ([-3, 3], (-3.0, 3.0)), ([200, 900], (200.0, 900.0)),
    ],
)  # fmt: skip
def test_the_range_of_scores_comes_from_the_data_of_all_splits(write, scores, expected):
    rows = PAIRS_HEAD + "".join(f"a{i},b{i},{score}\n" for i, score in enumerate(scores))
    least = PAIRS_HEAD + "a,b,{0}\nc,d,{0}\n".format(scores[0])
    data = read(write, "sentence-embedding", "a.csv", least, "    objective: cosine\n", validation=rows)
    assert data.task.score_range == expected


def test_a_score_in_minus_one_to_one_is_trained_to_itself(write):
    rows = PAIRS_HEAD + "a,b,0.9\nc,d,-1\ne,f,0\n"
    data = read(write, "sentence-embedding", "a.csv", rows, "    objective: cosine\n    validation_fraction: 0\n")
    assert [_cosine_target(data.task, pair.score) for pair in data.table("train")] == [0.9, -1.0, 0.0]


def test_a_score_outside_of_the_range_that_is_given_is_refused_with_its_place(write):
    with pytest.raises(DataError, match=r"a\.csv:3: score 7 is outside the range of scores, 0 to 5; correct it"):
        read(write, "sentence-embedding", "a.csv", PAIRS_HEAD + "a,b,1\nc,d,7\n",
             "    objective: cosine\n    score_range: [0, 5]\n    validation_fraction: 0\n")  # fmt: skip


def test_pairs_that_all_have_one_score_are_refused(write):
    with pytest.raises(DataError, match=r"task '.*': all pairs have the score 1, from which nothing is learned; give pairs with"):
        read(write, "sentence-embedding", "a.csv", PAIRS_HEAD + "a,b,1\nc,d,1\n", "    validation_fraction: 0\n")


def test_a_score_that_lies_far_from_all_others_is_told(write):
    rows = PAIRS_HEAD + "".join(f"a{i},b{i},{45 if i == 17 else i % 6}\n" for i in range(60))
    data = read(write, "sentence-embedding", "a.csv", rows, "    validation_fraction: 0\n")
    assert warned(data) == [
        "a.csv:19: score 45 lies far from all others, which are within 2.5 of 2.5; correct it if it is a typo"
    ]


@pytest.mark.parametrize("more", ["    validation_fraction: 0\n", "    validation_fraction: 0.2\n"])
def test_labels_that_have_a_column_and_no_row_are_named_once_with_their_number(write, more):
    names = [f"l{i}" for i in range(9)]
    rows = [{"text": f"text {i}", "labels": {name: int(name == names[i % 2]) for name in names}} for i in range(40)]
    for _ in range(2):  # the second time from the cache
        found = [one for one in warned(read(write, TEXT, "a.jsonl", jsonl(*rows), more)) if "no training row" in one]
        assert found == ["task 't' does not learn 7 labels that no training row has: 'l2', 'l3', 'l4', 'l5', 'l6' and 2 more; add "
                         "rows with them, or leave them out"]  # fmt: skip
    cells = [",".join([row["text"], *map(str, row["labels"].values())]) for row in rows]
    write("b.csv", "\n".join([",".join(["text", *names]), *cells]))
    data = f"{{path: b.csv, columns: {{labels: [{', '.join(names)}]}}}}"
    run = write("run.yaml", f"tasks:\n  t:\n    type: {TEXT}\n    data: {{train: {data}}}\n{more}")
    assert found[0] in warned(read_task(load_run(run), "t"))
    listed = write("run.yaml", run.read_text() + "    labels: [l0, l1, l9]\n")
    assert "task 't' does not learn 8 labels that no training row has: 'l9', " in " ".join(warned(read_task(load_run(listed), "t")))
