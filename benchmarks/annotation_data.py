"""Rows of public data sets for benchmarks/annotation.py, and label errors planted in them."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyheads.text.spans import Span, spans_of_tags, tags_of_spans

SHARE = 0.05
"""Of the labels that are planted errors."""


@dataclass(frozen=True)
class Pool:
    """Rows to choose from and rows to score on, all labelled."""

    kind: str
    rows: list[dict[str, Any]]
    test: list[dict[str, Any]]
    first: int
    """Rows labelled before the first round."""
    step: int
    """Rows labelled in each round."""


def lines(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.read().splitlines()


def sentences(path: Path) -> list[dict[str, Any]]:
    """Rows with `tokens` and `tags` from CoNLL columns."""
    rows, words, tags = [], list[str](), list[str]()
    for line in [*lines(path), ""]:
        cells = line.split()
        if cells and cells[0] != "-DOCSTART-":
            words.append(cells[0])
            tags.append(cells[-1])
        elif words:
            rows.append({"tokens": words, "tags": tags})
            words, tags = [], []
    return rows


def clinc150(data: Path) -> Pool:
    found = json.loads(gzip.decompress((data / "clinc150/data_full.json.gz").read_bytes()))
    rows = {split: [{"text": text, "label": label} for text, label in found[split]] for split in ("train", "test")}
    return Pool("text-classification", sample(rows["train"], 4000), sample(rows["test"], 1500), 150, 150)


def goemotions(data: Path) -> Pool:
    labels = (data / "goemotions/labels.txt").read_text(encoding="utf-8").split()
    rows = {}
    for split in ("train", "test"):
        cells = [line.split("\t") for line in lines(data / f"goemotions/{split}.tsv.gz")]
        rows[split] = [{"text": text, "label": labels[int(given)]} for text, given, _ in cells if "," not in given]
    return Pool("text-classification", sample(rows["train"], 4000), sample(rows["test"], 1500), 150, 150)


def pmc_sections(data: Path) -> Pool:
    rows = {"train": [], "test": []}
    for line in lines(data / "pmc_rct_sections/pmc_rct_open.jsonl.gz"):
        found = json.loads(line)
        if found["split"] in rows:
            pairs = zip(found["sentences"], found["labels"], strict=True)
            rows[found["split"]] += [{"text": text, "label": str(label)} for text, label in pairs if text.strip()]
    return Pool("text-classification", sample(rows["train"], 2000), sample(rows["test"], 800), 50, 50)


def entities(train: str, test: str) -> Callable[[Path], Pool]:
    def read(data: Path) -> Pool:
        return Pool(
            "token-classification", sample(sentences(data / train), 2000), sample(sentences(data / test), 700), 50, 50
        )

    return read


SETS: Mapping[str, Callable[[Path], Pool]] = {
    "clinc150": clinc150, "conll2003": entities("conll2003/eng.train.gz", "conll2003/eng.testa.gz"),
    "ncbi_disease": entities("ncbi_disease/train.tsv.gz", "ncbi_disease/test.tsv.gz"),
}  # fmt: skip
DEVELOPMENT: Mapping[str, Callable[[Path], Pool]] = {
    "goemotions": goemotions, "pmc_sections": pmc_sections,
    "wnut17": entities("wnut17/wnut17train.conll.gz", "wnut17/emerging.dev.conll.gz"),
    "bc5cdr": entities("bc5cdr/train.tsv.gz", "bc5cdr/devel.tsv.gz"),
}  # fmt: skip


def sample(rows: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    return random.Random(0).sample(list(rows), min(count, len(rows)))


def planted(rows: Sequence[dict[str, Any]], seed: int) -> tuple[list[dict[str, Any]], set[tuple[int, int]]]:
    """Rows with wrong labels in 5 % of the places, and these places: the row, and the word for entities."""
    draws = random.Random(seed)
    if "label" in rows[0]:
        labels = sorted({row["label"] for row in rows})
        wrong = set(draws.sample(range(len(rows)), round(SHARE * len(rows))))
        changed = [{**row, "label": draws.choice([one for one in labels if one != row["label"]])} if i in wrong else row
                   for i, row in enumerate(rows)]  # fmt: skip
        return changed, {(i, 0) for i in wrong}
    spans = [spans_of_tags(row["tags"]) for row in rows]
    labels = sorted({span.label for some in spans for span in some})
    wrong = set(
        draws.sample([(i, span) for i, some in enumerate(spans) for span in some], round(SHARE * sum(map(len, spans))))
    )
    changed, places = [], set()
    for i, row in enumerate(rows):
        tags = list(row["tags"])
        for span in spans[i]:
            if (i, span) in wrong:
                others = [one for one in spans_of_tags(tags) if one != span]
                new, place = spoilt(span, tags, labels, draws)
                tags = tags_of_spans([*others, *new], len(tags))
                places.add((i, place))
        changed.append({**row, "tags": tags})
    return changed, places


def spoilt(span: Span, tags: Sequence[str], labels: Sequence[str], draws: random.Random) -> tuple[list[Span], int]:
    """A span with an error in one of four ways, as likely as each other, and a word of the error."""
    kind = draws.choice(["label", "boundary", "missed", "spurious"])
    free = [w for w, tag in enumerate(tags) if tag == "O" and w not in (span.start - 1, span.end)]
    if kind == "label":
        return [Span(span.start, span.end, draws.choice([one for one in labels if one != span.label]))], span.start
    if kind == "boundary" and span.end - span.start > 1:
        return [Span(span.start + 1, span.end, span.label)], span.start
    if kind == "boundary" and span.end < len(tags) and tags[span.end] == "O":
        return [Span(span.start, span.end + 1, span.label)], span.end
    if kind == "spurious" and free:
        word = draws.choice(free)
        return sorted([span, Span(word, word + 1, draws.choice(labels))]), word
    return [], span.start
