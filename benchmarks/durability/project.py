"""What is trained: a small BERT made on the spot, and the demonstration's four tasks with less data.

Decided here: the encoder has random weights and its own vocabulary, so nothing is downloaded and a step takes about 15
ms; start-up, which a kill may hit as well, is then a third of a run. Dropout, a CRF, crossing epochs and evaluations
are all in it on purpose.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

STEPS, SAVE_EVERY, EVALUATE_EVERY = 200, 15, 50
"""Of whole runs: 1.5 epochs, 14 checkpoints, 4 evaluations."""
WIDTH, LAYERS, WORDS, LENGTH = 64, 2, 3000, 128
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with all that runs need."""

    folder: Path
    steps: int
    save_every: int

    @property
    def run(self) -> Path:
        """The run file."""
        return self.folder / "run.yaml"

    @property
    def encoder(self) -> Path:
        """The encoder's folder."""
        return self.folder / "encoder"

    @property
    def data(self) -> Path:
        """The folder of the data files."""
        return self.folder / "data"

    def output(self, name: str) -> Path:
        """Where a run writes."""
        return self.folder / "runs" / name

    def environment(self, cache: str = "cache") -> dict[str, str]:
        """Of its processes: one thread, no network, a cache of its own."""
        path = [str(Path(__file__).resolve().parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {**os.environ, "MANYHEADS_CACHE": str(self.folder / cache), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
                "OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0",
                "PYTHONPATH": os.pathsep.join(path)}  # fmt: skip


def make_project(
    folder: Path, *, steps: int, save_every: int, evaluate_every: int, training: Mapping[str, Any] | None = None
) -> Project:
    """A project in a folder, which is made; what was in it goes. `steps` of 512 tokens; `training`: more of its keys."""
    shutil.rmtree(folder, ignore_errors=True)
    project = Project(folder.resolve(), steps, save_every)
    project.data.mkdir(parents=True)
    project.output("").mkdir()
    corpus = Path(str(files("manyheads") / "demo" / "corpus"))
    for split, share in (("train", 1.0), ("validation", 0.3)):
        for name in ("entities", "sections", "pairs"):
            _copy_rows(next(corpus.glob(f"{name}-{split}.*")), project.data, share)
        _copy_articles(corpus / f"questions-{split}.json", project.data, {"train": 8, "validation": 1}[split])
    make_encoder(project)
    run = run_file()
    run["training"] |= {"steps": steps, "save_every": save_every, "evaluate_every": evaluate_every, **(training or {})}
    project.run.write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
    return project


def run_file() -> dict[str, Any]:
    """The four tasks of the demonstration."""
    kinds: dict[str, tuple[str, str, str, dict[str, Any]]] = {
        "entities": ("token-classification", "entities", "jsonl", {"decoder": "crf"}),
        "section": ("text-classification", "sections", "csv", {}),
        "answers": ("question-answering", "questions", "json", {"doc_stride": 32}),
        "similarity": ("sentence-embedding", "pairs", "csv", {"weight": 2.0}),
    }
    tasks = {
        name: {
            "type": kind,
            **more,
            "data": {split: f"data/{file}-{split}.{ending}" for split in ("train", "validation")},
        }
        for name, (kind, file, ending, more) in kinds.items()
    }
    training = {"recipe": "none", "tokens_per_step": 512, "learning_rate": 1e-3, "seed": 3, "device": "cpu"}
    return {
        "encoder": {"name": "encoder", "max_length": LENGTH},
        "tasks": tasks,
        "training": training,
        "output": "runs/model",
    }


def _copy_rows(source: Path, folder: Path, share: float) -> None:
    """The first share of the rows of a file, which have a line each, or are CSV."""
    if source.suffix == ".csv":
        with (
            source.open(newline="", encoding="utf-8") as file,
            (folder / source.name).open("w", newline="", encoding="utf-8") as out,
        ):
            header, *rows = csv.reader(file)
            csv.writer(out).writerows([header, *rows[: int(share * len(rows))]])
        return
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / source.name).write_text("".join(lines[: int(share * len(lines))]), encoding="utf-8")


def _copy_articles(source: Path, folder: Path, count: int) -> None:
    squad = json.loads(source.read_text(encoding="utf-8"))
    (folder / source.name).write_text(json.dumps({**squad, "data": squad["data"][:count]}), encoding="utf-8")


def make_encoder(project: Project) -> None:
    """A BERT with a vocabulary of the training texts, and random weights."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    texts = [path.read_text(encoding="utf-8") for path in sorted(project.data.glob("*-train.*"))]
    trainer = trainers.WordPieceTrainer(vocab_size=WORDS, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator((line for text in texts for line in text.splitlines()), trainer)
    marks = [(mark, tokenizer.token_to_id(mark)) for mark in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=marks
    )
    project.encoder.mkdir()
    tokenizer.save(str(project.encoder / "tokenizer.json"))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    settings = {"tokenizer_class": "BertTokenizerFast", "model_max_length": LENGTH, **names}
    (project.encoder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=2,
        intermediate_size=2 * WIDTH, max_position_embeddings=LENGTH,
    )  # fmt: skip
    BertModel(config).save_pretrained(project.encoder)


def without_dropout(encoder: Path) -> None:
    """Take the dropout out of an encoder's folder."""
    config = encoder / "config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(
        json.dumps({**settings, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}), encoding="utf-8"
    )
