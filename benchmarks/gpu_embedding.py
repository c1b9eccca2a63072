"""Embedding speed on a GPU: our packs in bf16 against sentence-transformers encode in bf16, on one random model.

    python benchmarks/gpu_embedding.py [--texts 20000] [--rounds 3] [--work runs/gpu] [--results FILE] [--tiny]

BERT-base size, texts of mixed length (5 to 250 tokens). sentence-transformers runs with flash attention where its package
is installed, and with sdpa; each at the best of several batch sizes, ours at the best of several budgets of tokens.
Texts in, vectors out, tokenising included on both sides. Interleaved rounds, medians. `--tiny` runs on any machine.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sentence_transformers
import torch
from sentence_transformers import SentenceTransformer

from gpu_mix import MAX_LENGTH, device_name, encoder_folder, parsed, report
from manyheads.model import MultiTaskModel
from manyheads.nn.pretrained import load_encoder
from manyheads.predict import Predictor, TorchBackend
from manyheads.tasks import TASK_TYPES
from manyheads.text.pack import Source
from manyheads.text.tokenizer import Tokenizer
from mixed_texts import texts

NAME = "vectors"


def timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def ours(folder: Path, device: torch.device, budget: int) -> Callable[[list[str]], np.ndarray]:
    task: Any = TASK_TYPES["sentence-embedding"](name=NAME)
    model = MultiTaskModel(load_encoder(str(folder)), {NAME: task})
    backend = TorchBackend(model, device)
    predictor = Predictor(backend, {NAME: task}, Tokenizer.load(folder), max_length=MAX_LENGTH, batch_tokens=budget)

    def embed(given: list[str]) -> np.ndarray:
        return np.stack(
            [found.answers[NAME] for found in predictor.answer([{NAME: task.source_of_row({"text": one})} for one in given])]
        )

    return embed


def peers(folder: Path, device: torch.device) -> tuple[dict[str, SentenceTransformer], dict[str, str]]:
    """sentence-transformers in bf16 with each attention that runs here; why another does not."""
    made, missing = {}, {}
    for attention in ("flash_attention_2", "sdpa"):
        try:
            model = SentenceTransformer(
                str(folder),
                device=str(device),
                model_kwargs={"dtype": torch.bfloat16, "attn_implementation": attention},
            )
            model.max_seq_length = MAX_LENGTH
            model.encode(["A first text."])
            made[attention] = model
        except (ImportError, ValueError, RuntimeError) as error:
            missing[attention] = str(error).splitlines()[0][:200]
    return made, missing


def best(calls: dict[int, Callable[[], Any]]) -> int:
    """The fastest, each called twice; what does not fit into memory is left out."""
    seconds = {}
    for size, call in calls.items():
        try:
            call()
            seconds[size] = timed(call)
        except torch.OutOfMemoryError:
            continue
    return min(seconds, key=lambda size: seconds[size])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options, device = parsed(parser)
    count, rounds = (20, 1) if options.tiny else (options.texts, options.rounds)
    budgets, sizes = ((1024,), (4,)) if options.tiny else ((16_384, 65_536), (32, 128, 512))
    folder = encoder_folder(options.work, tiny=options.tiny)
    given = texts(count)
    few = given[: max(20, count // 5)]
    counted = [sum(windows) for windows in Tokenizer.load(folder).lengths([Source(text) for text in given], MAX_LENGTH)]
    makers = {budget: ours(folder, device, budget) for budget in budgets}
    budget = best({size: (lambda embed=embed: embed(few)) for size, embed in makers.items()})
    calls: dict[str, Callable[[], np.ndarray]] = {"ours": lambda: makers[budget](given)}
    models, missing = peers(folder, device)
    chosen: dict[str, int] = {"ours": budget}
    for attention, model in models.items():
        name = f"encode, {attention}"
        tries = {size: (lambda model=model, size=size: model.encode(few, batch_size=size)) for size in sizes}
        chosen[name] = best(tries)
        calls[name] = lambda model=model, size=chosen[name]: model.encode(given, batch_size=size)
    vectors = {name: call().astype(np.float32) for name, call in calls.items()}
    unit = {name: rows / np.linalg.norm(rows, axis=1, keepdims=True) for name, rows in vectors.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(rounds):
        for name in list(calls) if i % 2 else list(calls)[::-1]:
            seconds[name].append(timed(calls[name]))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "device": device_name(device), "tiny": options.tiny,
        "torch": torch.__version__, "sentence_transformers": sentence_transformers.__version__,
        "texts": count, "tokens": sum(counted), "chosen": chosen, "did_not_run": missing,
        "tokens_per_second": {name: sum(counted) / value for name, value in medians.items()},
        "spread_s": {name: [min(values), max(values)] for name, values in seconds.items()},
        "ours_over": {name: value / medians["ours"] for name, value in medians.items() if name != "ours"},
        "least_cosine_to_ours": {name: float((unit[name] * unit["ours"]).sum(1).min()) for name in unit if name != "ours"},
    }  # fmt: skip
    report(result, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
