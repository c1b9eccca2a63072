"""The peers' runs: the same encoder and entities, trained by transformers' Trainer, or by a loop with accelerate.

    python -m durability.peer_runs trainer|accelerate ENCODER DATA OUTPUT STEPS SAVE_EVERY

Both resume by themselves from the newest checkpoint in OUTPUT, if there is one, as their documentation has it, and
leave losses.json ({step: loss}) and model.safetensors. Everything else has their defaults, but for seeds and
determinism, which are set as their documentation asks for: Trainer `full_determinism`; accelerate `set_seed` and a
seedable sampler.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

BATCH, RATE, SEED = 16, 1e-3, 3
LOSSES = "losses.json"


def entity_examples(data: Path, tokenizer: Any) -> tuple[list[dict[str, list[int]]], list[str]]:
    """Token ids with BIO labels, which special tokens have not (-100), and the names of the labels."""
    rows = [json.loads(line) for line in (data / "entities-train.jsonl").read_text(encoding="utf-8").splitlines()]
    kinds = sorted({span["label"] for row in rows for span in row["entities"]})
    labels = ["O", *(f"{mark}-{kind}" for kind in kinds for mark in "BI")]
    return [_example(row, labels, tokenizer) for row in rows], labels


def _example(row: dict[str, Any], labels: list[str], tokenizer: Any) -> dict[str, list[int]]:
    encoded = tokenizer(row["text"], truncation=True, max_length=128, return_offsets_mapping=True)
    tags = []
    for start, stop in encoded["offset_mapping"]:
        inside = next((span for span in row["entities"] if span["start"] <= start < span["end"]), None)
        if start == stop:
            tags.append(-100)
        else:
            tags.append(labels.index(f"{'B' if start == inside['start'] else 'I'}-{inside['label']}") if inside else 0)
    return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"], "labels": tags}


def by_trainer(encoder: str, data: Path, output: Path, steps: int, save_every: int) -> None:
    """transformers' Trainer, used as its example scripts use it."""
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        Trainer,
        TrainingArguments,
    )
    from transformers.trainer_utils import get_last_checkpoint, set_seed

    set_seed(SEED)
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    examples, labels = entity_examples(data, tokenizer)
    arguments = TrainingArguments(
        output_dir=str(output), max_steps=steps, save_steps=save_every, per_device_train_batch_size=BATCH, learning_rate=RATE,
        seed=SEED, full_determinism=True, logging_steps=1, report_to="none", use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(
        model=AutoModelForTokenClassification.from_pretrained(encoder, num_labels=len(labels)), args=arguments,
        train_dataset=examples, data_collator=DataCollatorForTokenClassification(tokenizer),
    )  # fmt: skip
    last = get_last_checkpoint(str(output)) if output.is_dir() else None
    print(f"resumes from {last}", file=sys.stderr, flush=True)
    trainer.train(resume_from_checkpoint=last)
    trainer.save_model(str(output))
    losses = {row["step"]: [row["loss"], row["grad_norm"]] for row in trainer.state.log_history if "loss" in row}
    (output / LOSSES).write_text(json.dumps(losses), encoding="utf-8")


def by_accelerate(encoder: str, data: Path, output: Path, steps: int, save_every: int) -> None:
    """A loop of one's own with `save_state`, `load_state` and `skip_first_batches`."""
    import torch
    from accelerate import Accelerator  # type: ignore[import-untyped]
    from accelerate.utils import DataLoaderConfiguration, set_seed  # type: ignore[import-untyped]
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        get_linear_schedule_with_warmup,
    )

    set_seed(SEED)
    accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True))
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    examples, labels = entity_examples(data, tokenizer)
    plain = AutoModelForTokenClassification.from_pretrained(encoder, num_labels=len(labels))
    adam = torch.optim.AdamW(plain.parameters(), lr=RATE)
    collator: Any = DataCollatorForTokenClassification(tokenizer)
    loader: Any = torch.utils.data.DataLoader(examples, batch_size=BATCH, shuffle=True, collate_fn=collator)  # type: ignore[arg-type]
    model, optimizer, batches, schedule = accelerator.prepare(
        plain, adam, loader, get_linear_schedule_with_warmup(adam, 0, steps)
    )
    done = _newest_step(output)
    print(f"resumes from step {done}", file=sys.stderr, flush=True)
    if done:
        accelerator.load_state(str(output / f"step_{done}"))
    output.mkdir(parents=True, exist_ok=True)
    model.train()
    first = done // len(batches)
    for epoch in range(first, -(-steps // len(batches))):
        batches.set_epoch(epoch)
        skipped = done % len(batches) if epoch == first else 0
        for batch in accelerator.skip_first_batches(batches, skipped) if skipped else batches:
            loss = model(**batch).loss
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            done += 1
            with (output / "losses.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps([done, loss.item()]) + "\n")
            if done == steps:
                break
            if done % save_every == 0:
                accelerator.save_state(str(output / f"step_{done}"))
    accelerator.save_model(model, str(output))
    lines = (output / "losses.jsonl").read_text(encoding="utf-8").split("\n")
    losses = dict(json.loads(line) for line in lines if line.endswith("]"))
    (output / LOSSES).write_text(json.dumps(losses), encoding="utf-8")


def _newest_step(output: Path) -> int:
    names = [re.fullmatch(r"step_(\d+)", path.name) for path in (output.iterdir() if output.is_dir() else ())]
    return max((int(name[1]) for name in names if name), default=0)


RUNS = {"trainer": by_trainer, "accelerate": by_accelerate}


def main() -> int:
    """One run, from its newest checkpoint or from the beginning."""
    kind, encoder, data, output, steps, save_every = sys.argv[1:]
    RUNS[kind](encoder, Path(data), Path(output), int(steps), int(save_every))
    return 0


if __name__ == "__main__":
    sys.exit(main())
