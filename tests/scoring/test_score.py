"""Files of gold data and answers, in every pairing of formats, and what is said when they do not match."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from manyheads.errors import DataError, UsageError
from manyheads.scoring import score_files

TOKENS, TEXT, QA, PAIRS = "token-classification", "text-classification", "question-answering", "sentence-embedding"
Write = Callable[[str, Any], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write text, or rows as the name says, and give the relative path, which messages show."""
    monkeypatch.chdir(tmp_path)

    def written(name: str, content: Any) -> Path:
        path, plain = Path(name), name.removesuffix(".gz")
        if isinstance(content, bytes):
            raw = content
        elif isinstance(content, str):
            raw = content.encode()
        elif plain.endswith(".json"):
            raw = json.dumps(content).encode()
        elif plain.endswith(".parquet"):
            sink = pa.BufferOutputStream()
            parquet.write_table(pa.Table.from_pylist(content), sink)
            raw = sink.getvalue().to_pybytes()
        elif plain.endswith((".csv", ".tsv")):
            with path.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(stream, list(content[0]), delimiter="\t" if ".tsv" in name else ",")
                writer.writeheader()
                writer.writerows(content)
            raw = path.read_bytes()
        else:
            raw = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content).encode()
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        return path

    return written


# -- token-classification ---------------------------------------------------------------------------------------------
GOLD = "EU B-ORG\nrejects O\nGerman B-MISC\ncall O\n. O\n\nPeter B-PER\nBlackburn I-PER\n"
GUESS = "EU B-ORG\nrejects O\nGerman O\ncall B-MISC\n. O\n\nPeter B-PER\nBlackburn I-PER\n"
EXPECTED = {"f1": 2 / 3, "precision": 2 / 3, "recall": 2 / 3, "token_accuracy": 5 / 7}
TEXTS = ["EU rejects German call .", "Peter Blackburn"]


def tagged(columns: str) -> list[dict[str, Any]]:
    """Rows of tokens and tags."""
    sentences = [[line.split() for line in part.splitlines()] for part in columns.split("\n\n")]
    return [{"tokens": [word for word, _ in s], "tags": [tag for _, tag in s]} for s in sentences]


def spans(*sentences: list[tuple[int, int, str]]) -> list[list[dict[str, Any]]]:
    return [[{"start": a, "end": b, "label": label, "text": text[a:b]} for a, b, label in found]
            for found, text in zip(sentences, TEXTS, strict=True)]  # fmt: skip


GOLD_SPANS = spans([(0, 2, "ORG"), (11, 17, "MISC")], [(0, 15, "PER")])
GUESS_SPANS = spans([(0, 2, "ORG"), (18, 22, "MISC")], [(0, 15, "PER")])
FORMS: dict[str, Callable[[str, list[list[dict[str, Any]]]], Any]] = {
    "x.conll": lambda columns, _: columns,
    "x.iob.gz": lambda columns, _: columns.replace(" ", "\t").replace("\n", "\r\n"),
    "x.txt": lambda columns, _: "-DOCSTART- O\n\n" + columns,
    "x.jsonl": lambda columns, _: tagged(columns),
    "x.parquet": lambda columns, _: tagged(columns),
    "x.text.jsonl": lambda _, found: [{"text": t, "entities": e} for t, e in zip(TEXTS, found, strict=True)],
    "x.rows.jsonl": lambda _, found: [{"id": k, "windows": 1, "tasks": {"ner": e}} for k, e in enumerate(found)],
    "x.ids.jsonl.gz": lambda _, found: [{"id": str(k), "text": TEXTS[k], "entities": found[k]} for k in (1, 0)],
    "x.targets.jsonl": lambda _, found: [
        {"id": k, "text": TEXTS[k], "targets": {"ner": found[k], "topic": "a"}} for k in (0, 1)
    ],
}


WITH_IDS = {"x.rows.jsonl", "x.ids.jsonl.gz", "x.targets.jsonl"}
PAIRINGS = [
    (gold, guess) for gold in FORMS for guess in FORMS
    if "x.ids.jsonl.gz" not in (gold, guess) or {gold, guess} <= WITH_IDS  # its rows are in another order
]  # fmt: skip


@pytest.mark.parametrize(("gold", "guess"), PAIRINGS)
def test_every_format_of_gold_scores_every_format_of_predictions(gold: str, guess: str, write: Write) -> None:
    gold_file = write("gold." + gold, FORMS[gold](GOLD, GOLD_SPANS))
    scores = score_files(TOKENS, gold_file, write("guess." + guess, FORMS[guess](GUESS, GUESS_SPANS)))
    no_words = gold == guess == "x.rows.jsonl"
    assert scores.metrics == pytest.approx(
        {name: value for name, value in EXPECTED.items() if name != "token_accuracy" or not no_words}
    )


def test_one_file_with_two_columns_of_tags_is_read_as_conlleval_does(write: Write) -> None:
    lines = zip(GOLD.split("\n"), GUESS.split("\n"), strict=True)
    path = write("output.txt", "\n".join(a and f"{a.replace(' ', ' NN ')} {b.split()[1]}" for a, b in lines))
    scores = score_files(TOKENS, path, Path("./output.txt"))
    assert scores.metrics == pytest.approx(EXPECTED)
    assert "7 tokens, 3 gold entities, 3 found, 2 correct" in scores.notes
    assert any(note.startswith("MISC: f1 0.0000") for note in scores.notes)
    two = write("two.conll", GOLD)
    with pytest.raises(DataError, match=r"two.conll:1 has 2 columns; .* needs three"):
        score_files(TOKENS, two, two)


@pytest.mark.parametrize("gold", ["IOB1", "IOB2", "IOBES"])
@pytest.mark.parametrize("predicted", ["IOB1", "IOB2", "IOBES"])
def test_schemes_may_differ_between_the_files(gold: str, predicted: str, write: Write) -> None:
    columns = {
        "IOB1": "a I-X\nb I-X\nc B-X\nd O\ne I-Y\n",
        "IOB2": "a B-X\nb I-X\nc B-X\nd O\ne B-Y\n",
        "IOBES": "a B-X\nb E-X\nc S-X\nd O\ne S-Y\n",
    }
    scores = score_files(TOKENS, write("gold.conll", columns[gold]), write("guess.conll", columns[predicted]))
    assert set(scores.metrics.values()) == {1.0}
    assert any("IOB2" in note for note in scores.notes) == (gold != predicted)


def test_more_columns_in_one_of_the_files_do_not_matter(write: Write) -> None:
    wide = "\n".join(line and f"{line.split()[0]} NN {line.split()[1]}" for line in GOLD.split("\n"))
    assert score_files(TOKENS, write("gold.conll", wide), write("guess.conll", GUESS)).metrics == pytest.approx(
        EXPECTED
    )


def test_texts_may_have_any_space_between_the_words_of_a_prediction(write: Write) -> None:
    gold = write("gold.jsonl", [{"text": "(Aspirin),\u00a0 10 mg", "entities": [{"start": 1, "end": 8, "label": "C"}]}])
    guess = write("guess.conll", "( O\nAspirin B-C\n) O\n, O\n10 B-D\nmg I-D\n")
    scores = score_files(TOKENS, gold, guess).metrics
    assert scores == pytest.approx({"f1": 2 / 3, "precision": 0.5, "recall": 1.0, "token_accuracy": 4 / 6})


def test_offsets_are_code_points_and_raw_text_has_the_words_of_training(write: Write) -> None:
    entity = {"start": 2, "end": 6, "label": "F", "text": "café"}
    gold = write("gold.jsonl", [{"text": "😀 café", "entities": [entity]}])
    guess = write("guess.jsonl", [{"tasks": {"ner": [entity]}}])
    assert score_files(TOKENS, gold, guess).metrics["f1"] == 1.0
    assert "2 tokens" in score_files(TOKENS, gold, guess).notes[0]


def test_the_task_is_chosen_by_kind_or_by_name(write: Write) -> None:
    gold = write("gold.jsonl", [{"text": "EU", "entities": [{"start": 0, "end": 2, "label": "ORG"}]}])
    other = {
        "section": {"label": "A"},
        "qa": [{"start": 0, "end": 2, "text": "EU"}],
        "v": [0.1],
        "no_answer_score": 0.2,
    }
    entity = [{"start": 0, "end": 2, "label": "ORG"}]
    one = write("one.jsonl", [{"tasks": {**other, "ner": entity}}])
    assert score_files(TOKENS, gold, one).metrics["f1"] == 1.0
    none = write("none.jsonl", [{"tasks": {"section": {"label": "A"}, "ner": []}}])
    assert score_files(TOKENS, gold, none).metrics["f1"] == 0.0
    two = write("two.jsonl", [{"tasks": {"ner": entity, "drugs": entity}}])
    with pytest.raises(DataError, match=r"two.jsonl has several tasks .*: ner, drugs; name one"):
        score_files(TOKENS, gold, two)
    assert score_files(TOKENS, gold, two, "drugs").metrics["f1"] == 1.0
    with pytest.raises(DataError, match=r"two.jsonl has no task 'nre'; its tasks are ner, drugs"):
        score_files(TOKENS, gold, two, "nre")
    with pytest.raises(DataError, match=r"no token-classification task among section"):
        score_files(TOKENS, gold, write("wrong.jsonl", [{"tasks": {"section": {"label": "A"}}}]))
    text = {"text": "EU", "entities": []}
    lacking = write("line.jsonl", [{"tasks": {"a": 1}}, {"tasks": {"ner": []}}])
    with pytest.raises(DataError, match=r"line.jsonl:1 has nothing for the task 'ner'; its tasks are a"):
        score_files(TOKENS, write("pair.jsonl", [text, text]), lacking, "ner")


def test_predictions_that_carry_their_gold_data_are_scored_by_their_answers(write: Write) -> None:
    entity = [{"start": 0, "end": 2, "label": "ORG"}]
    rows = [{"text": "EU", "targets": {"ner": entity}}]
    gold, guess = write("gold.jsonl", rows), write("guess.jsonl", [{**rows[0], "tasks": {"ner": []}}])
    assert score_files(TOKENS, gold, guess).metrics["f1"] == 0.0


def test_rows_with_an_error_hold_no_entities_and_rows_without_a_target_are_left_out(write: Write) -> None:
    entity = [{"start": 0, "end": 2, "label": "ORG"}]
    gold = write("gold.jsonl", [
        {"text": "EU", "targets": {"ner": entity}}, {"text": "UN", "targets": {"ner": entity}},
        {"text": "x", "targets": {"topic": "a"}},
    ])  # fmt: skip
    guess = write("guess.jsonl", [
        {"tasks": {"ner": entity}}, {"error": {"type": "invalid_row", "message": "no text"}}, {"tasks": {"ner": entity}},
    ])  # fmt: skip
    scores = score_files(TOKENS, gold, guess)
    assert scores.metrics == pytest.approx({"f1": 2 / 3, "precision": 1.0, "recall": 0.5, "token_accuracy": 0.5})
    assert any("1 gold rows have nothing for the task" in note for note in scores.notes)
    assert any("1 predicted rows have an error" in note for note in scores.notes)


WRONG_TOKENS: dict[str, tuple[str, Any, str]] = {
    "another word": (
        "p.conll",
        GUESS.replace("call", "cell"),
        r"p.conll:4 has the word 'cell' where gold.conll:4 has 'call'",
    ),
    "a word more": ("p.conll", GUESS + "Jr. O\n", r"p.conll:7 is a sentence of 3 words, gold.conll:7 one of 2"),
    "an empty line lacks": (
        "p.conll",
        GUESS.replace("\n\n", "\n"),
        r"p.conll:1 is a sentence of 7 words, gold.conll:1 one of 5",
    ),
    "a sentence more": (
        "p.conll",
        GUESS + "\nx O\n",
        r"p.conll:10 has no counterpart: there are 2 gold rows and 3",
    ),
    "a sentence less": ("p.conll", GUESS[: GUESS.index("\n\n") + 1], r"gold.conll:7 has no counterpart"),
    "no tag": (
        "p.conll",
        GUESS.replace("B-MISC", "MISC"),
        r"p.conll:4: tag 'MISC' of 'call' is neither 'O' nor one of",
    ),
    "another width": (
        "p.conll",
        GUESS.replace("call", "call NN"),
        r"p.conll:4 has 3 columns, the lines before it have 2",
    ),
    "no columns": ("p.conll", "EU\n", r"p.conll:1 has 1 column, a word and its tag are needed"),
    "bytes": ("p.conll", GUESS.encode().replace(b"call", b"c\xe9ll"), r"p.conll:4 is not UTF-8: byte 0xe9"),
    "outside": (
        "p.jsonl",
        [{"tasks": {"n": [{"start": 20, "end": 30, "label": "X"}]}}, {"tasks": {"n": []}}],
        r"p.jsonl:1: entity 20-30 \(X\) .* text of 23 characters",
    ),
    "other text": (
        "p.jsonl",
        [{"tasks": {"n": [{"start": 0, "end": 2, "label": "X", "text": "UN"}]}}, {"tasks": {"n": []}}],
        r"p.jsonl:1: entity 0-2 \(X\) says 'UN', but the gold text .* has 'EU' there",
    ),
    "no offsets": (
        "p.jsonl",
        [{"entities": [{"start": 0, "label": "X"}]}] * 2,
        r"p.jsonl:1: entity .* needs 'start', 'end' and 'label'",
    ),
    "empty": (
        "p.jsonl",
        [{"entities": [{"start": 1, "end": 1, "label": "X"}]}] * 2,
        r"p.jsonl:1: entity 1-1 \(X\) is empty",
    ),
    "float": ("p.jsonl", [{"entities": [{"start": 1.0, "end": 2, "label": "X"}]}] * 2, r"p.jsonl:1: .* whole numbers"),
    "words": ("p.jsonl", [{"tokens": "EU", "tags": ["O"]}] * 2, r"p.jsonl:1: 'tokens' must be a list of words"),
    "tags": ("p.jsonl", [{"tokens": ["EU"], "tags": []}] * 2, r"p.jsonl:1 has 1 tokens but 0 tags"),
    "integers": ("p.jsonl", [{"tokens": ["EU"], "tags": [3]}] * 2, r"p.jsonl:1: tag 3 of 'EU' is neither 'O'"),
    "keys": (
        "p.jsonl",
        [{"text": TEXTS[0]}, {"text": TEXTS[1]}],
        r"p.jsonl:1 has neither 'tokens' with 'tags'.* keys are text",
    ),
    "order": (
        "p.jsonl",
        [{"text": text, "entities": []} for text in TEXTS[::-1]],
        r"p.jsonl:1 has the text 'Peter Blackburn' where gold.jsonl:1 has 'EU rejects",
    ),
    "json": ("p.jsonl", "{}\n{", r"p.jsonl:2 is not valid JSON"),
    "array": ("p.jsonl", "[1]\n", r"p.jsonl:1 holds a list, not a JSON object; write one"),
    "csv": ("p.csv", "a,b\n", r"p.csv: token-classification is scored from CoNLL columns"),
    "gzip": ("p.conll.gz", b"", r"p.conll.gz is a damaged or truncated gzip file"),
}


@pytest.mark.parametrize("name", WRONG_TOKENS)
def test_predicted_entities_that_do_not_fit_are_refused_with_their_place(name: str, write: Write) -> None:
    file, content, message = WRONG_TOKENS[name]
    gold, guess = write("gold.conll", GOLD), write(file, content)
    if name == "gzip":
        guess.write_bytes(gzip.compress(GUESS.encode())[:-9])
    if name == "order":
        gold = write("gold.jsonl", [{"text": text, "entities": []} for text in TEXTS])
    with pytest.raises(DataError, match=message):
        score_files(TOKENS, gold, guess)


# -- text-classification ----------------------------------------------------------------------------------------------
ONE = [{"text": t, "label": label} for t, label in zip("abcd", ["x", "y", "x", "7"], strict=True)]
SAID = ["x", "x", "x", "7"]
MANY = [{"text": t, "labels": labels} for t, labels in zip("abc", [["x"], ["x", "y"], []], strict=True)]


@pytest.mark.parametrize("gold", ["g.csv", "g.tsv.gz", "g.jsonl", "g.parquet", "g.json"])
@pytest.mark.parametrize("predicted", ["p.csv", "p.rows.jsonl", "p.jsonl.gz", "p.parquet"])
def test_labels_of_every_format(gold: str, predicted: str, write: Write) -> None:
    rows: list[dict[str, Any]] = [{"label": label} for label in SAID]
    if "rows" in predicted:
        rows = [{"windows": 1, "tasks": {"section": {**row, "score": 1, "scores": {}}, "ner": []}} for row in rows]
    gold_path = write(gold, "".join(json.dumps(row) + "\n" for row in ONE) if gold == "g.json" else ONE)
    scores = score_files(TEXT, gold_path, write(predicted, rows))
    assert scores.metrics == pytest.approx(
        {"accuracy": 0.75, "macro_f1": (0.8 + 0 + 1) / 3, "micro_f1": 0.75, "weighted_f1": (2 * 0.8 + 0 + 1) / 4}
    )


def test_several_labels_to_a_text(write: Write) -> None:
    said = [["x"], ["y"], []]
    rows = write("p.jsonl", [{"tasks": {"topics": {"labels": labels, "scores": {}}}} for labels in said])
    cells = write("p.csv", [{"labels": "|".join(labels)} for labels in said])
    targets = write("t.jsonl", [{"text": row["text"], "targets": {"topics": row["labels"]}} for row in MANY])
    expected = {"accuracy": 2 / 3, "macro_f1": (2 / 3 + 1) / 2, "micro_f1": 0.8, "weighted_f1": (2 * 2 / 3 + 1) / 3}
    for gold in (write("g.jsonl", MANY), targets):
        assert score_files(TEXT, gold, rows).metrics == pytest.approx(expected)
        assert score_files(TEXT, gold, cells).metrics == pytest.approx(expected)


def test_rows_are_matched_by_id_when_all_have_one(write: Write) -> None:
    gold = write("g.csv", [{"id": k, **row} for k, row in enumerate(ONE)])
    guess = write("p.jsonl", [{"id": k, "label": SAID[k]} for k in (3, 1, 0, 2)])
    assert score_files(TEXT, gold, guess).metrics["accuracy"] == 0.75
    documents = write("d.csv", [{"id": "doc", **row} for row in ONE])
    same = write("s.jsonl", [{"id": "doc", "label": label} for label in SAID])
    assert score_files(TEXT, documents, same).metrics["accuracy"] == 0.75, "equal ids in equal order need not be unique"


def test_a_row_with_an_error_is_wrong(write: Write) -> None:
    rows = [{"tasks": {"t": {"label": label}}} for label in SAID]
    rows[0] = {"error": {"type": "invalid_row", "message": "no text"}}
    scores = score_files(TEXT, write("g.csv", ONE), write("p.jsonl", rows))
    assert scores.metrics["accuracy"] == 0.5
    assert any("1 predicted rows have an error" in note for note in scores.notes)


WRONG_LABELS: dict[str, tuple[str, Any, str]] = {
    "more": ("p.csv", [{"label": "x"}] * 5, r"p.csv:6 has no counterpart: there are 4 gold rows and 5"),
    "less": ("p.csv", [{"label": "x"}] * 3, r"g.csv:5 has no counterpart"),
    "list": (
        "p.jsonl",
        [{"labels": ["x"]}] * 4,
        r"p.jsonl:1 has 'labels', a list, but g.csv:2 has 'label', one string",
    ),
    "none": ("p.jsonl", [{"guess": "x"}] * 4, r"p.jsonl:1: no 'label' and no 'labels'; its keys are guess"),
    "empty": ("p.csv", [{"label": ""}] * 4, r"p.csv:2: 'label' is empty; give one"),
    "null": ("p.jsonl", [{"label": None}] * 4, r"p.jsonl:1: 'label' is missing; give one"),
    "objects": ("p.jsonl", [{"labels": [{}]}] * 4, r"p.jsonl:1: 'labels' must be a list of strings"),
    "text": ("p.csv", [{"text": t, "label": "x"} for t in "abdc"], r"p.csv:4 has the text 'd' where g.csv:4 has 'c'"),
    "columns": ("p.csv", "label,text\nx,a\nx\n", r"p.csv:3 has 1 column, the header has 2 \(label, text\)"),
    "quotes": ("p.csv", 'label\nx\n"y\n', r"p.csv:3 has a cell whose quotes do not match"),
    "parquet": ("p.parquet", b"no", r"p.parquet is not a readable parquet file"),
    "format": ("p.xml", "<a/>", r"p.xml: text-classification is scored from .csv"),
    "tasks": ("p.jsonl", [{"tasks": 3}] * 4, r"p.jsonl:1: 'tasks' must be an object"),
}


@pytest.mark.parametrize("name", WRONG_LABELS)
def test_predicted_labels_that_do_not_fit_are_refused_with_their_place(name: str, write: Write) -> None:
    file, content, message = WRONG_LABELS[name]
    with pytest.raises(DataError, match=message):
        score_files(TEXT, write("g.csv", ONE), write(file, content))


def test_ids_that_do_not_match_are_refused_with_their_place(write: Write) -> None:
    gold = write("g.csv", [{"id": f"i{k}", **row} for k, row in enumerate(ONE)])
    lost = write("p.jsonl", [{"id": f"i{k}", "label": "x"} for k in (0, 2, 3, 9)])
    with pytest.raises(DataError, match=r"g.csv:3: id 'i1' has no prediction, nor have 0 other ids"):
        score_files(TEXT, gold, lost)
    more = write("m.jsonl", [{"id": f"i{k}", "label": "x"} for k in (0, 1, 2, 3, 9)])
    with pytest.raises(DataError, match=r"m.jsonl:5: id 'i9' has no gold row"):
        score_files(TEXT, gold, more)
    twice = write("t.jsonl", [{"id": f"i{k}", "label": "x"} for k in (0, 1, 1, 2, 3)])
    with pytest.raises(DataError, match=r"t.jsonl:3: id 'i1' is already used at t.jsonl:2"):
        score_files(TEXT, gold, twice)


# -- question-answering -----------------------------------------------------------------------------------------------
QUESTIONS = [("q1", ["Aspirin"]), ("q2", ["120", "120 patients"]), ("q3", []), ("q4", [])]


def squad(questions: list[tuple[str, list[str]]]) -> dict[str, Any]:
    qas = [
        {"id": name, "question": "?", "answers": [{"text": t, "answer_start": 0} for t in texts]}
        for name, texts in questions
    ]
    return {"version": "v2.0", "data": [{"title": "t", "paragraphs": [{"context": "c", "qas": qas}]}]}


GIVEN = {"q1": "the aspirin", "q2": "patients", "q3": "", "q4": "fever"}
QA_EXPECTED = {
    "exact_match": 0.5,
    "f1": (1 + 2 / 3 + 1 + 0) / 4,
    "has_answer_exact_match": 0.5,
    "has_answer_f1": (1 + 2 / 3) / 2,
    "no_answer_exact_match": 0.5,
    "no_answer_f1": 0.5,
}


def prediction_row(name: str, text: str) -> dict[str, Any]:
    answers = [{"start": 0, "end": len(text), "text": text, "score": 0.9}] if text else []
    return {
        "id": name,
        "windows": 1,
        "tasks": {"answers": answers, "no_answer_score": 0.1, "ner": [{"start": 0, "end": 1, "label": "X"}]},
    }


QA_GOLD: dict[str, Any] = {
    "g.json": squad(QUESTIONS),
    "g.json.gz": squad(QUESTIONS),
    "g.jsonl": [
        {"id": n, "question": "?", "context": "c", "answers": [{"text": t, "start": 0} for t in ts]}
        for n, ts in QUESTIONS
    ],
    "g.parquet": [
        {"id": n, "question": "?", "answers": {"text": ts, "answer_start": [0] * len(ts)}} for n, ts in QUESTIONS
    ],
    "g.targets.jsonl": [
        {"id": n, "text": "c", "targets": {"qa": {"question": "?", "answers": [{"text": t, "start": 0} for t in ts]}}}
        for n, ts in QUESTIONS
    ],
}
QA_GIVEN: dict[str, Any] = {
    "p.json": {**GIVEN, "q3": None},
    "p.hf.json": [{"id": n, "prediction_text": t, "no_answer_probability": 0.0} for n, t in GIVEN.items()],
    "p.jsonl": [{"id": n, "answer": t} for n, t in reversed(GIVEN.items())],
    "p.text.jsonl.gz": [{"id": n, "text": t} for n, t in GIVEN.items()],
    "p.rows.jsonl": [prediction_row(n, t) for n, t in reversed(GIVEN.items())],
    "p.order.jsonl": [{"answer": t} for t in GIVEN.values()],
    "p.lines.json": "".join(json.dumps({"id": n, "answer": t}) + "\n" for n, t in GIVEN.items()),
}


@pytest.mark.parametrize("gold", QA_GOLD)
@pytest.mark.parametrize("predicted", QA_GIVEN)
def test_answers_of_every_format(gold: str, predicted: str, write: Write) -> None:
    scores = score_files(QA, write(gold, QA_GOLD[gold]), write(predicted, QA_GIVEN[predicted]))
    assert scores.metrics == pytest.approx(QA_EXPECTED)
    assert scores.notes == ["4 questions, 2 of them unanswerable"]


def test_a_question_without_a_prediction_is_wrong_and_counted(write: Write) -> None:
    gold = write("g.json", squad(QUESTIONS))
    scores = score_files(QA, gold, write("p.json", {"q1": "Aspirin", "q9": "x"}))
    assert scores.metrics["exact_match"] == 0.25
    assert scores.metrics["no_answer_f1"] == 0.0, "a missing answer is not an empty one"
    assert "3 questions have no prediction and count as wrong" in scores.notes
    assert any(note.startswith("1 predictions have an id that is not in gold") for note in scores.notes)
    assert score_files(QA, gold, write("e.json", {})).metrics["exact_match"] == 0.0
    rows = [
        {"id": "q1", "error": {"type": "t", "message": "m"}}, {"id": "q2", "tasks": {"ner": []}},
        prediction_row("q3", ""), prediction_row("q4", "x"),
    ]  # fmt: skip
    assert score_files(QA, gold, write("r.jsonl", rows), "answers").metrics["exact_match"] == 0.25


def test_answers_in_version_one_have_two_metrics(write: Write) -> None:
    scores = score_files(QA, write("g.json", squad(QUESTIONS[:2])), write("p.json", GIVEN))
    assert set(scores.metrics) == {"exact_match", "f1"}


WRONG_ANSWERS: dict[str, tuple[str, Any, str, Any, str]] = {
    "other ids": (
        "g.json",
        squad(QUESTIONS),
        "p.json",
        {"x": "a"},
        r"p.json: id 'x': none of the ids are in gold",
    ),
    "numbers": ("g.json", squad(QUESTIONS), "p.json", {"q1": 3}, r"p.json: id 'q1': 'answer' must be a string, seen 3"),
    "keys": (
        "g.json",
        squad(QUESTIONS),
        "p.jsonl",
        [{"id": "q1", "guess": ""}],
        r"p.jsonl:1 has no 'answer' and no 'text'",
    ),
    "twice": (
        "g.json",
        squad(QUESTIONS),
        "p.jsonl",
        [{"id": "q1", "answer": ""}] * 2,
        r"p.jsonl:2: id 'q1' is already used at p.jsonl:1",
    ),
    "order": (
        "g.jsonl",
        [{"question": "?", "answers": []}],
        "p.jsonl",
        [{"answer": ""}] * 2,
        r"p.jsonl:2 has no counterpart",
    ),
    "gold": ("g.jsonl", [{"id": "q1", "answers": "Aspirin"}], "p.json", GIVEN, r"g.jsonl:1: 'answers' must be a list"),
    "squad": ("g.json", {"data": [{"qas": []}]}, "p.json", GIVEN, r"g.json: article 1 is not SQuAD"),
    "no questions": ("g.json", {"data": []}, "p.json", GIVEN, r"g.json has no rows; give a file with gold data"),
    "json": ("g.json", '{\n"a": }', "p.json", GIVEN, r"g.json:2 is not valid JSON: Expecting value"),
    "scalar": ("g.json", squad(QUESTIONS), "p.json", "3", r"p.json holds 3; expected SQuAD's"),
    "no gold": ("g.csv", "id,question,context,answer\n1,Who?,Ada.,\n", "p.csv", "id,answer\n1,Ada\n", r"g.csv:2: 'answer' is empty"),
    "txt": ("g.json", squad(QUESTIONS), "p.txt", "id,answer\n", r"p.txt: question-answering is scored from .csv, .json"),
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_answers_that_do_not_fit_are_refused_with_their_place(name: str, write: Write) -> None:
    gold_file, gold, file, content, message = WRONG_ANSWERS[name]
    with pytest.raises(DataError, match=message):
        score_files(QA, write(gold_file, gold), write(file, content))


# -- sentence-embedding -----------------------------------------------------------------------------------------------
SCORED = [{"text_a": f"a{k}", "text_b": f"b{k}", "score": score} for k, score in enumerate([5.0, 1.0, 3.0])]
SIMILAR = [0.9, 0.2, 0.1]
VECTORS_A = [[1.0, 0.0]] * 3
VECTORS_B = [[s, (1 - s * s) ** 0.5] for s in SIMILAR]
IN_TURN = [vector for pair in zip(VECTORS_A, VECTORS_B, strict=True) for vector in pair]


@pytest.mark.parametrize(
    ("file", "rows"),
    [
        ("p.csv", [{"score": s} for s in SIMILAR]),
        ("p.parquet", [{"similarity": s} for s in SIMILAR]),
        ("p.jsonl", [{**row, "similarity": s} for row, s in zip(SCORED, SIMILAR, strict=True)]),
        ("v.jsonl", [{"vector_a": a, "vector_b": b} for a, b in zip(VECTORS_A, VECTORS_B, strict=True)]),
        ("t.jsonl", [{"windows": 1, "tasks": {"sim": vector, "ner": []}} for vector in IN_TURN]),
        ("e.parquet", [{"embedding": vector} for vector in IN_TURN]),
    ],
)
def test_similarities_and_vectors_against_scores(file: str, rows: Any, write: Write) -> None:
    scores = score_files(PAIRS, write("g.csv", SCORED), write(file, rows))
    assert scores.metrics == pytest.approx({"spearman": 0.5, "pearson": 0.8029551}, abs=1e-6)
    assert scores.notes == ["3 pairs"]


def test_nli_labels_are_ranked_and_constant_similarities_score_zero(write: Write) -> None:
    labels = [{"text_a": "a", "text_b": "b", "label": label} for label in ("entailment", "contradiction", "neutral")]
    gold = write("g.csv", labels)
    assert score_files(PAIRS, gold, write("p.csv", [{"score": s} for s in (3, 1, 2)])).metrics == pytest.approx(
        {"spearman": 1.0, "pearson": 1.0}
    )
    scores = score_files(PAIRS, gold, write("c.csv", [{"score": 0.5}] * 3))
    assert scores.metrics == {"spearman": 0.0, "pearson": 0.0}
    assert any("the correlations are 0 by definition" in note for note in scores.notes)


def test_pairs_without_scores_are_ranked_among_all_texts_and_negatives(write: Write) -> None:
    eye = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    pairs = [{"text_a": "a", "text_b": "same"}, {"text_a": "b", "text_b": "other"}, {"text_a": "c", "text_b": "same"}]
    rows = [{"vector": v} for v in (eye[0], eye[0], eye[1], eye[2], eye[0], eye[0])]
    scores = score_files(PAIRS, write("g.csv", pairs), write("p.jsonl", rows))
    assert scores.metrics == pytest.approx({"recall_at_1": 2 / 3, "mrr": (1 + 1 / 3 + 1) / 3})
    hard = [{**pair, "negative": f"n{k}"} for k, pair in enumerate(pairs[:2])]
    rows = [{"vector": v} for v in (eye[0], eye[1], eye[0], eye[1], eye[1], eye[2])]
    scores = score_files(PAIRS, write("h.csv", hard), write("v.jsonl", rows))
    assert scores.metrics == pytest.approx({"recall_at_1": 0.0, "mrr": (1 / 4 + 1 / 2) / 2})
    assert "the partner of each text_a was searched among 4 texts" in scores.notes


WRONG_PAIRS: dict[str, tuple[Any, str, Any, str]] = {
    "vectors lack": (
        SCORED,
        "p.jsonl",
        [{"vector": [1.0]}] * 5,
        r"p.jsonl has 5 vectors, but g.csv has 6 texts in 3 pairs",
    ),
    "error": (
        SCORED,
        "p.jsonl",
        [{"error": {"message": "no text"}}] * 6,
        r"p.jsonl:1 has an error: .*no text.*leave the pair out",
    ),
    "width": (
        SCORED,
        "p.jsonl",
        [{"vector_a": [1.0], "vector_b": [1.0] * k} for k in (1, 2, 1)],
        r"p.jsonl:2: 'vector_b' must be a list of 1 num",
    ),
    "text": (SCORED, "p.csv", [{"score": "high"}] * 3, r"p.csv:2: 'score' must be a finite number, seen 'high'"),
    "nan": (SCORED, "p.csv", [{"score": "nan"}] * 3, r"p.csv:2: 'score' must be a finite number"),
    "keys": (
        SCORED,
        "p.csv",
        [{"cosine": 1}] * 3,
        r"p.csv:2 has no 'similarity' or 'score', and no vectors; its keys are cosine",
    ),
    "pairs": (SCORED, "p.csv", [{"score": 1}] * 2, r"g.csv:4 has no counterpart"),
    "order": (SCORED, "p.csv", [{"text_a": "x", "score": 1}] * 3, r"p.csv:2 has the text_a 'x' where g.csv:2 has 'a0'"),
    "gold": (
        [{"text_a": "a", "text_b": "b", "score": ""}],
        "p.csv",
        [{"score": 1}],
        r"g.csv:2: 'score' must be a finite number, seen ''",
    ),
    "label": (
        [{"text_a": "a", "text_b": "b", "label": "yes"}],
        "p.csv",
        [{"score": 1}],
        r"g.csv:2: NLI label 'yes' is not one of",
    ),
    "positives": (
        [{"text_a": "a", "text_b": "b"}],
        "p.csv",
        [{"score": 1}],
        r"p.csv:2 has no 'vector_a'; pairs without scores are ranked",
    ),
}


@pytest.mark.parametrize("name", WRONG_PAIRS)
def test_pairs_that_do_not_fit_are_refused_with_their_place(name: str, write: Write) -> None:
    gold, file, content, message = WRONG_PAIRS[name]
    with pytest.raises(DataError, match=message):
        score_files(PAIRS, write("g.csv", gold), write(file, content))


# -- whatever the kind ------------------------------------------------------------------------------------------------
def test_an_unknown_type_and_a_missing_file_are_named(write: Write) -> None:
    with pytest.raises(UsageError, match=r"no task type is called 'ner'; choose one of token-classification, text-class"):
        score_files("ner", Path("a"), Path("b"))
    with pytest.raises(DataError, match=r"nowhere.csv does not exist"):
        score_files(TEXT, Path("nowhere.csv"), Path("b.csv"))
    Path("folder.csv").mkdir()
    with pytest.raises(DataError, match=r"folder.csv is a folder"):
        score_files(TEXT, Path("folder.csv"), Path("b.csv"))
    with pytest.raises(DataError, match=r"no rows of several tasks to choose 'ner' from; leave the task out"):
        score_files(TOKENS, write("g.conll", GOLD), write("p.conll", GUESS), "ner")
    with pytest.raises(DataError, match=r"e.conll is empty; give a file with data"):
        score_files(TOKENS, write("e.conll", ""), write("p.conll", GUESS))


def test_importing_the_metrics_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'scipy', 'pyarrow', 'pydantic', 'sklearn'}"
    code = f"import sys, manyheads.scoring, manyheads.metrics.vectors; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- published figures ------------------------------------------------------------------------------------------------
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets, `MANYHEADS_DATA`; skips where it is not there."""
    folder = Path(os.environ.get("MANYHEADS_DATA", REPOSITORY / "../shared/data"))
    if not (folder / "MANIFEST.tsv").exists():
        pytest.skip(f"real data sets are not in {folder}; set MANYHEADS_DATA")
    return folder


@pytest.mark.long
def test_published_answers_score_what_their_official_scripts_say(
    real_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("scorers", REPOSITORY / "benchmarks/scorers.py")
    assert spec is not None
    assert spec.loader is not None
    scorers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scorers)
    monkeypatch.setattr(sys, "argv", ["scorers.py", str(real_data)])
    assert scorers.main() == 0
    assert capsys.readouterr().out.count("\n") == 11


def test_the_sample_of_conlleval_has_its_published_counts(real_data: Path) -> None:
    sample = real_data / "conlleval_sample/output.txt.gz"
    assert "961 tokens, 459 gold entities, 539 found, 371 correct" in score_files(TOKENS, sample, sample).notes
