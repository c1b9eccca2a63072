"""`nlp.pipe` with the spaCy component against `Model.predict`, on the demo's model with four heads.

    python benchmarks/spacy_pipe.py MODEL [--rounds 7] [--docs 1000] [--results docs/results/spacy.json]

Texts are sentences of the bundled corpus: short ones, where what surrounds the encoder weighs most. Each round runs both, one
after the other, in an order that alternates. `tokenizer alone` is `spacy.blank("en")` without a component. Seconds are of the
processor, summed over threads, and of the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import spacy
import torch

import manyheads as mh
from manyheads.process import set_up

CORPUS = Path(mh.__file__).parent / "demo" / "corpus"


def sentences(count: int) -> list[str]:
    """Texts of the corpus of entities, each once."""
    files = (CORPUS / f"entities-{split}.jsonl" for split in ("train", "validation", "test"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return list(dict.fromkeys(json.loads(line)["text"] for line in lines))[:count]


def timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of the processor and of the clock."""
    processor, clock = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - processor, time.perf_counter() - clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--docs", type=int, default=1000)
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    set_up()
    torch.set_num_threads(1)
    texts, model = sentences(given.docs), mh.load(given.model)
    tokenizer, nlp = spacy.blank("en"), spacy.blank("en")
    nlp.add_pipe("manyheads", config={"model": str(given.model)})
    calls: dict[str, Callable[[], Any]] = {
        "predict": lambda: model.predict(texts),
        "nlp.pipe": lambda: list(nlp.pipe(texts)),
        "tokenizer alone": lambda: list(tokenizer.pipe(texts)),
    }
    for doc, row in zip(nlp.pipe(texts), model.predict(texts), strict=True):  # warms up, and checks
        assert doc._.manyheads == row
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for number in range(given.rounds):
        for name in list(calls)[:: 1 if number % 2 else -1]:
            seconds[name].append(timed(calls[name]))
    processor = {name: statistics.median(one for one, _ in found) for name, found in seconds.items()}
    clock = {name: statistics.median(one for _, one in found) for name, found in seconds.items()}
    ratios = [ours[0] / theirs[0] for ours, theirs in zip(seconds["nlp.pipe"], seconds["predict"], strict=True)]
    result = {
        "docs": len(texts), "characters": sum(map(len, texts)), "rounds": given.rounds, "threads": 1, "cores": os.cpu_count(),
        "spacy": spacy.__version__, "torch": torch.__version__, "tasks": list(model.tasks), "batch_size": nlp.batch_size,
        "median_processor_s": {name: round(value, 3) for name, value in processor.items()},
        "median_clock_s": {name: round(value, 3) for name, value in clock.items()},
        "pipe_over_predict": round(processor["nlp.pipe"] / processor["predict"], 3),
        "pipe_over_predict_of_rounds": [round(min(ratios), 3), round(max(ratios), 3)],
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    if given.results:
        given.results.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
