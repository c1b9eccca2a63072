"""Turns the public data sets of a data folder into the formats that run files name. Nothing here is shipped.

The folder holds, gzipped, what MANIFEST.tsv lists: conll2003, sst2, squad11, stsb_en, pmc_rct_sections, ncbi_disease, ...
"""

import csv
import gzip
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

DEV_QUESTIONS = 20
"""Of each of the 48 articles of SQuAD's development set: 960 questions, with as many clusters as there are."""


def rank(text: str) -> str:
    """A random but fixed order of texts."""
    return hashlib.sha256(text.encode()).hexdigest()


def write_csv(path: Path, header: list[str], rows: Iterable[Iterable[object]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return str(path.resolve())


def conll2003(data: Path, work: Path) -> dict[str, str]:
    folder = (data / "conll2003").resolve()
    return {"train": f"{folder}/eng.train.gz", "validation": f"{folder}/eng.testa.gz", "test": f"{folder}/eng.testb.gz"}


def sst2(data: Path, work: Path) -> dict[str, str]:
    """Train as it is (a validation part is cut by the library), dev as test: the official test has no labels."""
    paths = {}
    for split, name in (("train", "train"), ("test", "dev")):
        with gzip.open(data / f"sst2/{name}.tsv.gz", "rt", encoding="utf-8") as lines:
            rows = [line.rstrip("\n").split("\t") for line in lines if line.strip()]
        names = {"0": "negative", "1": "positive"}
        paths[split] = write_csv(
            work / f"sst2-{split}.csv", ["text", "label"], ((text, names[label]) for text, label in rows)
        )
    return paths


def stsb(data: Path, work: Path) -> dict[str, str]:
    paths = {}
    for split, name in (("train", "train"), ("test", "dev")):
        with gzip.open(data / f"stsb_en/stsb-en-{name}.csv.gz", "rt", encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        paths[split] = write_csv(work / f"stsb-{split}.csv", ["text_a", "text_b", "score"], rows)
    return paths


def squad(data: Path, work: Path, questions: int = 20_000, validation: int = 1_000) -> dict[str, str]:
    """Whole articles in a fixed random order until there are enough questions; the next ones validate; dev is the test."""
    with gzip.open(data / "squad11/train.json.gz", "rt", encoding="utf-8") as file:
        articles = sorted(json.load(file)["data"], key=lambda article: rank(article["title"]))
    paths = {}
    for split, wanted in (("train", questions), ("validation", validation)):
        chosen, count = [], 0
        while count < wanted:
            article = articles.pop(0)
            paragraphs = []
            for paragraph in article["paragraphs"]:
                kept = paragraph["qas"][: wanted - count]
                count += len(kept)
                if kept:
                    paragraphs.append({**paragraph, "qas": kept})
            chosen.append({**article, "paragraphs": paragraphs})
        path = work / f"squad-{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"version": "1.1", "data": chosen}), encoding="utf-8")
        paths[split] = str(path.resolve())
    return {**paths, "test": str((data / "squad11/dev.json.gz").resolve())}


def squad_sample(data: Path) -> list[Any]:
    """The articles of dev, each with its first questions in a fixed random order."""
    with gzip.open(data / "squad11/dev.json.gz", "rt", encoding="utf-8") as file:
        articles: list[Any] = json.load(file)["data"]
    for article in articles:
        found = [(rank(qa["id"]), qa["id"]) for paragraph in article["paragraphs"] for qa in paragraph["qas"]]
        kept = {name for _, name in sorted(found)[:DEV_QUESTIONS]}
        for paragraph in article["paragraphs"]:
            paragraph["qas"] = [qa for qa in paragraph["qas"] if qa["id"] in kept]
        article["paragraphs"] = [paragraph for paragraph in article["paragraphs"] if paragraph["qas"]]
    return articles


def sections(data: Path, work: Path) -> dict[str, str]:
    """Section of each sentence of an abstract, by the set's own split; `document` keeps an abstract together."""
    files = {"train": "train", "validation": "dev", "test": "test"}
    rows: dict[str, list[str]] = {split: [] for split in files}
    with gzip.open(data / "pmc_rct_sections/pmc_rct_open.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            abstract = json.loads(line)
            split = next(ours for ours, theirs in files.items() if theirs == abstract["split"])
            for text, label in zip(abstract["sentences"], abstract["labels"], strict=True):
                rows[split].append(json.dumps({"text": text, "label": label, "document": abstract["pmcid"]}))
    paths = {}
    for split, found in rows.items():
        path = work / f"sections-{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(found) + "\n", encoding="utf-8")
        paths[split] = str(path.resolve())
    return paths


def ncbi_disease(data: Path, work: Path) -> dict[str, str]:
    folder = (data / "ncbi_disease").resolve()
    return {"train": f"{folder}/train.tsv.gz", "validation": f"{folder}/devel.tsv.gz", "test": f"{folder}/test.tsv.gz"}


SETS: dict[str, Callable[[Path, Path], dict[str, str]]] = {
    "conll2003": conll2003, "sst2": sst2, "squad": squad, "stsb": stsb, "sections": sections, "ncbi_disease": ncbi_disease,
}  # fmt: skip
