"""Memory and speed of reading each streaming format: 100,000 and 1,000,000 rows.

    python benchmarks/format_memory.py [--rows 1000000] [--only conll jsonl] [--folder /tmp]

Each file is written, read to its end in a process of its own, and removed. What is measured is the peak of that process's
resident memory above its memory before the first row; formats that stream must need the same for both sizes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

NER, TEXT = "token-classification", "text-classification"
WORDS = ["Ada", "Byron", "wrote", "to", "London", "."]
TAGS = ["B-PER", "I-PER", "O", "O", "B-LOC", "O"]
SENTENCE = "Ada Byron wrote to London."


def text(number: int) -> str:
    return f"{SENTENCE} It was letter {number}."


def spans(number: int) -> list[list[object]]:
    return [[0, 9, "PER"], [19, 25, "LOC"]]


def conll(number: int) -> str:
    return "".join(f"{word}\t{tag}\n" for word, tag in zip([*WORDS, str(number)], [*TAGS, "O"], strict=True)) + "\n"


def conllu(number: int) -> str:
    lines = [f"# sent_id = {number}"]
    for i, (word, tag) in enumerate(zip(WORDS, TAGS, strict=True), 1):
        lines.append("\t".join([str(i), word, word.lower(), *"_______"[:6], f"NER={tag}"]))
    return "\n".join(lines) + "\n\n"


def webanno(number: int) -> str:
    at, lines = number * 26, [f"#Text={' '.join(WORDS)}"]
    for i, (word, tag) in enumerate(zip(WORDS, TAGS, strict=True), 1):
        cell = {"O": "_", "B-LOC": "LOC"}.get(tag, f"PER[{number + 1}]")
        lines.append(f"{number + 1}-{i}\t{at}-{at + len(word)}\t{word}\t{cell}\t")
        at += len(word) + 1
    return "\n".join(lines) + "\n\n"


def bioc(number: int) -> str:
    found = "".join(
        f'<annotation><infon key="type">{label}</infon><location offset="{start}" length="{end - start}"/>'
        f"<text>{SENTENCE[start:end]}</text></annotation>"
        for start, end, label in ((0, 9, "PER"), (19, 25, "LOC"))
    )
    return (f"<document><id>{number}</id><passage><offset>0</offset><text>{text(number)}</text>{found}</passage>"
            "</document>\n")  # fmt: skip


def pubtator(number: int) -> str:
    return (f"{number}|t|{SENTENCE}\n{number}|a|It was letter {number}.\n{number}\t0\t9\tAda Byron\tPER\tD1\n"
            f"{number}\t19\t25\tLondon\tLOC\t-\n\n")  # fmt: skip


def studio(number: int) -> object:
    results = [{"type": "labels", "value": {"start": s, "end": e, "text": SENTENCE[s:e], "labels": [label]}}
               for s, e, label in ((0, 9, "PER"), (19, 25, "LOC"))]  # fmt: skip
    return {"id": number, "data": {"text": text(number)}, "annotations": [{"result": results}]}


def prodigy(number: int) -> object:
    found = [{"start": start, "end": end, "label": name} for start, end, name in spans(number)]
    return {"text": text(number), "spans": found, "answer": "accept"}


def gliner(number: int) -> object:
    return {"tokenized_text": [*WORDS, str(number)], "ner": [[0, 1, "PER"], [4, 4, "LOC"]]}


def gliner2(number: int) -> object:
    return {"input": text(number), "output": {"entities": {"PER": ["Ada Byron"]}}}


def numbered(number: int) -> object:
    return {"tokens": [*WORDS, str(number)], "ner_tags": [1, 2, 0, 0, 3, 0, 0]}


def joined(write: Callable[[int], object]) -> Callable[[int], Iterator[str]]:
    """JSON lines."""
    return lambda count: (json.dumps(write(number)) + "\n" for number in range(count))


def array(write: Callable[[int], object]) -> Callable[[int], Iterator[str]]:
    """One JSON array."""
    return lambda count: (("[" if not number else ",\n") + json.dumps(write(number)) + ("]" if number == count - 1 else "")
                          for number in range(count))  # fmt: skip


def plain(write: Callable[[int], str], head: str = "", tail: str = "") -> Callable[[int], Iterator[str]]:
    def parts(count: int) -> Iterator[str]:
        yield head
        yield from (write(number) for number in range(count))
        yield tail

    return parts


def label(number: int) -> object:
    return {"text": text(number), "label": "AB"[number % 2]}


def word_rows(number: int) -> str:
    return "".join(f"{number},{word},{tag}\n" for word, tag in zip([*WORDS, str(number)], [*TAGS, "O"], strict=True))


FORMATS: dict[str, tuple[str, str, Callable[[int], Iterator[str]]]] = {
    "conll": ("a.conll", NER, plain(conll)),
    "conllu": ("a.conllu", NER, plain(conllu)),
    "webanno-tsv": ("a.tsv", NER, plain(webanno, "#FORMAT=WebAnno TSV 3.3\n#T_SP=ner.type.NamedEntity|value\n\n")),
    "pubtator": ("a.txt", NER, plain(pubtator)),
    "bioc-xml": ("a.xml", NER, plain(bioc, "<collection>", "</collection>")),
    "csv": ("a.csv", TEXT, plain(lambda number: f"{text(number)},{'AB'[number % 2]}\n", "text,label\n")),
    "word-table": ("a.csv", NER, plain(word_rows, "sentence_id,word,tag\n")),
    "cells": ("a.csv", NER, plain(lambda number: f"{text(number)},\"{spans(number)}\"\n", "text,entities\n")),
    "spaced": ("a.csv", NER, plain(lambda number: f"{' '.join(WORDS)} {number},{' '.join(TAGS)} O\n", "tokens,tags\n")),
    "label-lines": ("a.label", TEXT, plain(lambda number: f"{('HUM', 'LOC')[number % 2]}:x {text(number)}\n")),
    "fasttext": ("a.txt", TEXT, plain(lambda number: f"__label__{'AB'[number % 2]} {text(number)}\n")),
    "tsv": ("a.tsv", TEXT, plain(lambda number: f"{text(number)}\t{'AB'[number % 2]}\n", "text\tlabel\n")),
    "jsonl": ("a.jsonl", TEXT, joined(label)),
    "json": ("a.json", TEXT, array(label)),
    "parquet": ("a.parquet", TEXT, joined(label)),
    "doccano": ("a.jsonl", NER, joined(lambda number: {"text": text(number), "label": spans(number)})),
    "label-studio": ("a.json", NER, array(studio)),
    "prodigy": ("a.jsonl", NER, joined(prodigy)),
    "spacy": ("a.json", NER, array(lambda number: [text(number), {"entities": spans(number)}])),
    "gliner": ("a.jsonl", NER, joined(gliner)),
    "gliner2": ("a.jsonl", NER, joined(gliner2)),
    "class-numbers": ("a.jsonl", NER, joined(numbered)),
}  # fmt: skip


def write(name: str, count: int, folder: Path) -> Path:
    file, _, parts = FORMATS[name]
    path = folder / file
    if name != "parquet":
        with path.open("w", encoding="utf-8") as stream:
            stream.writelines(parts(count))
        return path
    import pyarrow as pa
    from pyarrow import parquet

    with parquet.ParquetWriter(path, pa.schema({"text": pa.string(), "label": pa.string()})) as writer:
        for start in range(0, count, 10_000):
            rows = [label(number) for number in range(start, min(count, start + 10_000))]
            writer.write_table(pa.Table.from_pylist(rows))
    return path


def peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(name: str, path: Path) -> dict[str, float]:
    """Read a file in this process."""
    from manyheads.data.readers import Files, open_files
    from manyheads.tasks import TASK_TYPES

    opened = open_files(Files((path,)), TASK_TYPES[FORMATS[name][1]])
    before, started, rows = peak_kb(), time.perf_counter(), 0
    for row in opened.rows():
        rows += row.skip is None
    seconds = time.perf_counter() - started
    return {"rows": rows, "seconds": seconds, "mb": (peak_kb() - before) / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="*", default=list(FORMATS))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(given.child[0], Path(given.child[1]))))
        return
    print(f"| format | MB above start, {given.rows // 10:,} rows | {given.rows:,} rows | rows per second |")
    print("|---|---|---|---|")
    for name in given.only:
        found = []
        for count in (given.rows // 10, given.rows):
            with tempfile.TemporaryDirectory(dir=given.folder) as folder:
                path = write(name, count, Path(folder))
                child = [sys.executable, __file__, "--child", name, str(path)]
                found.append(json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout))
            assert found[-1]["rows"] == count, (name, found[-1])
        small, large = found
        print(
            f"| {name} | {small['mb']:.1f} | {large['mb']:.1f} | {large['rows'] / large['seconds']:,.0f} |", flush=True
        )


if __name__ == "__main__":
    main()
