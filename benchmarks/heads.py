"""Heads that come later: CoNLL-2003 and SST-2 in one model, to which STS-B, clinc150 and WNUT-17 are added (an hour or two).

    python benchmarks/heads.py DATA [--steps N] [-o FOLDER] [--own auto|head|top:N|lora]

Adds the three tasks with `manyheads add`, drops a head, exports to ONNX, and compares answers to 2,000 texts. DATA is the
folder of public data sets that benchmarks/real_data.py reads. Can be interrupted.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import yaml

import manyheads as mh
from manyheads.cli import main as manyheads
from real_data import SETS
from sharing import unseen

TEXTS = 2000
LATER = {"similarity": "similarity", "intent": "intent", "entities": "emerging"}
"""Tasks of the mix `unseen`, and their names in the model."""


def sentences(path: str) -> Iterator[str]:
    """Of a CoNLL file."""
    words: list[str] = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                words.append(line.split()[0])
            elif words:
                yield " ".join(words)
                words = []


def texts(data: Path, work: Path) -> list[str]:
    """Test sentences of SST-2 and CoNLL-2003."""
    rows = Path(SETS["sst2"](data, work)["test"]).read_text(encoding="utf-8").splitlines()[1:]
    reviews = (row.rpartition(",")[0].strip('"') for row in rows)
    return list(islice(filter(None, chain(reviews, sentences(SETS["conll2003"](data, work)["test"]))), TEXTS))


def equal(one: Path, other: Path, names: Sequence[str], rows: Sequence[str]) -> bool:
    """Whether two models give these texts the same answers, to the last digit."""
    found = [list(map(json.dumps, mh.load(model).predict(rows, tasks=list(names)))) for model in (one, other)]
    return found[0] == found[1]


def run(output: Path, *arguments: object) -> Path:
    """Run a command that writes a folder, unless it is there."""
    if not (output / "manyheads.json").exists():
        status = manyheads([*map(str, arguments), "-o", str(output)])
        if status:
            raise SystemExit(status)
    return output


def measure(data: Path, work: Path, steps: int, own: str) -> dict[str, Any]:
    work.mkdir(parents=True, exist_ok=True)
    first = {
        "entities": {"type": "token-classification", "data": SETS["conll2003"](data, work)},
        "sentiment": {"type": "text-classification", "data": SETS["sst2"](data, work), "validation_fraction": 0.05},
    }
    training = {"steps": steps, "tokens_per_step": 2048}
    runs: dict[str, Any] = {"base": {"encoder": {"max_length": 128}, "tasks": first, "training": training}}
    mix = unseen(data, work)
    runs |= {name: {"tasks": {name: mix[like]}} for like, name in LATER.items()}
    for name, values in runs.items():
        (work / f"{name}.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    resume = ["--resume"] if (work / "base").exists() else []
    base = model = run(work / "base", "train", work / "base.yaml", *resume)
    for name in LATER.values():
        model = run(work / f"with-{name}", "add", model, work / f"{name}.yaml", "--own", own)
    dropped = run(work / "dropped", "drop", model, "--task", "sentiment")
    run(work / "onnx", "export", model, "--to", "onnx")
    rows, rest = texts(data, work), list(mh.load(dropped).tasks)
    return {
        "texts": len(rows), "equal after add": equal(base, model, list(first), rows),
        "equal after drop": equal(model, dropped, rest, rows),
        "scores": json.loads((model / "metrics.json").read_text(encoding="utf-8")),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/heads"))
    parser.add_argument("--own", default="auto")
    asked = parser.parse_args()
    result = measure(asked.data, asked.output, asked.steps, asked.own)
    (asked.output / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in result.items() if key != "scores"}))
