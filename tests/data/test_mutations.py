"""Small corruptions of good data files: none changes a label, a span or an answer in silence.

Each case is a good file, one operator, one seed. The oracle has three good outcomes:
    refused     a DataError that names the file and the line, row or question
    warned      a warning that the good file does not have
    harmless    the same labels, the same spans (label and words), answers and scores in the same order as the good file
Anything else is a silent change, and fails.

Left out, because no reader can tell them from good data: a whole row or line that is gone or doubled (but where a counter
tells), one valid label or score in place of another, letters of a text that no label points into, and flipped bits in a
parquet page (parquet has checksums for that, which writers leave off).
"""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from manyheads.data.build import build_table
from manyheads.data.readers import Files
from manyheads.data.warnings import Loaded, warnings_of
from manyheads.errors import DataError
from manyheads.tasks import TASK_TYPES

CASES = int(os.environ.get("MANYHEADS_MUTATIONS", "500"))
SEED = 17
NAMES, PLACES, VERBS = ["Ada Wren", "Tom Birk", "Ines"], ["Selby", "North Moor"], ["saw", "left", "liked"]
NER, TEXT, QA, PAIRS = "token-classification", "text-classification", "question-answering", "sentence-embedding"
RANKING = "text-ranking"
Change = Callable[[random.Random, str], str]


def _sentences() -> list[tuple[list[str], list[str]]]:
    rng = random.Random(3)
    made = []
    for _ in range(30):
        name, place = rng.choice(NAMES).split(), rng.choice(PLACES).split()
        words = [*name, rng.choice(VERBS), *place, "in", "May", "."]
        tags = ["B-PER", *["I-PER"] * (len(name) - 1), "O", "B-LOC", *["I-LOC"] * (len(place) - 1), "O", "O", "O"]
        made.append((words, tags))
    return made


SENTENCES = _sentences()
LABELLED = [(f"the {word} parcel came on day {i}", label) for i in range(10)
            for word, label in (("red", "good"), ("torn", "spoilt"), ("lost", "missing"))]  # fmt: skip
SCORED = [(f"a man runs {i}", f"someone ran {i}", round(i % 11 / 2, 1)) for i in range(33)]


def _conll(separator: str) -> str:
    return "\n".join("".join(f"{w}{separator}{t}\n" for w, t in zip(*rows, strict=True)) for rows in SENTENCES)


def _conllu() -> str:
    blocks = []
    for k, (words, tags) in enumerate(SENTENCES):
        lines = [f"# sent_id = {k}", f"# text = {' '.join(words)}"]
        for i, (word, tag) in enumerate(zip(words, tags, strict=True), 1):
            if word == "in":
                lines.append("\t".join([f"{i}-{i + 1}", "inMay", *"________"]))
            lines.append("\t".join([str(i), word, word.lower(), "X", "_", "_", "0", "dep", "_", tag]))
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _webanno() -> str:
    lines, at, number = ["#FORMAT=WebAnno TSV 3.3", "#T_SP=ner.NamedEntity|value", ""], 0, 0
    for k, (words, tags) in enumerate(SENTENCES, 1):
        lines.append(f"#Text={' '.join(words)}")
        for i, (word, tag) in enumerate(zip(words, tags, strict=True), 1):
            number += tag[0] == "B"
            lines.append(f"{k}-{i}\t{at}-{at + len(word)}\t{word}\t{'_' if tag == 'O' else f'{tag[2:]}[{number}]'}\t")
            at += len(word) + 1
        lines.append("")
    return "\n".join(lines)


def _xmi() -> str:
    text, found = "", []
    for words, tags in SENTENCES:
        for word, tag in zip(words, tags, strict=True):
            if tag[0] == "B":
                found.append([len(text), 0, tag[2:]])
            if tag[0] in "BI":
                found[-1][1] = len(text) + len(word)
            text += f"{word} "
    spans = "".join(f'<n:NamedEntity sofa="1" begin="{start}" end="{end}" value="{label}"/>\n' for start, end, label in found)
    return (f'<xmi:XMI xmlns:xmi="http://www.omg.org/XMI" xmlns:cas="http:///uima/cas.ecore" xmlns:n="http:///n.ecore">\n{spans}'
            f'<cas:Sofa xmi:id="1" sofaID="_InitialView" sofaString="{text}"/>\n</xmi:XMI>\n')


def _word_table(every: bool) -> str:
    """A word in each row, with its sentence in every row, or in the first of the sentence."""
    rows = [(f"Sentence: {k}" if every or not i else "", *pair) for k, (words, tags) in enumerate(SENTENCES, 1)
            for i, pair in enumerate(zip(words, tags, strict=True))]  # fmt: skip
    return _table(",", rows, "Sentence #,Word,Tag")


def _cells() -> str:
    """Spans in cells, as pandas writes them."""
    rows = [json.loads(line) for line in _entities().splitlines()]
    return _table(",", [(f'"{row["text"]}"', f'"{row["entities"]!r}"') for row in rows], "text,entities")


def _spaced() -> str:
    """Words in one cell and tags in another, with spaces between them."""
    return _table(",", [(f'"{" ".join(words)}"', " ".join(tags)) for words, tags in SENTENCES], "tokens,tags")


def _flags() -> str:
    """A column of zeros and ones for each label."""
    names = ("good", "spoilt", "missing")
    return _table(",", [(text, *(int(label == name) for name in names)) for text, label in LABELLED], "text,good,spoilt,missing")


def _jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _entities() -> str:
    rows = []
    for words, tags in SENTENCES:
        text, spans, start = " ".join(words), [], 0
        for word, tag in zip(words, tags, strict=True):
            if tag[0] == "B":
                spans.append({"start": start, "end": start + len(word), "label": tag[2:]})
            if tag[0] == "I":
                spans[-1]["end"] = start + len(word)
            start += len(word) + 1
        rows.append({"text": text, "entities": [{**s, "text": text[s["start"] : s["end"]]} for s in spans]})
    return _jsonl(rows)


def _questions(flat: bool) -> str:
    made = []
    for k, (words, tags) in enumerate(SENTENCES):
        text = f"Note {k}: " + " ".join(words)
        answer = " ".join(w for w, t in zip(words, tags, strict=True) if t.endswith("PER"))
        start = text.index(answer)
        if flat:
            made.append({"question": "Who?", "context": text, "answers": [{"text": answer, "start": start}]})
        else:
            qa = {
                "id": f"q{k}",
                "question": "Who?",
                "answers": [{"text": answer, "answer_start": start}],
                "is_impossible": False,
            }
            made.append({"title": f"t{k}", "paragraphs": [{"context": text, "qas": [qa]}]})
    return _jsonl(made) if flat else json.dumps({"data": made}, indent=1)


def _table(separator: str, rows: list[tuple[Any, ...]], header: str) -> str:
    return "".join(separator.join(map(str, row)) + "\n" for row in [tuple(re.split("[,\t]", header)), *rows])


BESIDE = {
    "queries.jsonl": _jsonl([{"_id": f"q{i:03}x", "text": f"which parcel came on day {i}"} for i in range(30)]),
    "corpus.jsonl": _jsonl([{"_id": f"d{i:03}x", "title": "", "text": f"a parcel came on day {i}"} for i in range(30)]),
}
"""Texts that judgements of BEIR name."""
JUDGED = [(f"q{i:03}x", f"d{(i + k) % 30:03}x", (2, 0)[k]) for i in range(30) for k in range(2)]
GOOD: dict[str, tuple[str, str, str]] = {
    "conll": (NER, "a.conll", _conll(" ")),
    "conll-tabs": (NER, "a.bio", _conll("\t")),
    "conllu": (NER, "a.conllu", _conllu()),
    "webanno": (NER, "b.tsv", _webanno()),
    "xmi": (NER, "a.xmi", _xmi()),
    "tokens": (NER, "a.jsonl", _jsonl([{"tokens": w, "tags": t} for w, t in SENTENCES])),
    "entities": (NER, "a.jsonl", _entities()),
    "csv": (TEXT, "a.csv", _table(",", LABELLED, "text,label")),
    "tsv": (TEXT, "a.tsv", _table("\t", LABELLED, "text,label")),
    "labels": (TEXT, "a.jsonl", _jsonl([{"text": t, "label": x} for t, x in LABELLED])),
    "word-table": (NER, "w.csv", _word_table(every=False)),
    "word-table-every": (NER, "v.csv", _word_table(every=True)),
    "cells": (NER, "c.csv", _cells()),
    "spaced": (NER, "s.csv", _spaced()),
    "flags": (TEXT, "f.csv", _flags()),
    "fasttext": (TEXT, "f.txt", "".join(f"__label__{label} {text}\n" for text, label in LABELLED)),
    "trec": (TEXT, "q.label", "".join(f"{label.upper()}:part {text}\n" for text, label in LABELLED)),
    "beir": (RANKING, "r.tsv", _table("\t", JUDGED, "query-id\tcorpus-id\tscore")),
    "lists": (TEXT, "a.jsonl", _jsonl([{"text": t, "labels": [x, "read"][: 1 + i % 2]} for i, (t, x) in enumerate(LABELLED)])),
    "squad": (QA, "a.json", _questions(False)),
    "questions": (QA, "a.jsonl", _questions(True)),
    "scores": (PAIRS, "a.csv", _table(",", SCORED, "text_a,text_b,score")),
    "pairs": (PAIRS, "a.jsonl", _jsonl([{"text_a": a, "text_b": b, "score": s} for a, b, s in SCORED])),
}  # fmt: skip
COLUMNS = {"f.csv": {"text": "text", "labels": ("good", "spoilt", "missing")}}
"""The columns of files, where they are named."""
ROWS = [{"text": t, "label": ["good", "missing", "spoilt"].index(x)} for t, x in LABELLED]


def _at(rng: random.Random, text: str, pattern: str, change: Callable[[re.Match[str]], str]) -> str:
    """One match of the pattern changed; the text itself where there is none."""
    found = list(re.finditer(pattern, text, re.MULTILINE))
    if not found:
        return text
    match = rng.choice(found)
    return text[: match.start()] + change(match) + text[match.end() :]


def _typo(rng: random.Random, word: str) -> str:
    place = rng.randrange(len(word))
    letter = rng.choice("qxzjk")
    return rng.choice([word[:place] + word[place + 1 :], word[:place] + letter + word[place:], word[:place] + letter + word[place + 1 :]])  # fmt: skip


def _spoilt(rng: random.Random, label: str) -> str:
    """A label as slips leave it: never one of the other labels."""
    return rng.choice(
        [_typo(rng, label), label.upper() if label.islower() else label.lower(), f" {label}", f"{label} ", ""]
    )


LABEL = r"(?<=[\t,\"_])(good|spoilt|missing)(?=[\"\n ])"
TAG = r"(?<=[\t \"])[BI]-(PER|LOC)(?=[\"\n])"
TEXT_CHANGES: dict[str, Change] = {
    "flag": lambda rng, s: _at(rng, s, r"(?<=,)[01](?=[,\n])", lambda m: rng.choice(["", "2", "-1", "01", "nan", "x", f"{m[0]}{m[0]}"])),
    "sentence": lambda rng, s: _at(rng, s, r"^Sentence: \d+(?=,)", lambda m: rng.choice(["", "Sentence: 1"])),
    "tag of a row": lambda rng, s: _at(rng, s, r"(?<=,)(O|[BI]-(PER|LOC))$", lambda m: rng.choice(["", "X", m[0].lower(), m[0] + "-"])),
    "label": lambda rng, s: _at(rng, s, LABEL, lambda m: _spoilt(rng, m[0])),
    "first label": lambda rng, s: _at(rng, s, r"^[A-Z]+:part(?= )", lambda m: rng.choice([_typo(rng, m[0]), m[0].lower(), m[0].replace(":", ""), m[0][:-4], ""])),
    "judgement": lambda rng, s: _at(rng, s, r"(?<=\t)[02]$", lambda m: rng.choice(["", "x", "nan", "1_0", "-1", "2,0", m[0] + "\t"])),
    "id": lambda rng, s: _at(rng, s, r"(?<=^)q\d+x|(?<=\t)d\d+x", lambda m: rng.choice([_typo(rng, m[0]), "", m[0].upper(), f"{m[0]} "])),
    "label null": lambda rng, s: _at(rng, s, r'"(good|spoilt|missing)"', lambda m: rng.choice(["null", "0.5", "[]", "true", "NaN"])),
    "tag": lambda rng, s: _at(rng, s, TAG, lambda m: rng.choice([m[0][0] + m[0][2:], m[0].replace("-", "_"), m[0][:2], _typo(rng, m[0]), m[0].lower()])),
    "tag gone": lambda rng, s: _at(rng, s, r"[\t ][BI]-(PER|LOC)$", lambda m: ""),
    "begin gone": lambda rng, s: _at(rng, s, r"(?<=[\t ])B-(PER|LOC)(?=\n.*I-)", lambda m: "O"),
    "separator gone": lambda rng, s: _at(rng, s, r"[\t,]", lambda m: rng.choice(["", " ", ";"])),
    "separator more": lambda rng, s: _at(rng, s, r"[\t,]", lambda m: m[0] * 2),
    "separator at end": lambda rng, s: _at(rng, s, r"(?<=[\w])\n", lambda m: rng.choice([",", "\t", ";"]) + "\n"),
    "quote": lambda rng, s: _at(rng, s, r"^.|(?<=,).", lambda m: '"' + m[0]),
    "quote gone": lambda rng, s: _at(rng, s, r'"', lambda m: ""),
    "bracket gone": lambda rng, s: _at(rng, s, r"[][{}]", lambda m: ""),
    "bracket more": lambda rng, s: _at(rng, s, r"[][{}]", lambda m: m[0] * 2),
    "key": lambda rng, s: _at(rng, s, r'(?<=")(text|label|labels|tokens|tags|entities|start|end|answers|answer_start|context|question|score|text_a|text_b|qas|paragraphs)(?=": )', lambda m: _typo(rng, m[0])),
    "header": lambda rng, s: _typo(rng, s.split("\n")[0]) + s[s.index("\n") :],
    "header gone": lambda rng, s: s[s.index("\n") + 1 :],
    "cut": lambda rng, s: s[: _inside(rng, s)],
    "line ends": lambda rng, s: s.replace("\n", rng.choice(["\r\n", "\r"])),
    "mark": lambda rng, s: "\ufeff" + s,
    "not utf-8": lambda rng, s: _at(rng, s, r"[aeiou]", lambda m: "\udce9"),
    "space at end": lambda rng, s: _at(rng, s, r"\n", lambda m: rng.choice([" \n", "\t\n"])),
    "blank line": lambda rng, s: _at(rng, s, r"\n", lambda m: "\n\n"),
    "blank line gone": lambda rng, s: _at(rng, s, r"\n\n", lambda m: "\n"),
    "offset": lambda rng, s: _at(rng, s, r'(?<="start": )\d+|(?<="end": )\d+|(?<="answer_start": )\d+', lambda m: str(int(m[0]) + rng.choice([-1, 1, 2, 500]))),
    "offset as text": lambda rng, s: _at(rng, s, r'(?<="(?:start)": )\d+', lambda m: f'"{m[0]}"'),
    "answer": lambda rng, s: _at(rng, s, r'(?<="answers": \[{"text": ")[^"]+', lambda m: _typo(rng, m[0])),
    "answers gone": lambda rng, s: _at(rng, s, r'"answers": \[[^]]*\]', lambda m: rng.choice(['"answers": []', '"answers": null'])),
    "impossible": lambda rng, s: _at(rng, s, r'(?<="is_impossible": )false', lambda m: rng.choice(['"False"', "NaN", "0", "null", "true", '"yes"', '"?"'])),
    "score": lambda rng, s: _at(rng, s, r"(?<=[ ,])\d\.\d(?=[}\n])", lambda m: rng.choice(["", m[0].replace(".", ","), m[0] + "x", "nan", m[0].replace(".", "") + "0", '"' + m[0] + '"', "1_0", "-90"])),
    "word gone": lambda rng, s: _at(rng, s, r"^(?=\d+\t)(\d+)\t\w+", lambda m: f"{m[1]}\t"),
    "line gone": lambda rng, s: _at(rng, s, r"^\d+\t.*\n(?=\d)", lambda m: ""),
    "number": lambda rng, s: _at(rng, s, r"^\d+(?=\t)", lambda m: str(int(m[0]) + rng.choice([1, 2, 50]))),
    "comment": lambda rng, s: _at(rng, s, r"^# ", lambda m: rng.choice(["", "#"])),
    "word lost": lambda rng, s: _at(rng, s, r'(?<=")\w+", "(?=\w+")', lambda m: ""),
}  # fmt: skip


def _inside(rng: random.Random, text: str) -> int:
    """A place within a word of the second half: a file ends there when a download breaks off."""
    while True:
        place = rng.randrange(len(text) // 2, len(text) - 2)
        if text[place].isalnum() and text[place - 1].isalnum():
            return place


def _meaning(kind: str, table: Any) -> list[Any]:
    """All that a good file says but for its texts."""
    examples = list(table)
    if kind == NER:
        return [(label, e.text[start:end]) for e in examples for start, end, label in e.spans]
    if kind == TEXT:
        return [tuple(e.labels) for e in examples]
    if kind == QA:
        return [tuple(text for _, text in e.answers) for e in examples]
    if kind == RANKING:
        return [(e.query, e.passages, e.gains) for e in examples]
    return [(e.score, e.label, e.negative is None) for e in examples]


def _reads(kind: str, path: Path, cache: Path) -> tuple[list[Any], list[str]]:
    table, report = build_table(TASK_TYPES[kind](name="t"), Files((path,), columns=COLUMNS.get(path.name, {})), "train", cache=cache)
    table = table.with_task(table.task.fit(report.statistics))
    table.check()
    skipped = [f"{reason} at {skip.where}" for reason, skip in report.skipped.items()]
    return _meaning(kind, table), warnings_of({"train": Loaded(table, report)})["train"] + skipped


def _outcome(kind: str, path: Path, cache: Path, good: tuple[list[Any], list[str]]) -> str:
    try:
        meaning, warnings = _reads(kind, path, cache)
    except DataError as error:
        where = rf"{re.escape(path.name)}(:\d+|: (row|question|article) |.* has |.* is )|task 't'"
        return "refused" if re.search(where, str(error)) else f"refused without a place: {error}"
    if len(warnings) > len(good[1]):
        return "warned"
    return "harmless" if meaning == good[0] else "SILENT"


def _mutated_parquet(rng: random.Random) -> tuple[str, pa.Table]:
    rows = [dict(row) for row in ROWS]
    row, kind = rng.choice(rows), rng.choice(["number", "none", "column", "text", "class"])
    if kind == "number":
        row["label"] = rng.choice([3, -2, 99])
    elif kind == "class":
        row["label"] = -1
    elif kind == "none":
        row["label"] = None
    elif kind == "text":
        row["text"] = rng.choice(["", None])
    elif kind == "column":
        name = rng.choice(["text", "label"])
        rows = [{key: value for key, value in one.items() if key != name} for one in rows]
    return kind, pa.Table.from_pylist(rows)


NAMED = {b"huggingface": json.dumps({"info": {"features": {"label": {
    "_type": "ClassLabel", "names": ["good", "missing", "spoilt"]}}}}).encode()}  # fmt: skip


def _parquet_outcomes(folder: Path, rng: random.Random, count: int) -> list[tuple[str, str, str]]:
    path = folder / "a.parquet"
    parquet.write_table(pa.Table.from_pylist(ROWS).replace_schema_metadata(NAMED), path)
    whole = path.read_bytes()
    good = _reads(TEXT, path, folder / "cache")
    assert good[0] == [(label,) for _, label in LABELLED]
    found = []
    for _ in range(count):
        if rng.random() < 0.3:
            name = "cut"
            path.write_bytes(whole[: rng.randrange(len(whole))])
        else:
            name, table = _mutated_parquet(rng)
            parquet.write_table(table.replace_schema_metadata(NAMED), path)
        found.append(("parquet", name, _outcome(TEXT, path, folder / "cache", good)))
    return found


def sweep(folder: Path, count: int, seed: int) -> list[tuple[str, str, str]]:
    """`(format, operator, outcome)` of so many corruptions."""
    rng = random.Random(seed)
    good = {}
    for name, content in BESIDE.items():
        (folder / name).write_text(content)
    for name, (kind, file, content) in GOOD.items():
        (folder / file).write_text(content)
        good[name] = _reads(kind, folder / file, folder / "cache")
    found = _parquet_outcomes(folder, rng, count // 12)
    while len(found) < count:
        name = rng.choice(list(GOOD))
        kind, file, content = GOOD[name]
        operator = rng.choice(list(TEXT_CHANGES))
        changed = TEXT_CHANGES[operator](rng, content)
        if changed == content or not _applies(operator, name):
            continue
        (folder / file).write_bytes(changed.encode("utf-8", "surrogateescape"))
        outcome = _outcome(kind, folder / file, folder / "cache", good[name])
        found.append((name, operator, outcome))
        if outcome not in ("refused", "warned", "harmless"):
            found[-1] = (name, operator, f"{outcome}: {_difference(content, changed)}")
    return found


def _applies(operator: str, name: str) -> bool:
    """Whether an operator is a corruption of this format, and not a good file of another meaning."""
    rows = ("word-table", "word-table-every", "flags", "spaced", "beir")
    tables, columns = name in ("csv", "tsv", "scores", "cells", *rows), name.startswith("conll")
    if operator.startswith("header"):
        return tables
    if operator.startswith("separator"):
        return tables or columns
    if operator == "quote":
        return name in ("csv", "scores", "cells", *rows) and name != "beir"
    if operator == "blank line gone":
        return columns
    if operator == "cut":
        return name not in ("fasttext", "trec")  # whole lines are gone, and letters of a text
    if operator == "word lost":
        return name == "tokens"
    return True


def _difference(good: str, changed: str) -> str:
    place = next(
        (i for i, (a, b) in enumerate(zip(good, changed, strict=False)) if a != b), min(len(good), len(changed))
    )
    return f"{good[max(0, place - 30) : place + 30]!r} -> {changed[max(0, place - 30) : place + 30]!r}"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_no_small_corruption_of_a_good_file_changes_what_it_says_in_silence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = sweep(tmp_path, CASES, SEED)
    outcomes = Counter(outcome for _, _, outcome in found)
    print(dict(outcomes))
    assert [case for case in found if case[2] not in ("refused", "warned", "harmless")] == []
    assert len(found) == CASES
    assert outcomes["refused"] > CASES / 4
    assert {name for name, _, _ in found} == {*GOOD, "parquet"}
