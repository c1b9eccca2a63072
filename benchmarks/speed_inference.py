"""Inference speed: four heads in one pass against four models, in one interleaved run.

    python benchmarks/speed_inference.py [--texts 260] [--rounds 5] [--work runs/speed] [--results FILE]

Peers, all on the same encoder and float32:
- pipelines: three transformers pipelines (NER, two classifications) and sentence-transformers encode, each at the best
  of batch sizes 1, 8 and 32, found in a first round;
- by hand: the same four models on texts tokenised once, sorted by length, in padded batches, at the best of 1, 4, 8, 16
  and 32.
Also: one head more, embeddings alone against sentence-transformers, the share of the matrix-product peak, peak memory.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertForSequenceClassification,
    BertForTokenClassification,
    logging,
    pipeline,
)

import manyheads as mh
from manyheads.nn.resolve_encoder import resolve_encoder
from manyheads.process import keep_freed_memory
from mixed_texts import ENCODER, four_heads, texts

logging.set_verbosity_error()


def peers(folder: str, labels: int, tags: int) -> dict[str, Any]:
    """Four models with the weights of the bundled encoder."""
    made: dict[str, Any] = {
        "entities": BertForTokenClassification.from_pretrained(folder, num_labels=tags, dtype=torch.float32),
        "section": BertForSequenceClassification.from_pretrained(folder, num_labels=labels, dtype=torch.float32),
        "section1": BertForSequenceClassification.from_pretrained(folder, num_labels=labels, dtype=torch.float32),
        "similarity": AutoModel.from_pretrained(folder, dtype=torch.float32),
    }
    # An untrained tagger finds an entity at every word; a trained one does not, and grouping them takes time.
    with torch.no_grad():
        made["entities"].classifier.bias[0] += 5.0
    return {name: model.eval() for name, model in made.items()}


def timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def best(calls: dict[Any, Callable[[], Any]]) -> tuple[Any, Callable[[], Any]]:
    """The fastest of some calls, each timed once after a warm-up of the first."""
    next(iter(calls.values()))()
    seconds = {key: timed(call) for key, call in calls.items()}
    chosen = min(seconds, key=lambda key: seconds[key])
    return chosen, calls[chosen]


def by_hand(models: dict[str, Any], tokenizer: Any, given: list[str], size: int) -> None:
    """Tokenised once, sorted by length, padded batches, four models; as little else as can be."""
    ids = tokenizer(given, truncation=True, max_length=256)["input_ids"]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    with torch.inference_mode():
        for start in range(0, len(order), size):
            rows = [ids[i] for i in order[start : start + size]]
            longest = max(map(len, rows))
            input_ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
            mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
            for name, model in models.items():
                output = model(input_ids=input_ids, attention_mask=mask)
                if name == "similarity":
                    hidden = output.last_hidden_state * mask[..., None]
                    torch.nn.functional.normalize(hidden.sum(1) / mask.sum(1, keepdim=True), dim=-1).numpy()
                else:
                    output.logits.softmax(-1).max(-1).values.numpy()


def peak_flops(width: int = 384, inner: int = 1536, tokens: int = 2048) -> float:
    """Multiply-adds a second (times two) of a matrix product at the model's shapes."""
    a, b = torch.randn(tokens, width), torch.randn(width, inner)
    out = torch.empty(tokens, inner)
    times = [timed(lambda: torch.mm(a, b, out=out)) for _ in range(30)]
    return 2 * tokens * width * inner / statistics.median(times[5:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=260)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("runs/speed"))
    parser.add_argument("--results", type=Path, default=None)
    options = parser.parse_args()
    keep_freed_memory()  # as the command does; what is measured beside it has it too
    given = texts(options.texts)
    model, more = mh.load(four_heads(options.work)), mh.load(four_heads(options.work, 3))
    folder = resolve_encoder(ENCODER).path_or_id
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lengths = sorted(min(256, len(row)) for row in tokenizer(given)["input_ids"])
    tokens = sum(lengths)
    models = peers(folder, len(model.tasks["section"].labels), 2 * len(model.tasks["entities"].labels) + 1)
    kinds = {"entities": "token-classification", "section": "text-classification", "section1": "text-classification"}
    pipes = {
        name: pipeline(kind, model=models[name], tokenizer=tokenizer, device="cpu",
                       **({"aggregation_strategy": "simple"} if name == "entities" else {}))
        for name, kind in kinds.items()
    }  # fmt: skip
    encoder = SentenceTransformer(folder, device="cpu")
    print(f"{len(given)} texts, {tokens:,} tokens, lengths {lengths[0]} to {lengths[-1]}")

    chosen: dict[str, Any] = {}
    best_pipes = {}
    for name, pipe in pipes.items():
        cut = {"truncation": True, "max_length": 256} if name != "entities" else {}
        calls = {
            size: (lambda pipe=pipe, size=size, cut=cut: list(pipe(given, batch_size=size, **cut)))
            for size in (1, 8, 32)
        }
        chosen[f"pipeline {name}"], best_pipes[name] = best(calls)
    chosen["encode"], encode = best(
        {size: (lambda size=size: encoder.encode(given, batch_size=size)) for size in (1, 8, 32)}
    )
    chosen["by hand"], hand = best(
        {size: (lambda size=size: by_hand(models, tokenizer, given, size)) for size in (1, 4, 8, 16, 32)}
    )
    names = list(model.tasks)
    calls: dict[str, Callable[[], Any]] = {
        "ours, four heads": lambda: model.predict(given, names),
        "ours, five heads": lambda: more.predict(given),
        "ours, embeddings": lambda: model.embed(given),
        "three pipelines + encode": lambda: [call() for call in (*best_pipes.values(), encode)],
        "four models by hand": hand,
        "sentence-transformers encode": encode,
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    peaks = []
    for call in calls.values():
        call()  # warm-up
    for i in range(options.rounds):
        for name in list(calls) if i % 2 else list(calls)[::-1]:
            seconds[name].append(timed(calls[name]))
        peaks.append(peak_flops())

    def ratio(slow: str, fast: str) -> float:
        return statistics.median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))

    weights = sum(
        p.numel() for layer in model.bundle.model.encoder.layer_modules() for p in layer.parameters() if p.ndim == 2
    )
    flops = 2 * weights * tokens + sum(4 * length * length * model.bundle.model.encoder.width for length in lengths) * 6
    shares = [flops / s / peak for s, peak in zip(seconds["ours, embeddings"], peaks, strict=True)]
    result = {
        "texts": len(given), "tokens": tokens, "threads": torch.get_num_threads(), "best_batch_sizes": chosen,
        "median_s": {name: round(statistics.median(values), 3) for name, values in seconds.items()},
        "spread_s": {name: [round(min(values), 3), round(max(values), 3)] for name, values in seconds.items()},
        "pipelines_over_ours": round(ratio("three pipelines + encode", "ours, four heads"), 2),
        "by_hand_over_ours": round(ratio("four models by hand", "ours, four heads"), 2),
        "one_more_head": round(ratio("ours, five heads", "ours, four heads"), 3),
        "encode_over_ours": round(ratio("sentence-transformers encode", "ours, embeddings"), 2),
        "tokens_per_second": round(tokens / statistics.median(seconds["ours, four heads"])),
        "peak_gflops": round(statistics.median(peaks) / 1e9, 1),
        "share_of_peak_embeddings": round(statistics.median(shares), 3),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    if options.results:
        options.results.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
