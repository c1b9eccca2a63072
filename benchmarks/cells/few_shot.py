"""SetFit at its defaults but for the number of pairs: 20 iterations, as in the paper (Tunstall et al. 2022); batch 16.

Without that number SetFit trains on every pair of rows, 90,000 of 300. setfit 1.2.0 imports beside transformers 5 and
sentence-transformers 6 where it is installed with `pip install --no-deps setfit evaluate`; where it is not, it is left out.
"""

from __future__ import annotations

from typing import Any

from cells.frozen import encoder
from cells.methods import Found, Job
from cells.scores import gold_labels

ITERATIONS = 20


def setfit(job: Job) -> Found:
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    names = sorted({label for row in job.train for label in gold_labels(row)})
    several = job.data.kind == "label sets"
    targets: list[Any] = [
        [int(name in row["labels"]) for name in names] if several else names.index(row["label"]) for row in job.train
    ]
    options = {"multi_target_strategy": "one-vs-rest"} if several else {}
    model = SetFitModel.from_pretrained(encoder(), device=job.device, **options)
    arguments = TrainingArguments(
        output_dir=str(job.work / "setfit"), num_iterations=ITERATIONS, seed=job.seed, save_strategy="no",
        logging_strategy="no", report_to="none", show_progress_bar=False,
    )  # fmt: skip
    data = Dataset.from_dict({"text": [row["text"] for row in job.train], "label": targets})
    Trainer(model=model, args=arguments, train_dataset=data).train()
    found = model.predict([row["text"] for row in job.test], as_numpy=True)
    if several:
        return Found([[name for name, there in zip(names, row, strict=True) if there] for row in found])
    return Found([names[int(k)] for k in found])
