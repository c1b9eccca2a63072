"""Answering speed on a GPU: all four heads of one model on mixed rows, by precision and size of a pass; and one row alone.

    python benchmarks/gpu_answering.py [--rows 4000] [--rounds 3] [--work runs/gpu] [--results FILE] [--tiny]

BERT-base size with random weights, on the passages of the bundled corpus; a third of the rows also ask a question. Rows in,
answers out: tokenizing and decoding included, so on a fast GPU the CPU's share shows. Medians of rounds. `--tiny` runs the
same on any machine, to see that it runs.
"""

import argparse
import statistics
import sys
import time
from itertools import cycle, islice
from typing import Any

import torch

from gpu_mix import device_name, model_folder, parsed, passages, report
from manyheads.inference import load_model
from manyheads.text.pack import Source

QUESTION = "What was measured?"


def rows_of(count: int) -> list[dict[str, str]]:
    texts = islice(cycle(passages()), count)
    return [{"text": text, **({"question": QUESTION} if i % 3 == 0 else {})} for i, text in enumerate(texts)]


def seconds(model: Any, rows: list[dict[str, str]]) -> float:
    started = time.perf_counter()
    for _ in model.predictor.predict(rows, list(model.tasks)):
        pass
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    options, device = parsed(parser)
    rows, rounds = rows_of(20 if options.tiny else options.rows), 1 if options.tiny else options.rounds
    folder = model_folder(options.work, tiny=options.tiny)
    found: dict[str, Any] = {}
    tokens = 0
    for precision in ("float32",) if options.tiny else ("bf16", "float32"):
        for budget in (None,) if options.tiny else (4096, None, 65_536):
            model = load_model(folder, device=str(device), batch_tokens=budget, precision=precision)
            sources = [Source(row["text"]) for row in rows] + [Source(QUESTION, row["text"]) for row in rows[::3]]
            tokens = sum(map(sum, model.bundle.tokenizer.lengths(sources, model.predictor.max_length)))
            seconds(model, rows[: max(20, len(rows) // 4)])
            taken = [seconds(model, rows) for _ in range(rounds)]
            alone = [seconds(model, rows[:1]) for _ in range(3 if options.tiny else 50)]
            found[f"{precision}, {model.predictor.batch_tokens:,} tokens"] = {
                "tokens_per_second": tokens / statistics.median(taken),
                "rows_per_second": len(rows) / statistics.median(taken),
                "spread_s": [min(taken), max(taken)],
                "one_row_ms": 1000 * statistics.median(alone),
            }
    result = {"device": device_name(device), "tiny": options.tiny, "torch": torch.__version__, "rows": len(rows),
              "tokens": tokens, "ours": found}  # fmt: skip
    report(result, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
