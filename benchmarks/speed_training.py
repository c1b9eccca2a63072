"""Training speed on a real mix: packs of all tasks in every step, against transformers' Trainer on padded batches.

    python benchmarks/speed_training.py DATA [--work runs/speed] [--steps 12] [--rounds 3] [--results FILE]

CoNLL-2003, SST-2, SQuAD and STS-B on the bundled encoder, float32. The peer is transformers' Trainer (dynamic padding, its
own loop, fused AdamW, clipping at 1.0) around the stock model with sdpa attention; its hidden states go to the very same
heads and losses as ours, so only padding and loops differ. Its batches: of one task each, of one task with similar lengths
(group_by_length), or mixed over tasks; sizes 16 and 32 are tried, the best counts. They are made beforehand; ours are made
while it trains. Real tokens a second; padding does not count.
"""

import argparse
import json
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.utils.data import DataLoader
from transformers import AutoModel, Trainer, TrainerCallback, TrainingArguments, logging
from transformers.trainer_utils import set_seed

from manyheads.config.build import build_plan
from manyheads.config.files import load_run
from manyheads.nn.resolve_encoder import resolve_encoder
from manyheads.process import keep_freed_memory
from manyheads.text.pack import Pack, Segments
from manyheads.training.batch import Portion, encode_examples, lay
from manyheads.training.losses import Normaliser
from speed_inference import peak_flops
from strategies import data_of, run_file

logging.set_verbosity_error()
TOKENS_PER_STEP = 2048


class Stock(torch.nn.Module):
    """The stock padded model under the heads and losses of ours."""

    def __init__(self, plan: Any) -> None:
        super().__init__()
        folder = resolve_encoder("all-MiniLM-L6-v2").path_or_id
        self.encoder = AutoModel.from_pretrained(
            folder, dtype=torch.float32, add_pooling_layer=False, attn_implementation="sdpa"
        )
        self.heads = torch.nn.ModuleDict({name: task.build_head(384) for name, task in plan.tasks.items()})
        self.tasks = plan.tasks

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any, batch: Any) -> dict[str, torch.Tensor]:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)[0]
        hidden_TD = hidden[attention_mask.bool()]
        segments: Segments = batch.pack.segments
        loss = torch.zeros(())
        for name, asked in batch.reads.items():
            output = self.heads[name](segments.cut(hidden_TD, *asked), segments.part(*asked))
            found = self.tasks[name].loss(output, batch.targets[name])
            loss = loss + Normaliser("log-classes").scaled(name, found)
        return {"loss": loss}


class Batches:
    """A data loader: batches of examples, padded to the longest sequence."""

    def __init__(self, plan: Any, size: int, how: str, count: int) -> None:
        self.plan, self.size, self.how, self.count = plan, size, how, count
        self.tokens = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        draw = random.Random(0)
        feeds = {feed.task.name: feed for feed in self.plan.trainer.batcher.feeds}
        shares = self.plan.trainer.batcher.sampler.draw(0)
        lengths = {name: feed.stream.tokens_per_epoch / len(feed.stream) for name, feed in feeds.items()}
        # As many tokens of each task as in our steps.
        weights = {name: shares[name] / lengths[name] for name in feeds}
        for _ in range(self.count):
            if self.how == "mixed":
                names = draw.choices(list(weights), list(weights.values()), k=self.size)
            else:
                names = [draw.choices(list(weights), list(weights.values()))[0]] * self.size
            portions = []
            for name in dict.fromkeys(names):
                feed, wanted = feeds[name], names.count(name)
                # group_by_length sorts within 50 batches; a stretch of as many, sorted, gives such a batch.
                pool = [draw.randrange(len(feed.stream)) for _ in range(wanted * (50 if self.how == "grouped" else 1))]
                examples = [feed.example(i) for i in pool]
                asked = encode_examples(
                    feed.task, examples, self.plan.tokenizer, max_length=256, budget=TOKENS_PER_STEP
                )
                rows = list(zip(examples, asked, strict=True))
                if self.how == "grouped":
                    rows.sort(key=lambda row: sum(len(w) for source in row[1] for w in source))
                    start = draw.randrange(len(rows) - wanted + 1)
                    rows = rows[start : start + wanted]
                portions.append(Portion(feed.task, [row[0] for row in rows], [row[1] for row in rows]))
            yield self._padded(lay(portions))

    def _padded(self, batch: Any) -> dict[str, Any]:
        pack: Pack = batch.pack
        lengths = pack.segments.lengths
        mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
        full = [torch.zeros(mask.shape, dtype=torch.long).masked_scatter(mask, x) for x in (pack.ids_T, pack.type_T)]
        self.tokens += pack.tokens
        return {"input_ids": full[0], "attention_mask": mask.long(), "token_type_ids": full[1], "batch": batch}


class Clock(TrainerCallback):
    """Times the steps after a few to warm up."""

    def __init__(self, batches: Batches, skip: int) -> None:
        self.batches, self.skip, self.seen = batches, skip, 0
        self.started, self.ended, self.before = 0.0, 0.0, 0

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seen += 1
        if self.seen == self.skip:
            self.started, self.before = time.perf_counter(), self.batches.tokens
        self.ended = time.perf_counter()


class PaddedTrainer(Trainer):
    """Trainer with our batches in its own loop."""

    batches: Batches

    def get_train_dataloader(self) -> DataLoader:
        return self.batches  # type: ignore[return-value]


def peer(plan: Any, size: int, how: str, steps: int, skip: int = 2) -> float:
    """Real tokens a second of the Trainer."""
    set_seed(0)
    # Batches are made beforehand: tokenising is not what is compared, and ours hides it in a thread.
    batches = Batches(plan, size, how, steps + skip)
    made = list(batches)
    sizes = [item["batch"].pack.tokens for item in made]
    batches.tokens = 0

    class Ready(Batches):
        def __iter__(self) -> Iterator[dict[str, Any]]:
            yield from made

    ready = Ready(plan, size, how, steps + skip)
    clock = Clock(ready, skip)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, max_steps=steps + skip, learning_rate=1e-4, max_grad_norm=1.0, report_to=[], save_strategy="no",
            logging_strategy="no", disable_tqdm=True, optim="adamw_torch_fused", use_cpu=True, remove_unused_columns=False,
        )  # fmt: skip
        trainer = PaddedTrainer(
            model=Stock(plan), args=arguments, train_dataset=[0] * (steps + skip), callbacks=[clock]
        )
        trainer.batches = ready
        trainer.train()
    return sum(sizes[skip:]) / (clock.ended - clock.started)


def ours(plan: Any, steps: int, skip: int = 2) -> float:
    """Real tokens a second of our loop, tokenising included."""
    started, tokens = 0.0, 0
    for i, record in enumerate(plan.trainer.run(plan.phases[0], 0, steps + skip)):
        if i + 1 == skip:
            started, tokens = time.perf_counter(), 0
        tokens += sum(record.tokens.values()) if i + 1 > skip else 0
    return tokens / (time.perf_counter() - started)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/speed"))
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=None)
    options = parser.parse_args()
    keep_freed_memory()  # as the command does; what is measured beside it has it too
    options.work.mkdir(parents=True, exist_ok=True)
    run = run_file(data_of(options.data, options.work / "data"), {}, 10_000)
    run["training"]["tokens_per_step"] = TOKENS_PER_STEP
    path = options.work / "training.yaml"
    path.write_text(yaml.safe_dump(run), encoding="utf-8")
    plan = build_plan(load_run(path), options.work / "never-written")
    ways = {"per task": "one", "per task, group_by_length": "grouped", "mixed over tasks": "mixed"}
    best = {}
    for name, how in ways.items():
        speeds = {size: peer(plan, size, how, max(4, options.steps // 2)) for size in (16, 32)}
        best[name] = max(speeds, key=lambda size: speeds[size])
    speeds_of: dict[str, list[float]] = {"ours": [], **{name: [] for name in ways}}
    peaks = []
    for _ in range(options.rounds):
        speeds_of["ours"].append(ours(plan, options.steps))
        for name, how in ways.items():
            speeds_of[name].append(peer(plan, best[name], how, options.steps))
        peaks.append(peak_flops(tokens=TOKENS_PER_STEP))
    layers = plan.model.encoder.layer_modules()
    weights = sum(p.numel() for layer in layers for p in layer.parameters() if p.ndim == 2)
    shares = [6 * weights * speed / peak for speed, peak in zip(speeds_of["ours"], peaks, strict=True)]
    result = {
        "tokens_per_step": TOKENS_PER_STEP, "threads": torch.get_num_threads(), "best_batch_sizes": best,
        "tokens_per_second": {name: round(statistics.median(values)) for name, values in speeds_of.items()},
        "ours_over": {
            name: round(statistics.median(a / b for a, b in zip(speeds_of["ours"], speeds_of[name], strict=True)), 2)
            for name in ways
        },
        "peak_gflops": round(statistics.median(peaks) / 1e9, 1),
        "share_of_peak": round(statistics.median(shares), 3),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    if options.results:
        options.results.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
