"""`manyheads init`: files of many kinds to a run file that passes `validate`."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from datafiles import NER, PAIRS, QA, TEXT, jsonl
from manyheads.cli import main
from manyheads.data.saved_datasets import is_saved_dataset
from manyheads.init.recognition import recognise
from manyheads.init.sources import find_sources
from manyheads.init.split_names import split_of

TAGS, NUMBERS = "token-tagging", "text-regression"
SENTENCES = [f"{who} {what}." for who in ("The old pump", "My new lamp", "This blue chair", "Her desk", "The fan")
             for what in ("broke after a week", "works very well", "was sent back twice", "never arrived at all")]  # fmt: skip
TOPICS = [("fault", "praise", "return", "delivery")[i % 4] for i in range(20)]
CONLL = "".join(f"Ada B-PER\nByron I-PER\nwrote O\nletter{i} O\n\n" for i in range(20))
POS = "".join(f"Ada NOUN\nwrote VERB\nto ADP\nLondon{i} NOUN\n\n" for i in range(20))


def squad(count: int) -> str:
    asked = [
        {"id": str(i), "question": "Who wrote it?", "answers": [{"text": "Ada", "answer_start": 0}]} for i in range(2)
    ]
    found = [
        {"title": f"t{i}", "paragraphs": [{"context": f"Ada wrote letter {i}.", "qas": asked}]} for i in range(count)
    ]
    return json.dumps({"version": "1.1", "data": found})


def rows(**columns: list[Any]) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def table(separator: str, header: list[str] | None, *columns: list[Any]) -> str:
    lines = [header] if header else []
    return "".join(separator.join(map(str, line)) + "\n" for line in [*lines, *zip(*columns, strict=True)])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, content: str) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(content.encode()) if file.suffix == ".gz" else content.encode())
    return file


def init(*arguments: object) -> dict[str, Any]:
    """The tasks of the run file that init writes."""
    assert main(["init", *map(str, arguments)]) == 0
    return dict(yaml.safe_load(Path("run.yaml").read_text(encoding="utf-8"))["tasks"])


HALVES = [i / 2 for i in range(20)]
CASES: list[tuple[str, str, str, dict[str, str]]] = [
    ("a.conll", CONLL, NER, {}),
    ("a.tsv.gz", CONLL.replace(" ", "\t"), NER, {}),
    ("a.tsv", "22\tB-CHEM\n-\tI-CHEM\n\n" + CONLL.replace(" ", "\t"), NER, {}),
    ("a.txt", POS, TAGS, {}),
    ("a.json", squad(3), QA, {}),
    ("a.jsonl", jsonl(*rows(text=SENTENCES, label=TOPICS)), TEXT, {}),
    ("a.csv", table(",", ["id", "review_body", "topic"], list(range(20)), SENTENCES, TOPICS), TEXT,
     {"text": "review_body", "label": "topic"}),
    ("a.tsv", table("\t", None, SENTENCES, [0, 1] * 10), TEXT, {"text": "1", "label": "2"}),
    ("a.tsv", table("\t", None, SENTENCES, ["2", "0,3", "1", "2,3"] * 5, [f"x{i}y" for i in range(20)]), TEXT,
     {"text": "1", "labels": "2"}),
    ("a.tsv", table("\t", None, TOPICS, SENTENCES, SENTENCES[::-1]), TEXT, {"label": "1", "text": "2", "text_pair": "3"}),
    ("a.csv", table(",", None, SENTENCES, SENTENCES[::-1], [i / 4 for i in range(20)]), PAIRS,
     {"text_a": "1", "text_b": "2", "score": "3"}),
    ("a.csv", table(",", ["sentence1", "sentence2", "similarity"], SENTENCES, SENTENCES[::-1], HALVES), PAIRS,
     {"text_a": "sentence1", "text_b": "sentence2", "score": "similarity"}),
    ("a.csv", table(",", ["query", "positive"], SENTENCES, SENTENCES[::-1]), PAIRS, {"text_a": "query", "text_b": "positive"}),
    ("a.jsonl", jsonl(*rows(premise=SENTENCES, hypothesis=SENTENCES[::-1], label=["neutral", "entailment"] * 10)), TEXT,
     {"text": "premise", "text_pair": "hypothesis"}),
    ("a.jsonl", jsonl(*rows(essay=SENTENCES, grade=HALVES)), NUMBERS, {"text": "essay", "value": "grade"}),
    ("a.jsonl", jsonl(*rows(tweet=SENTENCES, emotions=[["joy"], ["joy", "fear"], ["fear"], []] * 5)), TEXT,
     {"text": "tweet", "labels": "emotions"}),
    ("a.csv", table(",", ["id", "comment", "toxic", "rude"], list(range(20)), SENTENCES, [0, 1] * 10, [0, 0, 0, 1] * 5), TEXT,
     {"text": "comment", "labels": ("toxic", "rude")}),
    ("a.jsonl", jsonl(*rows(text=SENTENCES, by=TOPICS, a=[True, False] * 10, b=[False] * 20)), TEXT, {"labels": ("a", "b")}),
    ("a.jsonl", jsonl(*({"text": "Ada Byron wrote.", "label": [[0, 9, "PER"]]} for _ in range(5))), NER, {}),
    ("a.jsonl", jsonl(*({"words": ["Ada", "wrote"], "ner": ["B-PER", "O"]} for _ in range(5))), NER,
     {"tokens": "words", "tags": "ner"}),
    ("a.csv", table(",", ["text", "labels"], ["Ada Byron wrote", "EU fell", "It is dry ."] * 5, ["B-PER I-PER O", "B-ORG O", "O O O O"] * 5), NER,
     {"tokens": "text", "tags": "labels"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "kind", "columns"), CASES)
def test_a_file_is_recognised(folder, name, content, kind, columns):
    (source,), _ = find_sources([write(name, content)])
    (found,) = recognise(source)
    assert (found.readings[0].kind, dict(found.readings[0].columns)) == (kind, columns)


def test_a_column_for_each_label_is_written_as_a_list(folder):
    write("a.csv", table(",", ["comment", "toxic", "rude"], SENTENCES, [0, 1] * 10, [0, 0, 0, 1] * 5))
    assert init("a.csv")["a"]["data"]["train"]["columns"] == {"text": "comment", "labels": ["toxic", "rude"]}


def test_an_export_is_read_by_its_own_format_alone_though_its_columns_could_be_mapped(folder):
    some = [{"id": i, "text": f"Mira Holt visited Lund {i}.", "label": [[0, 9, "PER"], [18, 22, "LOC"]], "Comments": []} for i in range(20)]
    write("export.jsonl", jsonl(*some))
    [task] = init("export.jsonl").values()
    assert task["type"] == NER
    assert task["data"] == {"train": "export.jsonl"}


def test_parquet_and_saved_data_sets_are_recognised_with_their_splits(folder):
    import datasets

    parquet.write_table(pa.Table.from_pylist(rows(sentence=SENTENCES, label=TOPICS)), "a.parquet")
    data = datasets.Dataset.from_list(rows(content=SENTENCES, category=TOPICS))
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk("saved")
    assert is_saved_dataset(Path("saved"))
    tasks = init("a.parquet", "saved")
    assert tasks["a"]["data"] == {"train": {"path": "a.parquet", "columns": {"text": "sentence"}}}
    columns = {"text": "content", "label": "category"}
    assert tasks["saved"]["data"] == {
        split: {"path": "saved", "split": split, "columns": columns} for split in ("train", "test")
    }


@pytest.mark.parametrize(
    ("name", "split", "stem"),
    [("train.csv", "train", ""), ("eng.testa", "validation", "eng"), ("NER-DEV.conll", "validation", "ner"), ("val.csv", "validation", ""),
     ("testset.jsonl", "test", ""), ("wnut17train.conll", "train", "wnut17"), ("contest.csv", None, "contest"),
     ("latest.json", None, "latest"), ("train-00000-of-00002.parquet", "train", ""), ("devices.csv", None, "devices")],
)  # fmt: skip
def test_split_names(name, split, stem):
    assert split_of(name) == (split, stem)


@pytest.mark.long
def test_a_folder_of_mixed_files_becomes_tasks_with_splits_that_validate(folder, capsys):
    for split in ("train", "testa", "testb"):
        write(f"data/conll/eng.{split}.gz", CONLL)
    for split in ("train", "dev"):
        write(f"data/sts/pairs-{split}.csv", table(",", None, SENTENCES, SENTENCES[::-1], [i / 4 for i in range(20)]))
    write("data/reviews/train/part.jsonl", jsonl(*rows(body=SENTENCES, topic=TOPICS)))
    write("data/reviews/test/part.jsonl", jsonl(*rows(body=SENTENCES[:8], topic=TOPICS[:8])))
    write("data/squad/train.json", squad(20))
    write("data/squad/predictions.json", json.dumps({str(i): "Ada" for i in range(20)}))
    write("data/README.md", "# About this folder\n")
    tasks = init("data", "-o", "run.yaml")
    assert {name: section["type"] for name, section in tasks.items()} == {
        "conll": NER, "reviews": TEXT, "squad": QA, "sts": PAIRS,
    }  # fmt: skip
    assert tasks["conll"]["data"] == {"train": "data/conll/eng.train.gz", "validation": "data/conll/eng.testa.gz",
                                      "test": "data/conll/eng.testb.gz"}  # fmt: skip
    assert tasks["conll"]["decoder"] == "crf"
    assert tasks["sts"]["data"]["validation"] == {
        "path": "data/sts/pairs-dev.csv", "columns": {"text_a": 1, "text_b": 2, "score": 3},
    }  # fmt: skip
    assert tasks["reviews"]["data"]["test"]["path"] == "data/reviews/test/part.jsonl"
    assert "validation_fraction" in tasks["reviews"]
    told = capsys.readouterr().err
    assert "skipped data/README.md: its ending" in told
    assert "skipped data/squad/predictions.json" in told
    assert "assumed conll: token-classification from train data/conll/eng.train.gz" in told
    assert "check the columns, {text_a: 1, text_b: 2, score: 3}: guessed from values, as there is no header" in told
    text = Path("run.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=run.schema.json\n")
    assert "# check: the columns" in text
    assert json.loads(Path("run.schema.json").read_text())["title"] == "Run"
    assert main(["validate", "run.yaml"]) == 0


@pytest.mark.long
def test_the_output_goes_where_it_is_asked_and_paths_are_relative_to_it(folder, capsys):
    write("a.conll", CONLL)
    assert main(["init", "a.conll", "-o", "-"]) == 0
    told = yaml.safe_load(capsys.readouterr().out)
    assert told["tasks"]["a"]["data"]["train"] == "a.conll"
    assert not Path("run.yaml").exists()
    assert main(["init", "a.conll", "-o", "runs/ner.yaml"]) == 0
    assert yaml.safe_load(Path("runs/ner.yaml").read_text())["tasks"]["a"]["data"]["train"] == "../a.conll"
    assert main(["validate", "runs/ner.yaml"]) == 0
    before = Path("runs/ner.yaml").read_text()
    assert main(["init", "a.conll", "-o", "runs/ner.yaml"]) == 2
    assert "runs/ner.yaml already exists; give another -o, or --force to replace it" in capsys.readouterr().err
    assert Path("runs/ner.yaml").read_text() == before
    assert main(["init", "a.conll", "-o", "runs/ner.yaml", "--force"]) == 0
    assert main(["init", "a.conll", "-o", "runs"]) == 2


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"notes.md": "# Notes\n", "letter.txt": "Dear all,\n\nsee you soon.\n"}, "no data for any task type was recognised"),
        ({"t.csv": "id,price\n1,2.5\n2,3.5\n"}, "its columns (id, price) fit no task type"),
        ({"reviews-train.csv": table(",", ["text", "label"], SENTENCES, TOPICS),
          "reviews-training.jsonl": jsonl(*rows(text=SENTENCES, label=TOPICS))}, "are both train data of one data set"),
        ({"a.csv": table(",", ["text", "label"], SENTENCES, TOPICS),
          "a-train.csv": table(",", ["text", "label"], SENTENCES, TOPICS)}, "are both training data of one data set"),
        ({"a.jsonl": jsonl(*rows(text=SENTENCES * 200, label=TOPICS * 200)) + "{broken\n"},
         "no data can be used: left out a: a.jsonl:4001 is not valid JSON"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_run_file_is_refused_with_the_reason(folder, capsys, files, message):
    for name, content in files.items():
        write(name, content)
    assert main(["init", *files]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
    assert not Path("run.yaml").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("Dear all, see you soon.\n".encode("utf-16"), "a.txt:1 is not UTF-8: byte 0xff at column 1 (it looks like UTF-16); save"),
        (b"question How tall is it?\nstatement It is tall.\n" * 10, "write format: label-lines"),
        (b"Dear all,\nwe will see you soon.\n", "data is read from .csv, .json"),
    ],
)  # fmt: skip
def test_the_reason_why_no_task_type_reads_a_file_is_one_that_helps(folder, capsys, content, reason):
    Path("a.txt").write_bytes(content)
    assert main(["init", "a.txt"]) == 2
    assert reason in capsys.readouterr().err


def test_missing_files_and_no_files_are_refused(folder, capsys):
    assert main(["init", "no.csv"]) == 2
    assert "no.csv does not exist; give data files" in capsys.readouterr().err
    assert main(["init"]) == 2
    assert "init needs data files or folders, or --example" in capsys.readouterr().err


@pytest.mark.long
def test_a_split_or_task_with_bad_rows_past_the_beginning_is_left_out_with_its_place(folder, capsys):
    good = jsonl(*rows(text=SENTENCES * 101, label=TOPICS * 101))
    write("a/train.jsonl", good)
    write("a/test.jsonl", good + '{"text": "", "label": "fault"}\n')
    write("b/train.jsonl", good + '{"label": "fault"}\n')
    tasks = init("a", "b")
    assert list(tasks) == ["a"]
    assert list(tasks["a"]["data"]) == ["train"]
    told = capsys.readouterr().err
    assert "left out test data of a: a/test.jsonl:2021" in told
    assert "left out b: b/train.jsonl:2021" in told
    assert "# test: left out, because a/test.jsonl:2021" in Path("run.yaml").read_text()
    assert main(["validate", "run.yaml"]) == 0


def test_a_few_rows_go_without_validation_data(folder):
    write("tiny.jsonl", jsonl(*rows(text=SENTENCES[:2], label=TOPICS[:2])))
    assert init("tiny.jsonl")["tiny"]["validation_fraction"] == 0
    assert main(["validate", "run.yaml"]) == 0


def test_a_single_document_of_two_files_is_one_data_set(folder):
    write("d/doc.txt", "Ada wrote a letter.")
    write("d/doc.ann", "T1\tPER 0 3\tAda\n")
    assert init("d")["d"]["validation_fraction"] == 0


def test_rows_with_the_labels_of_several_tasks_become_several_tasks(folder):
    write("all.jsonl", jsonl(*({"text": text, "targets": {"topic": topic, "things": [{"start": 0, "end": 3, "label": "THING"}]}}
                               for text, topic in zip(SENTENCES, TOPICS, strict=True))))  # fmt: skip
    tasks = init("all.jsonl")
    assert {name: section["type"] for name, section in tasks.items()} == {"topic": TEXT, "things": NER}
    assert {section["data"]["train"] for section in tasks.values()} == {"all.jsonl"}


@pytest.mark.long
def test_other_labels_of_the_same_texts_become_a_task_of_their_own(folder, capsys):
    moods = [("good", "bad", "bad")[i % 3] for i in range(20)]
    columns = {"id": list(range(20)), "review": SENTENCES, "topic": TOPICS, "sentiment": moods,
               "language": ["en", "de"] * 10, "year": [2001, 2002] * 10}  # fmt: skip
    for split in ("train", "test"):
        write(f"reviews/{split}.csv", table(",", list(columns), *columns.values()))
    tasks = init("reviews")
    assert {name: (section["type"], section["data"]) for name, section in tasks.items()} == {
        "topic": (TEXT, {split: {"path": f"reviews/{split}.csv", "columns": {"text": "review", "label": "topic"}}
                         for split in ("train", "test")}),
        "sentiment": (TEXT, {split: {"path": f"reviews/{split}.csv", "columns": {"text": "review", "label": "sentiment"}}
                             for split in ("train", "test")}),
    }  # fmt: skip
    assert "check a second task of the same texts, because of their sentiment" in capsys.readouterr().err
    assert main(["validate", "run.yaml"]) == 0


def test_a_label_that_could_be_in_another_column_is_to_be_checked(folder, capsys):
    agents = [("Ines", "Tom", "Mirjam")[i % 3] for i in range(20)]
    write("tickets.csv", table(",", ["message", "squad", "handled_by"], SENTENCES, TOPICS, agents))
    [section] = init("tickets.csv").values()
    [other] = {"squad", "handled_by"} - {section["data"]["train"]["columns"]["label"]}
    assert f"  check the label: {other} could hold it as well\n" in capsys.readouterr().err
    assert f"# check: the label: {other} could hold it as well\n" in Path("run.yaml").read_text()


@pytest.mark.long
def test_labels_beside_entities_become_two_tasks(folder):
    spans = [[{"start": 0, "end": 3, "label": "THING"}]] * 20
    write("a.jsonl", jsonl(*rows(text=SENTENCES, label=TOPICS, entities=spans)))
    parquet.write_table(pa.Table.from_pylist(rows(body=SENTENCES, category=TOPICS, mentions=spans)), "b.parquet")
    results = [[{"type": "labels", "value": {"start": 0, "end": 3, "labels": ["THING"]}},
                {"type": "choices", "value": {"choices": [topic]}}] for topic in TOPICS]  # fmt: skip
    write("c.json", json.dumps([{"data": {"text": text}, "annotations": [{"result": result}]}
                                for text, result in zip(SENTENCES, results, strict=True)]))  # fmt: skip
    tasks = init("a.jsonl", "b.parquet", "c.json")
    assert {name: section["type"] for name, section in tasks.items()} == {
        "a": TEXT, "entities": NER, "b": TEXT, "mentions": NER, "c": NER, "label": TEXT,
    }  # fmt: skip
    assert tasks["mentions"]["data"]["train"] == {"path": "b.parquet", "columns": {"text": "body", "entities": "mentions"}}
    assert main(["validate", "run.yaml"]) == 0


@pytest.mark.parametrize(
    "more",
    [{"label_text": ["red" if topic == "fault" else topic for topic in TOPICS]}, {"language": ["en", "de"] * 10},
     {"votes": list(range(20))}, {"target": [f"{i}" for i in range(20)]}],
)  # fmt: skip
def test_names_of_the_same_labels_and_other_columns_are_no_further_task(folder, more):
    write("a.jsonl", jsonl(*rows(text=SENTENCES, label=TOPICS, **more)))
    assert list(init("a.jsonl")) == ["a"]


def test_brat_documents_in_folders_of_splits_are_read_folder_by_folder(folder):
    for split in ("train", "test"):
        for number in range(12):
            write(f"corpus/{split}/{number}.txt", f"Ada wrote letter {number}.")
            write(f"corpus/{split}/{number}.ann", "T1\tPER 0 3\tAda\n")
    tasks = init("corpus")
    assert [section["data"] for section in tasks.values()] == [{"train": "corpus/train", "test": "corpus/test"}]


def test_shards_of_a_split_are_one_split(folder):
    for number in range(2):
        found = rows(text=SENTENCES[number::2], label=TOPICS[number::2])
        parquet.write_table(pa.Table.from_pylist(found), f"train-0000{number}-of-00002.parquet")
    (section,) = init(".").values()
    assert section["data"]["train"] == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]


def test_files_with_other_names_complete_one_another_if_their_labels_agree(folder):
    write("d/wnut17train.conll", CONLL)
    write("d/emerging.dev.conll", CONLL)
    (section,) = init("d").values()
    assert section["data"] == {"train": "d/wnut17train.conll", "validation": "d/emerging.dev.conll"}
    write("e/people-train.conll", CONLL)
    write("e/places-dev.conll", CONLL.replace("PER", "LOC"))
    assert len(init("e", "--force")) == 2


def test_one_bad_row_is_a_mistake_with_its_line_and_not_another_kind_of_file(folder, capsys):
    write("tickets.csv", table(",", ["sentence", "category"], [*SENTENCES, "Something else."], [*TOPICS, ""]))
    [found] = recognise(find_sources([Path("tickets.csv")])[0][0])
    assert found.readings[0].kind == TEXT
    assert main(["init", "tickets.csv"]) == 2
    assert "tickets.csv:22" in capsys.readouterr().err
    assert not Path("run.yaml").exists()
