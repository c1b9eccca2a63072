"""Training speed on a GPU: packs of all tasks in every step, against transformers' Trainer in bf16 with dynamic padding.

    python benchmarks/gpu_training.py [--size base|large] [--tokens 32768] [--steps 20] [--work runs/gpu]
        [--results FILE] [--tiny]

A random encoder of the size of BERT-base or RoBERTa-large on the mix of `gpu_mix.py`. Ours is measured with layers
compiled and not, each with batches made beforehand, as the peer's are, and once with batches made while it trains. The
peer: Trainer in bf16, sdpa attention, fused AdamW, the very same heads and losses; batches of one task each or mixed over
tasks, at the best of several sizes. Real tokens a second; padding does not count. The share of the peak counts the products
that real tokens need. `--tiny` runs the same on any machine, to see that it runs.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.data import DataLoader
from transformers import AutoModel, Trainer, TrainerCallback, TrainingArguments, logging

from gpu_mix import MAX_LENGTH, Mix, device_name, encoder_folder, mix, parsed, report
from manyheads.training.batch import Portion, encode_examples, lay
from manyheads.training.batches import StepBatch
from manyheads.training.losses import Normaliser
from manyheads.training.precision import Precision

logging.set_verbosity_error()


def wait(device: torch.device) -> float:
    """The time when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_flops(device: torch.device, size: int, rounds: int = 20) -> float:
    """Operations a second of a square bf16 matrix product on random numbers, median."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(rounds):
        started = wait(device)
        torch.mm(a, b)
        seconds.append(wait(device) - started)
    return 2 * size**3 / statistics.median(seconds[rounds // 4 :])


class Ready:
    """Batches made beforehand, in place of a batcher."""

    workers = 0

    def __init__(self, steps: list[StepBatch]) -> None:
        self.steps = steps

    def batch(self, step: int) -> StepBatch:
        return self.steps[step]


def real_tokens(packs: StepBatch) -> int:
    return sum(sum(pack.tokens.values()) for pack in packs)


def flops_of(made: Mix, packs: StepBatch) -> float:
    """Operations of a step on its real tokens, forward and backward: products with weights, and attention."""
    encoder = made.trainer.model.encoder
    weights = sum(p.numel() for layer in encoder.layer_modules() for p in layer.parameters() if p.ndim == 2)
    squares = 0
    for pack in packs:
        read = max(stop for _, stop in pack.reads.values())
        squares += sum(length**2 for length in pack.pack.segments.lengths[:read])
    return 3 * (2 * weights * real_tokens(packs) + 4 * squares * encoder.width * encoder.depth)


def ours(made: Mix, steps: int, skip: int, *, beforehand: bool) -> dict[str, Any]:
    trainer = made.trainer
    ready = [trainer.batcher.batch(step) for step in range(skip + steps)]
    batcher = trainer.batcher
    if beforehand:
        trainer.batcher = Ready(ready)  # type: ignore[assignment]
    try:
        started = wait(trainer.device)
        for _ in trainer.run(made.phase, 0, skip):
            pass
        first = wait(trainer.device)
        losses = [sum(record.losses.values()) for record in trainer.run(made.phase, skip, skip + steps)]
        seconds = wait(trainer.device) - first
    finally:
        trainer.batcher = batcher
    timed = ready[skip:]
    return {
        "tokens_per_second": sum(map(real_tokens, timed)) / seconds,
        "flops_per_second": sum(flops_of(made, packs) for packs in timed) / seconds,
        "first_steps_s": first - started,
        "tail_share": 1 - sum(map(real_tokens, timed)) / sum(pack.pack.tokens for packs in timed for pack in packs),
        "last_loss": losses[-1],
    }


class Stock(torch.nn.Module):
    """The stock padded model under the heads and losses of ours."""

    def __init__(self, folder: Path, tasks: dict[str, Any]) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(
            folder, dtype=torch.float32, add_pooling_layer=False, attn_implementation="sdpa"
        )
        self.tasks = tasks
        self.heads = torch.nn.ModuleDict(
            {name: task.build_head(self.encoder.config.hidden_size) for name, task in tasks.items()}
        )

    def forward(
        self, input_ids: Any, attention_mask: Any, token_type_ids: Any, place_T: Any, batch: Any
    ) -> dict[str, Any]:
        if self.encoder.config.type_vocab_size == 1:  # RoBERTa, whatever the tokenizer says
            token_type_ids = torch.zeros_like(token_type_ids)
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)[0]
        hidden_TD = hidden.flatten(0, 1).index_select(0, place_T)
        segments = batch.pack.to(hidden.device).segments
        loss = torch.zeros((), device=hidden.device)
        for name, asked in batch.reads.items():
            output = self.heads[name](segments.cut(hidden_TD, *asked), segments.part(*asked))
            targets = batch.targets[name].to(hidden.device)
            found = self.tasks[name].loss(Precision.full(output), targets)
            loss = loss + Normaliser("log-classes").scaled(name, found)
        return {"loss": loss}


def padded_batches(made: Mix, size: int, count: int, *, mixed: bool) -> list[dict[str, Any]]:
    """Batches of examples padded to their longest sequence; as many tokens of each task, on average, as in our steps."""
    draw = random.Random(0)
    batcher = made.trainer.batcher
    feeds = {feed.task.name: feed for feed in batcher.feeds}
    shares = batcher.sampler.draw(0)
    weights = {name: shares[name] * len(feed.stream) / feed.stream.tokens_per_epoch for name, feed in feeds.items()}
    batches = []
    for _ in range(count):
        drawn = draw.choices(list(weights), list(weights.values()), k=size if mixed else 1)
        names = drawn if mixed else drawn * size
        portions = []
        for name in dict.fromkeys(names):
            feed = feeds[name]
            examples = [feed.example(draw.randrange(len(feed.stream))) for _ in range(names.count(name))]
            asked = encode_examples(feed.task, examples, batcher.tokenizer, max_length=MAX_LENGTH, budget=MAX_LENGTH)
            portions.append(Portion(feed.task, examples, asked))
        batch = lay(portions)
        mask = torch.arange(batch.pack.segments.max_length)[None] < torch.tensor(batch.pack.segments.lengths)[:, None]
        ids, types = (
            torch.zeros(mask.shape, dtype=torch.long).masked_scatter(mask, x)
            for x in (batch.pack.ids_T, batch.pack.type_T)
        )
        batches.append({"input_ids": ids, "attention_mask": mask.long(), "token_type_ids": types,
                        "place_T": mask.flatten().nonzero()[:, 0], "batch": batch})  # fmt: skip
    return batches


class Clock(TrainerCallback):
    """The time of the steps after a few to warm up."""

    def __init__(self, skip: int, device: torch.device) -> None:
        self.skip, self.device, self.seen = skip, device, 0
        self.started = self.ended = 0.0

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seen += 1
        if self.seen == self.skip:
            self.started = wait(self.device)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.ended = wait(self.device)


class Loader:
    def __init__(self, batches: list[dict[str, Any]]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.batches)


class PaddedTrainer(Trainer):
    """Trainer with batches of ours in its own loop."""

    loader: Loader

    def get_train_dataloader(self) -> DataLoader:
        return self.loader  # type: ignore[return-value]


def peer(made: Mix, folder: Path, size: int, steps: int, skip: int, *, mixed: bool) -> float:
    """Real tokens a second of the Trainer; 0 when its memory does not hold the batches."""
    device = made.trainer.device
    batches = padded_batches(made, size, steps + skip, mixed=mixed)
    clock = Clock(skip, device)
    with tempfile.TemporaryDirectory() as work:
        arguments = TrainingArguments(
            work, max_steps=steps + skip, learning_rate=1e-5, max_grad_norm=1.0, report_to=[], save_strategy="no",
            logging_strategy="no", disable_tqdm=True, optim="adamw_torch_fused", bf16=True, use_cpu=device.type == "cpu",
            remove_unused_columns=False,
        )  # fmt: skip
        trainer = PaddedTrainer(
            model=Stock(folder, made.tasks), args=arguments, train_dataset=[0] * (steps + skip), callbacks=[clock]
        )
        trainer.loader = Loader(batches)
        try:
            trainer.train()
        except torch.OutOfMemoryError:
            return 0.0
    return sum(batch["batch"].pack.tokens for batch in batches[skip:]) / (clock.ended - clock.started)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["base", "large"], default="base", help="of the encoder: BERT-base, RoBERTa-large")
    parser.add_argument("--tokens", type=int, default=32_768, help="real tokens a step")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 128, 384], help="batch sizes of the peer")
    options, device = parsed(parser)
    tokens, steps, skip = (1500, 2, 1) if options.tiny else (options.tokens, options.steps, 5)
    sizes = [4] if options.tiny else options.sizes
    folder = encoder_folder(options.work, tiny=options.tiny, size=options.size)
    peaks = [peak_flops(device, 256 if options.tiny else 8192)]
    result: dict[str, Any] = {"ours": {}, "trainer": {}}
    ways = {"packs": False} | ({} if device.type == "cpu" else {"packs, compiled": True})
    for name, compiled in ways.items():
        made = mix(folder, device, tokens, compiled=compiled, precision="bf16")
        result["ours"][name] = ours(made, steps, skip, beforehand=True)
    result["ours"][f"{name}, batches made meanwhile"] = ours(made, steps, skip, beforehand=False)
    peaks.append(peak_flops(device, 256 if options.tiny else 8192))
    for mixed in (False, True):
        speeds = {size: peer(made, folder, size, max(2, steps // 2), skip, mixed=mixed) for size in sizes}
        best = max(speeds, key=lambda size: speeds[size])
        result["trainer"]["mixed over tasks" if mixed else "per task"] = {
            "best_size": best,
            "tokens_per_second": speeds[best],
            "all": speeds,
        }
    peaks.append(peak_flops(device, 256 if options.tiny else 8192))
    peak = statistics.median(peaks)
    fastest = max(one["tokens_per_second"] for one in result["ours"].values())
    result |= {
        "device": device_name(device),
        "torch": torch.__version__, "transformers": transformers.__version__, "tiny": options.tiny,
        "encoder": folder.name,
        "tokens_per_step": tokens, "bf16_peak_tflops": peak / 1e12,
        "share_of_peak": {name: one["flops_per_second"] / peak for name, one in result["ours"].items()},
        "ours_over_trainer": {
            name: fastest / one["tokens_per_second"] for name, one in result["trainer"].items() if one["tokens_per_second"]
        },
        "peak_memory_gb": torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else None,
    }  # fmt: skip
    report(result, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
