"""Search in Cranfield (225 queries, 1,400 abstracts): BM25, dense, sparse and multiple vectors, and ranking, by nDCG@10.

    python benchmarks/search.py DATA [--trained plain prompts ranking] [--folds 3] [-o FOLDER]

DATA is the folder of public data sets; it holds cranfield/ with `cran.all.1400.xml.gz`, `cran.qry.xml.gz` and
`cranqrel.trec.txt.gz`. Queries are divided into folds by their number. What is trained for a fold sees the abstracts, and the
queries and judgements of the other folds; it is tested on the queries of the fold, so every query is tested once by models
that never saw it. Needs no network. Models are kept in FOLDER.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from manyheads.metrics.ranking import ndcg_at_k

Floats = npt.NDArray[np.float64]

K1, B = 1.2, 0.75
"""BM25's saturation and length normalisation, the usual ones (Robertson & Zaragoza 2009)."""
ENCODER = "all-MiniLM-L6-v2"
KINDS = ("dense", "sparse", "multi")
STEPS, TOKENS = 60, 4096
"""Of each training, about five minutes on an idle core."""
TRAINED = ("plain", "prompts", "ranking")
DEPTH = 50
"""Abstracts that the ranker reads for each query."""
TAG = re.compile(r"<(docno|title|text|num)>(.*?)</\1>", re.DOTALL)
WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class Collection:
    """Texts with judgements."""

    documents: list[str]
    queries: list[str]
    gain_QN: Floats
    """Relevance of each document to each query."""


def read(folder: Path) -> Collection:
    """Cranfield. The numbers of queries in the judgements are their places in the file of queries."""
    found: dict[str, list[str]] = defaultdict(list)
    for key, value in TAG.findall(_text(folder / "cran.all.1400.xml.gz")):
        found[key].append(" ".join(value.split()))
    assert found["docno"] == [str(i + 1) for i in range(1400)]
    queries = [" ".join(value.split()) for key, value in TAG.findall(_text(folder / "cran.qry.xml.gz")) if key == "title"]
    gain_QN = np.zeros((len(queries), 1400))
    for line in _text(folder / "cranqrel.trec.txt.gz").splitlines():
        query, _, document, grade = line.split()
        gain_QN[int(query) - 1, int(document) - 1] = max(0, int(grade))
    return Collection(found["text"], queries, gain_QN)


def _text(path: Path) -> str:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.read()


class BM25:
    """Okapi BM25 with the idf that is never negative, `log(1 + (N - n + 0.5) / (n + 0.5))`, as in Lucene."""

    def __init__(self, documents: Sequence[str]) -> None:
        words = [Counter(WORD.findall(text)) for text in documents]
        length_N = np.array([sum(counts.values()) for counts in words], np.float64)
        self.size = len(documents)
        self._norm_N = K1 * (1 - B + B * length_N / length_N.mean())
        self._found: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        for n, counts in enumerate(words):
            for word, count in counts.items():
                self._found[word][0].append(n)
                self._found[word][1].append(count)

    def scores(self, query: str) -> Floats:
        """The score of each document, `(N,)`."""
        score_N = np.zeros(self.size)
        for word in WORD.findall(query):
            if word in self._found:
                place, count = map(np.array, self._found[word])
                idf = math.log(1 + (self.size - len(place) + 0.5) / (len(place) + 0.5))
                score_N[place] += idf * count * (K1 + 1) / (count + self._norm_N[place])
        return score_N


def fused(*scores: Floats) -> Floats:
    """Reciprocal rank fusion with its usual constant (Cormack, Clarke & Buettcher 2009)."""
    ranks = (np.argsort(np.argsort(-score_QN, 1, "stable"), 1, "stable") for score_QN in scores)
    return np.asarray(sum(1 / (60 + 1 + rank_QN) for rank_QN in ranks))


def ndcg_of(score_QN: Floats, collection: Collection) -> Floats:
    """nDCG@10 of each query, `(Q,)`."""
    return np.array([ndcg_at_k(gain, score) for gain, score in zip(collection.gain_QN, score_QN, strict=True)])


def run_file(folder: Path, name: str, tasks: Mapping[str, Any], training: Mapping[str, Any]) -> Path:
    """A run file for one training."""
    import yaml

    path = folder / f"{name}.yaml"
    run = {"encoder": {"name": ENCODER, "max_length": 256}, "tasks": tasks, "training": {"device": "cpu", **training},
           "output": str(folder / name)}  # fmt: skip
    path.write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
    return path


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> str:
    """A jsonl file; returns its name."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path.name


def untrained(folder: Path, collection: Collection) -> Any:
    """The bundled encoder with heads of all kinds that were not trained, as a predictor."""
    import torch

    from manyheads.config.build import build_plan
    from manyheads.config.files import load_run
    from manyheads.predict import Predictor, TorchBackend

    data = {"train": write_rows(folder / "untrained.jsonl", positives(collection, range(len(collection.queries))))}
    tasks = {kind: {"type": "sentence-embedding", "vectors": kind, "data": data} for kind in KINDS}
    plan = build_plan(load_run(run_file(folder, "untrained", tasks, {"steps": 1, "recipe": "none"})))
    backend = TorchBackend(plan.model, torch.device("cpu"))
    return Predictor(backend, plan.tasks, plan.tokenizer, max_length=256)


def positives(collection: Collection, queries: Iterable[int]) -> list[dict[str, Any]]:
    """A pair for each query and relevant abstract."""
    return [{"text_a": collection.queries[q], "text_b": collection.documents[n]}
            for q in queries for n in np.flatnonzero(collection.gain_QN[q] > 0) if collection.documents[n]]  # fmt: skip


def answers_of(predictor: Any, texts: Sequence[str], role: str) -> dict[str, list[Any]]:
    """The answer of each task of a model to each text."""
    inputs = [predictor.inputs_of({"text": text, "input_type": role}, list(predictor.tasks)) for text in texts]
    found = predictor.answer(inputs)
    return {name: [one.answers[name] for one in found] for name in predictor.tasks}


def similarities(predictor: Any, collection: Collection, queries: Sequence[int]) -> dict[str, Floats]:
    """The similarity of some queries to all abstracts, by task, `(Q, N)`."""
    asked = answers_of(predictor, [collection.queries[q] for q in queries], "query")
    read_ = answers_of(predictor, collection.documents, "passage")
    return {name: task.similarity(asked[name], read_[name]) for name, task in predictor.tasks.items()}


def trained_vectors(folder: Path, collection: Collection, fold: Fold, *, prompts: bool) -> dict[str, Floats]:
    """Similarities of a fold's queries after training on the other folds' pairs, with or without prompts."""
    import manyheads as mh

    name = f"vectors-{fold.number}-{'prompts' if prompts else 'plain'}"
    more: dict[str, Any] = {"prompts": {"query": "query: ", "passage": "passage: "}} if prompts else {}
    data = {"train": write_rows(folder / f"{name}.jsonl", positives(collection, fold.training))}
    more = {**more, "data": data, "validation_fraction": 0.1}
    tasks = {kind: {"type": "sentence-embedding", "vectors": kind, **more} for kind in KINDS}
    model = mh.train(str(run_file(folder, name, tasks, {"steps": STEPS, "tokens_per_step": TOKENS})))
    return similarities(model.predictor, collection, fold.tested)


def ranked(folder: Path, collection: Collection, fold: Fold, first_QN: Floats) -> Floats:
    """Scores of a fold's queries: those of the ranker for the DEPTH nearest abstracts, above all others.

    It is trained on the judged queries of the other folds, each with the nearest abstracts that are not relevant.
    """
    import manyheads as mh

    rows = []
    for q in fold.training:
        near = [n for n in np.argsort(-first_QN[q])[:DEPTH] if collection.gain_QN[q, n] == 0]
        for k, n in enumerate(np.flatnonzero(collection.gain_QN[q] > 0)):
            if collection.documents[n]:
                negatives = [collection.documents[m] for m in near[3 * k : 3 * k + 3]] or [collection.documents[near[0]]]
                rows.append({"query": collection.queries[q], "positive": collection.documents[n], "negatives": negatives})
    data = {"train": write_rows(folder / f"ranker-{fold.number}.jsonl", rows)}
    tasks = {"ranking": {"type": "text-ranking", "list_size": 4, "data": data, "validation_fraction": 0.1}}
    model = mh.train(str(run_file(folder, f"ranker-{fold.number}", tasks, {"steps": STEPS, "tokens_per_step": TOKENS})))
    score_QN = first_QN[fold.tested] - 1e6
    for i, q in enumerate(fold.tested):
        near = np.argsort(-first_QN[q])[:DEPTH]
        for one in model.rank(collection.queries[q], [collection.documents[n] for n in near]):
            score_QN[i, near[one["index"]]] = one["score"]
    return score_QN


@dataclass(frozen=True)
class Fold:
    """Queries that are tested together."""

    number: int
    tested: list[int]
    training: list[int]


def folds_of(queries: int, count: int) -> list[Fold]:
    """Queries by their number modulo the number of folds."""
    every = range(queries)
    return [Fold(k, [q for q in every if q % count == k], [q for q in every if q % count != k]) for k in range(count)]


def main() -> None:
    """Print nDCG@10 of each system."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--trained", nargs="*", choices=TRAINED, default=TRAINED)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/search"))
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    collection = read(given.data / "cranfield")
    bm25 = BM25(collection.documents)
    lexical_QN = np.stack([bm25.scores(query) for query in collection.queries])
    show("BM25", lexical_QN, collection)
    first = similarities(untrained(given.output, collection), collection, range(len(collection.queries)))
    for kind, score_QN in first.items():
        show(f"{kind}, untrained", score_QN, collection)
    show("BM25 and dense, untrained, by ranks", fused(lexical_QN, first["dense"]), collection)
    folds = folds_of(len(collection.queries), given.folds)
    for name in ("plain", "prompts"):
        if name in given.trained:
            parts = [trained_vectors(given.output, collection, fold, prompts=name == "prompts") for fold in folds]
            for kind in KINDS:
                show(f"{kind}, trained, {name}", assembled(folds, [part[kind] for part in parts]), collection)
    if "ranking" in given.trained:
        score_QN = assembled(folds, [ranked(given.output, collection, fold, first["dense"]) for fold in folds])
        show(f"dense, untrained, its first {DEPTH} ranked", score_QN, collection)


def assembled(folds: Sequence[Fold], parts: Sequence[Floats]) -> Floats:
    """The scores of all queries from those of each fold, `(Q, N)`."""
    score_QN = np.zeros((sum(len(fold.tested) for fold in folds), parts[0].shape[1]))
    for fold, part in zip(folds, parts, strict=True):
        score_QN[fold.tested] = part
    return score_QN


def show(name: str, score_QN: Floats, collection: Collection) -> None:
    """Print a row of the table."""
    print(f"{name:40} nDCG@10 {ndcg_of(score_QN, collection).mean():.4f}", flush=True)


if __name__ == "__main__":
    main()
