"""sentence-transformers' trainer for scored pairs, as in its STS benchmark example: 4 epochs, batch 16, a tenth for warmup.

The best of two losses (cosine similarity, CoSENT) and two rates (2e-5, 5e-5), by Spearman on a random fifth of the rows; then
trained again on all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cells.frozen import encoder
from cells.methods import Found, Job
from cells.scores import headline
from cells.sets import Row
from cells.trainer import split

LOSSES, RATES, EPOCHS, BATCH = ("CosineSimilarityLoss", "CoSENTLoss"), (2e-5, 5e-5), 4, 16
HIGHEST = 5.0


def trained(job: Job) -> Found:
    train, validation = split(job.train, job.seed)
    tried = {
        (loss, rate): headline(job.data, validation, answers(fit(job, train, loss, rate), validation))
        for loss in LOSSES
        for rate in RATES
    }
    loss, rate = max(tried, key=lambda each: tried[each])
    facts = {"loss": loss, "rate": rate,
             "validation": {f"{each[0]} {each[1]:g}": round(score, 4) for each, score in tried.items()}}  # fmt: skip
    return Found(answers(fit(job, job.train, loss, rate), job.test), facts)


def fit(job: Job, rows: Sequence[Row], loss: str, rate: float) -> Any:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, losses
    from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
    from transformers import PrinterCallback, set_seed

    set_seed(job.seed)
    model = SentenceTransformer(encoder(), device=job.device)
    arguments = Arguments(
        output_dir=str(job.work / "pairs"), num_train_epochs=EPOCHS, per_device_train_batch_size=BATCH,
        learning_rate=rate, seed=job.seed, use_cpu=job.device == "cpu", save_strategy="no", logging_strategy="no",
        report_to=[],
        warmup_steps=math.ceil(len(rows) / BATCH) * EPOCHS // 10, disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    columns = {"sentence1": [row["text_a"] for row in rows], "sentence2": [row["text_b"] for row in rows],
               "score": [row["score"] / HIGHEST for row in rows]}  # fmt: skip
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_dict(columns), loss=getattr(losses, loss)(model)
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return model


def answers(model: Any, rows: Sequence[Row]) -> list[float]:
    one, other = (
        model.encode([row[key] for row in rows], normalize_embeddings=True, show_progress_bar=False)
        for key in ("text_a", "text_b")
    )
    return (one * other).sum(1).tolist()
