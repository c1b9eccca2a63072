"""Texts of mixed length from the bundled corpus, and a model of four heads on them; shared by the speed benchmarks."""

import json
import math
import random
from importlib.resources import files
from pathlib import Path

import yaml

import manyheads as mh
from manyheads.bundle import is_finished

CORPUS = Path(str(files("manyheads") / "demo" / "corpus"))
ENCODER = "all-MiniLM-L6-v2"


def texts(count: int, seed: int = 0, shortest: int = 5, longest: int = 250) -> list[str]:
    """Runs of words of the corpus's abstracts: lengths in tokens are about log-uniform from `shortest` to `longest`."""
    passages = [
        paragraph["context"]
        for article in json.loads((CORPUS / "questions-train.json").read_text(encoding="utf-8"))["data"]
        for paragraph in article["paragraphs"]
    ]
    words = " ".join(dict.fromkeys(passages)).split()
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        # 1.45 word pieces a word in this corpus, two special tokens.
        tokens = math.exp(draw.uniform(math.log(shortest), math.log(longest)))
        length = max(1, round((tokens - 2) / 1.45))
        start = draw.randrange(len(words) - length)
        made.append(" ".join(words[start : start + length]))
    return made


def four_heads(work: Path, classifications: int = 2) -> Path:
    """A model folder: entities, classifications and embeddings; heads trained a little, so that they answer sensibly."""
    folder = work / f"heads-{classifications}"
    if is_finished(folder):
        return folder
    section = {
        "type": "text-classification",
        "data": {"train": str(CORPUS / "sections-train.csv")},
        "validation_fraction": 0,
    }
    run = {
        "encoder": {"name": ENCODER, "max_length": 256},
        "tasks": {
            "entities": {"type": "token-classification", "validation_fraction": 0,
                         "data": {"train": str(CORPUS / "entities-train.jsonl")}},
            **{f"section{i}" if i else "section": section for i in range(classifications)},
            "similarity": {"type": "sentence-embedding", "data": {"train": str(CORPUS / "pairs-train.csv")},
                           "validation_fraction": 0},
        },
        "training": {"steps": 150, "tokens_per_step": 1024, "freeze": "encoder", "learning_rate": 3e-3, "device": "cpu"},
    }  # fmt: skip
    work.mkdir(parents=True, exist_ok=True)
    path = work / f"heads-{classifications}.yaml"
    path.write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
    mh.train(path, output=folder)
    return folder
