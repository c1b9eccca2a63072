"""transformers' Trainer on the bundled encoder: at its defaults, and at the best of four settings.

`default`: 3 epochs at 5e-5, batch 8, as a first script has it, on all rows. `best`: rate 5e-5 or 1e-4, 5 or 15 epochs, batch
16; chosen by the set's headline on a random fifth of the rows (for texts with several labels with a threshold), then trained
again on all rows, the stronger of the two ways to use what was set aside. `texts.py`, `words.py` and `spans.py` say how rows
of a kind are encoded and answered, each as transformers' own example does.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from cells.frozen import THRESHOLDS
from cells.methods import Found, Job
from cells.scores import Answer, headline
from cells.sets import Row

RATES, EPOCHS = (5e-5, 1e-4), (5, 15)
MODULES = {"labels": "texts", "label sets": "texts", "entities": "words", "answers": "spans"}


class Encoded(Protocol):
    """Rows of one kind: what the Trainer trains on, and how a trained model answers."""

    model: Any
    rows: list[dict[str, Any]]
    collate: Any

    def outputs(self, rows: Sequence[Row]) -> Any: ...

    def decided(self, outputs: Any, threshold: float) -> list[Answer]: ...


def default(job: Job) -> Found:
    fitted = fit(job, job.train, rate=5e-5, epochs=3, batch=8)
    return Found(fitted.decided(fitted.outputs(job.test), 0.5))


def best(job: Job) -> Found:
    train, validation = split(job.train, job.seed)
    tried: dict[str, float] = {}
    chosen: tuple[float, float, int, float] = (-1.0, 0.0, 0, 0.5)
    for rate in RATES:
        for epochs in EPOCHS:
            fitted = fit(job, train, rate=rate, epochs=epochs, batch=16)
            outputs = fitted.outputs(validation)
            scores = {
                threshold: headline(job.data, validation, fitted.decided(outputs, threshold))
                for threshold in (THRESHOLDS if job.data.kind == "label sets" else (0.5,))
            }
            threshold = max(scores, key=lambda each: scores[each])
            tried[f"{rate:g} x {epochs}"] = round(scores[threshold], 4)
            if scores[threshold] > chosen[0]:
                chosen = (scores[threshold], rate, epochs, threshold)
    _, rate, epochs, threshold = chosen
    fitted = fit(job, job.train, rate=rate, epochs=epochs, batch=16)
    facts: dict[str, Any] = {"rate": rate, "epochs": epochs, "validation": tried}
    if job.data.kind == "label sets":
        facts["threshold"] = threshold
    return Found(fitted.decided(fitted.outputs(job.test), threshold), facts)


def split(rows: list[Row], seed: int) -> tuple[list[Row], list[Row]]:
    """Four fifths and a fifth, at random."""
    order = list(range(len(rows)))
    random.Random(f"validation/{seed}").shuffle(order)
    aside = set(order[: len(rows) // 5])
    return [row for n, row in enumerate(rows) if n not in aside], [row for n, row in enumerate(rows) if n in aside]


def fit(job: Job, rows: list[Row], *, rate: float, epochs: int, batch: int) -> Encoded:
    """A model trained on these rows. What is not said here is the Trainer's default."""
    import transformers
    from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    set_seed(job.seed)
    encoded: Encoded = import_module(f"cells.{MODULES[job.data.kind]}").encoded(job, rows)
    arguments = TrainingArguments(
        output_dir=str(Path(job.work) / "trainer"), learning_rate=rate, num_train_epochs=epochs, seed=job.seed,
        per_device_train_batch_size=batch, use_cpu=job.device == "cpu", save_strategy="no", logging_strategy="no",
        report_to=[],
        disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Trainer(
        model=encoded.model, args=arguments, train_dataset=encoded.rows, data_collator=encoded.collate
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    encoded.model.eval()
    return encoded


def batches(rows: Sequence[dict[str, Any]], size: int = 32) -> list[list[int]]:
    """Numbers of encoded rows in batches of like length: answers do not depend on it, time does."""
    order = sorted(range(len(rows)), key=lambda number: len(rows[number]["input_ids"]))
    return [order[start : start + size] for start in range(0, len(order), size)]
