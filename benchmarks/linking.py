"""Linking of entities to a dictionary: the head against simpler ways, its candidates, and time with a large dictionary.

    python benchmarks/linking.py DATA [--rows N] [--steps N] [--seed N] [-o FOLDER] [--skip-times]

Concepts, names and splits follow the rules of `linking_data.py`. Accuracy is for gold entities. DATA is the folder of public
data sets that benchmarks/real_data.py reads.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import manyheads as mh
from continue_training import write_rows
from linking_data import Corpus, Row, corpus
from manyheads.cli import main as manyheads
from manyheads.evaluate import answers_for, calibrate, with_stores
from manyheads.predict import Predictor, TorchBackend
from manyheads.tasks.entity_linking.dictionary import Dictionary
from manyheads.tasks.entity_linking.scores import outcomes
from manyheads.tasks.entity_linking.terms import Concept, normalised

KINDS = ("known name", "other name", "unseen name", "typing error")
ALONE = {"weights": (0.0, 0.0, 1.0), "none_logit": -60.0, "tuned_threshold": 0.0}
"""Vectors without anything else."""
Linked = Callable[[Row], list[list[str]]]


def write_run(folder: Path, made: Corpus, rows: int, steps: int, seed: int) -> Path:
    """The run file, its rows and its dictionary."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"train": rows, "validation": rows // 4, "test": rows // 2}
    some = {split: made.splits[split][:size] for split, size in sizes.items()}
    data = {split: write_rows(folder / f"{split}.jsonl", few) for split, few in some.items()}
    named = {link for few in some.values() for row in few for one in row["entities"] for link in one["links"]}
    lines = ["\t".join(line) for line in (["id", "name", "type", "synonyms"], *made.terms) if line[0] in {*named, "id"}]
    (folder / "terms.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines) - 1:,} of the concepts are in these rows, and in the dictionary")
    run = {
        "encoder": {"name": "all-MiniLM-L6-v2", "max_length": 128},
        "tasks": {
            "entities": {"type": "token-classification", "data": data, "tokens_per_step": 128},
            "links": {"type": "entity-linking", "of": "entities", "terms": "terms.tsv", "data": data},
        },
        "training": {
            "steps": steps, "tokens_per_step": 1152, "evaluate_every": steps, "fit_heads": False, "seed": seed,
            "device": "cpu",
        },
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
    return path


def by_kind(name: str, made: Corpus, test: Sequence[Row], right: Sequence[Sequence[bool]]) -> str:
    """A row of the table of accuracies."""
    found: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    for row, marks in zip(test, right, strict=True):
        for one, mark in zip(row["entities"], marks, strict=True):
            found[made.kinds[row["text"]][f"{one['start']}-{one['end']}"]].append(mark)
    every = [mark for marks in found.values() for mark in marks]
    cells = [f"{100 * sum(marks) / len(marks):.1f}" for marks in (every, *found.values())]
    return f"| {name} | {' | '.join(cells)} |"


def by_spelling(dictionary: Dictionary, test: Sequence[Row], pick: Callable[[str], np.ndarray]) -> list[list[bool]]:
    """Whether the concept of the first name that is picked for a mention is right."""

    def right(row: Row, one: dict[str, Any]) -> bool:
        names = pick(normalised(row["text"][one["start"] : one["end"]]))
        return len(names) > 0 and dictionary.ids[int(dictionary.concept_of_name[names[0]])] in one["links"]

    return [[right(row, one) for one in row["entities"]] for row in test]


def by_head(predictor: Predictor, test: Sequence[Row]) -> tuple[list[list[bool]], dict[str, float]]:
    """Whether a head's answers are right, and its metrics."""
    task = predictor.tasks["links"]
    answers, examples = answers_for(predictor, task, [task.read(row) for row in test])
    found = iter(outcomes(task, answers, examples))
    return [[next(found).right for _ in row["entities"]] for row in test], task.score(answers, examples)


def untrained(model: mh.Model) -> Predictor:
    """The head as it begins, on the untrained encoder."""
    import torch

    from manyheads.model import MultiTaskModel
    from manyheads.nn.pretrained import load_encoder
    from manyheads.nn.resolve_encoder import resolve_encoder

    tasks = dict(model.predictor.tasks)
    fresh = MultiTaskModel(load_encoder(resolve_encoder("all-MiniLM-L6-v2").path_or_id), tasks)
    return with_stores(Predictor(TorchBackend(fresh, torch.device("cpu")), tasks, model.predictor.tokenizer, max_length=128))


def accuracies(model: mh.Model, made: Corpus, folder: Path) -> None:
    """Print the accuracy of each way, and that of the candidates."""
    files = (folder / f"{split}.jsonl" for split in ("test", "validation"))
    test, validation = ([json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] for file in files)
    dictionary = model.predictor.tasks["links"].dictionary
    print("| accuracy@1 | all | " + " | ".join(KINDS) + " |\n|---|---|" + "---|" * len(KINDS))
    spelling = dictionary.spelling
    print(by_kind("equal after normalisation", made, test, by_spelling(dictionary, test, spelling.equal)))
    similar = by_spelling(dictionary, test, lambda key: spelling.similar(spelling.query(key), 1)[0])
    print(by_kind("character trigrams", made, test, similar), flush=True)
    for name, predictor in (("untrained", untrained(model)), ("trained", model.predictor)):
        alone = predictor.with_tasks({**predictor.tasks, "links": replace(predictor.tasks["links"], **ALONE)})
        print(by_kind(f"vectors alone, {name}", made, test, by_head(alone, test)[0]), flush=True)
        task = predictor.tasks["links"]
        tuned, _ = calibrate(predictor, {"links": [task.read(row) for row in validation]})
        right, metrics = by_head(predictor.with_tasks(tuned), test)
        print(by_kind(f"all candidates ranked, {name}", made, test, right), flush=True)
    share = metrics["accuracy_at_5"] / metrics["candidate_recall"]
    print(f"accuracy@5 {metrics['accuracy_at_5']:.4f}, candidates hold {metrics['candidate_recall']:.4f}: {share:.1%} of it; "
          f"strict f1 with found entities {metrics['strict_f1']:.4f}; weights {np.round(tuned['links'].weights, 2)}, "
          f"none {tuned['links'].none_logit:.2f}, threshold {tuned['links'].limit:.3f}")  # fmt: skip


def enlarged(dictionary: Dictionary, names: int, seed: int) -> Dictionary:
    """A dictionary with so many names: those there are, and random mixtures of their words and vectors."""
    draw, known = random.Random(seed), dictionary.names.all()[:names]
    words = sorted({word for name in known for word in name.split()})
    concepts = [Concept(f"K{k}", [name], "") for k, name in enumerate(dict.fromkeys(known))]
    made = {" ".join(draw.choices(words, k=draw.randint(1, 4))) for _ in range(2 * names)} - set(known)
    concepts += [Concept(f"X{k}", [name], "") for k, name in enumerate(sorted(made)[: names - len(concepts)])]
    vectors = dictionary.vectors
    assert vectors is not None
    ends = np.random.default_rng(seed).integers(0, len(vectors.vector_MD), (len(concepts), 2))
    mixed = vectors.vector_MD[ends].astype(np.float32).sum(1)
    mixed[: len(known)] = vectors.vector_MD[vectors.row_N[: len(concepts)][: len(known)]]
    return Dictionary.of(concepts).with_vectors([one.names[0] for one in concepts], mixed)


def times(model: mh.Model, test: Sequence[Row], repeats: int = 3) -> None:
    """Print the processor time of answering with a small and with a large dictionary, in turn."""
    rows, task = [{"text": row["text"]} for row in test], model.predictor.tasks["links"]
    sizes = {size: enlarged(task.dictionary, size, 0) for size in (1_000, 100_000)}
    for batch in (1, len(rows)):
        took: dict[int, list[float]] = {size: [] for size in sizes}
        for _ in range(repeats):
            for size, dictionary in sizes.items():
                new = replace(dictionary, _spelled={})  # nothing remembered of the texts
                predictor = model.predictor.with_tasks({**model.predictor.tasks, "links": replace(task, dictionary=new)})
                list(predictor.predict(rows[:1], ["entities", "links"]))  # what is made once for a dictionary
                began = time.process_time()
                for start in range(0, len(rows), batch):
                    list(predictor.predict(rows[start : start + batch], ["entities", "links"]))
                took[size].append((time.process_time() - began) / len(rows))
        small, large = (statistics.median(took[size]) * 1e3 for size in sizes)
        what = "texts one by one" if batch == 1 else f"{len(rows)} texts at once"
        print(f"{what}: {small:.2f} ms a text with {1_000:,} names, {large:.2f} with {100_000:,}: {large / small - 1:+.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=800, help="training sentences; half as many test")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/linking"))
    parser.add_argument("--skip-times", action="store_true")
    given = parser.parse_args()
    made = corpus(given.data)
    print(f"{len(made.terms):,} concepts; rows: {', '.join(f'{split} {len(rows):,}' for split, rows in made.splits.items())}")
    run = write_run(given.output, made, given.rows, given.steps, given.seed)
    if not (given.output / "model/manyheads.json").exists():
        began = time.monotonic()
        assert manyheads(["train", str(run), "-o", str(given.output / "model")]) == 0
        print(f"training took {time.monotonic() - began:.0f} s")
    model = mh.load(given.output / "model")
    accuracies(model, made, given.output)
    if not given.skip_times:
        times(model, made.splits["test"][:40])


if __name__ == "__main__":
    main()
