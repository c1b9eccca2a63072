"""What joining training sentences does to a head that finds names: in single sentences, and in one long text of them.

    python benchmarks/long_texts.py ../shared/data --work runs/long [--sets ncbi_disease wnut17] [--shares 0 0.5]

Each share of `join_sentences` is trained with the same seeds. The test sentences are read one by one (as everywhere), and
joined to a single text of many windows; `kept` is the part of the names found in the sentences that is found in there too.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import yaml

import manyheads as mh
from manyheads.data.readers import Files, open_files
from manyheads.metrics.entities import entity_scores

FILES = {
    "ncbi_disease": ("train.tsv.gz", "devel.tsv.gz", "test.tsv.gz"),
    "wnut17": ("wnut17train.conll.gz", "emerging.dev.conll.gz", "emerging.dev.conll.gz"),
    "conll2003": ("eng.train.gz", "eng.testa.gz", "eng.testb.gz"),
}
Span = tuple[int, int, str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/long"))
    parser.add_argument("--sets", nargs="+", choices=sorted(FILES), default=["ncbi_disease", "wnut17"])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.25, 0.5, 0.75])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--decoder", default="softmax")
    parser.add_argument("--document", type=int, default=10, help="sentences of a document where the file does not say")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = []
    for name in options.sets:
        for seed in options.seeds:
            for share in options.shares:
                row = {"set": name, "share": share, "seed": seed, **measured(options, name, seed, share)}
                print(json.dumps(row), flush=True)
                found.append(row)
    for line in table(found):
        print(line)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def measured(options: argparse.Namespace, name: str, seed: int, share: float) -> dict[str, float]:
    """F1 on single sentences and on all of them joined, of one trained model; trained where it is not there yet."""
    paths = [str((options.data / name / file).resolve()) for file in FILES[name]]
    if name != "conll2003":
        paths[0] = documented(Path(paths[0]), options.work / f"{name}-train.conll", options.document)
    output = options.work / f"{name}-{options.decoder}-{share:g}-seed{seed}"
    run: dict[str, Any] = {
        "encoder": {"name": "all-MiniLM-L6-v2", "max_length": 256},
        "tasks": {"names": {"type": "token-classification", "decoder": options.decoder, "join_sentences": share,
                            "data": dict(zip(("train", "validation", "test"), paths, strict=True))}},
        "training": {"epochs": options.epochs, "learning_rate": 2e-4, "tokens_per_step": 1024, "seed": seed},
    }  # fmt: skip
    if not (output / "manyheads.json").exists():
        options.work.mkdir(parents=True, exist_ok=True)
        path = options.work / "run.yaml"
        path.write_text(yaml.safe_dump(run), encoding="utf-8")
        mh.train(path, output=output)
    model = mh.load(output)
    sentences, gold = test_of(Path(paths[2]))
    alone = [spans(row) for row in model.entities(sentences)]
    bases = [0]
    for sentence in sentences:
        bases.append(bases[-1] + len(sentence) + 1)
    [whole] = model.entities([" ".join(sentences)])
    moved = [moved_by(one, base) for one, base in zip(alone, bases, strict=False)]
    long = spans(whole)
    expected = {span for one in moved for span in one}
    return {
        "sentences": entity_scores(gold, alone).total.f1,
        "long": entity_scores(
            [[s for one, base in zip(gold, bases, strict=False) for s in moved_by(one, base)]], [long]
        ).f1,
        "kept": len(expected & set(long)) / max(len(expected), 1),
    }


def documented(source: Path, path: Path, sentences: int) -> str:
    """A file without documents, with a new one after so many sentences: the set has abstracts of about ten in a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(source, "rt", encoding="utf-8") as lines, path.open("w", encoding="utf-8") as out:
        for number, sentence in enumerate(lines.read().split("\n\n")):
            if number % sentences == 0:
                out.write("-DOCSTART-\n\n")
            out.write(sentence.strip("\n") + "\n\n")
    return str(path.resolve())


def test_of(path: Path) -> tuple[list[str], list[list[Span]]]:
    """The sentences of a file and their names."""
    from manyheads.tasks.token_classification import TokenClassification

    task = TokenClassification(name="names")
    examples = [task.read(row.values) for row in open_files(Files((path,)), type(task)).rows()]
    return [example.text for example in examples], [list(example.spans) for example in examples]


def spans(answer: list[dict[str, Any]]) -> list[Span]:
    return [(span["start"], span["end"], span["label"]) for span in answer]


def moved_by(found: list[Span], base: int) -> list[Span]:
    return [(start + base, end + base, label) for start, end, label in found]


def table(found: list[dict[str, Any]]) -> list[str]:
    """Means over seeds, with the standard deviation of the first."""
    lines = ["| set | join_sentences | F1, sentences | F1, one long text | found in both |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(row["set"] for row in found):
        for share in dict.fromkeys(row["share"] for row in found):
            rows = [row for row in found if (row["set"], row["share"]) == (name, share)]
            cells = []
            for key in ("sentences", "long", "kept"):
                values = [100 * row[key] for row in rows]
                spread = statistics.stdev(values) if len(values) > 1 else 0.0
                cells.append(f"{statistics.mean(values):.1f} ± {spread:.1f}")
            lines.append(f"| {name} | {share:g} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
