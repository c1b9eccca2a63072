"""Heads that come later: CoNLL-2003 and SST-2 in one model, to which WNUT-17, clinc150 and STS-B are added (an hour or two).

    python benchmarks/heads.py DATA [--steps N] [-o FOLDER] [--own auto|head|top:N|lora]

Trains the first two tasks together, adds the other three with `manyheads add`, drops and merges heads, and compares answers to
2,000 texts. DATA is the folder of public data sets that benchmarks/real_data.py reads. Can be interrupted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import yaml

import manyheads as mh
from manyheads.cli import main as manyheads
from real_data import SETS
from sharing import unseen

TEXTS = 2000


def texts(data: Path, work: Path) -> list[str]:
    """Sentences of CoNLL-2003's and SST-2's test data, in turns."""
    model_data = SETS["sst2"](data, work)
    sentiment = [line.rpartition(",")[0].strip('"') for line in Path(model_data["test"]).read_text(encoding="utf-8").splitlines()[1:]]
    words: list[str] = []
    sentences: list[str] = []
    import gzip

    with gzip.open(SETS["conll2003"](data, work)["test"], "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                words.append(line.split()[0])
            elif words:
                sentences.append(" ".join(words))
                words = []
    return list(islice((text for text in (*sentiment, *sentences) if text), TEXTS))


def equal(one: Path, other: Path, names: Sequence[str], rows: Sequence[str]) -> bool:
    """Whether two models give these texts the same answers."""
    answers = [[json.dumps(row, sort_keys=True) for row in mh.load(model).predict(rows, tasks=list(names))] for model in (one, other)]
    return answers[0] == answers[1]


def run(*arguments: object) -> None:
    status = manyheads([str(argument) for argument in arguments])
    if status:
        raise SystemExit(status)


def measure(data: Path, work: Path, steps: int, own: str) -> dict[str, object]:
    work.mkdir(parents=True, exist_ok=True)
    later = unseen(data, work)
    first = {
        "entities": {"type": "token-classification", "data": SETS["conll2003"](data, work)},
        "sentiment": {"type": "text-classification", "data": SETS["sst2"](data, work), "validation_fraction": 0.05},
    }
    base, files = work / "base", {}
    for name, values in (
        ("base", {"tasks": first, "training": {"steps": steps, "tokens_per_step": 2048}}),
        *((f"add-{name}", {"tasks": {new: later[name]}}) for name, new in (("entities", "emerging"), ("intent", "intent"), ("similarity", "similarity"))),
    ):
        files[name] = work / f"{name}.yaml"
        files[name].write_text(yaml.safe_dump({"encoder": {"max_length": 128}, **values} if name == "base" else values, sort_keys=False), encoding="utf-8")
    if not (base / "manyheads.json").exists():
        run("train", files["base"], "-o", base, *(["--resume"] if (base / "checkpoints").exists() else []))
    model = base
    for name in ("similarity", "intent", "entities"):
        following = work / f"with-{name}"
        if not (following / "manyheads.json").exists():
            run("add", model, files[f"add-{name}"], "-o", following, "--own", own)
        model = following
    rows = texts(data, work)
    found: dict[str, object] = {"texts": len(rows), "base tasks equal": equal(base, model, list(first), rows)}
    dropped = work / "dropped"
    if not dropped.exists():
        run("drop", model, "--task", "sentiment", "-o", dropped)
    found["equal after drop"] = equal(model, dropped, [name for name in mh.load(dropped).tasks if name not in ("",)], rows)
    onnx = work / "onnx"
    if not onnx.exists():
        run("export", model, "--to", "onnx", "-o", onnx)
    found["scores"] = json.loads((model / "metrics.json").read_text(encoding="utf-8"))
    return found


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
