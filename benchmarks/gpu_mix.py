"""A random encoder and four tasks on the bundled corpus, put together from parts: what the GPU checks and benchmarks run on.

Needs no network and no run file: the encoder has random weights (speed does not depend on them), its tokenizer is made
of the corpus. Lengths are those of the corpus: pairs and sentences of 8 to 43 tokens, questions with texts of 29 to 240.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, BertConfig, RobertaConfig

from manyheads.balance import build_balancer
from manyheads.bundle import Contents, is_finished, save_bundle
from manyheads.data.joined_examples import not_joined
from manyheads.data.readers import Files, open_files
from manyheads.data.sampler import build_sampler
from manyheads.data.stream import Stream
from manyheads.model import MultiTaskModel
from manyheads.nn.cuda.compiled import compile_layers
from manyheads.nn.pretrained import load_encoder
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import DataStatistics
from manyheads.text.pack import STEADY
from manyheads.text.tokenizer import Tokenizer
from manyheads.training.batches import Batcher
from manyheads.training.feed import Feed
from manyheads.training.loop import Components, Trainer
from manyheads.training.losses import Normaliser
from manyheads.training.optim import adamw, parameter_groups
from manyheads.training.parts import parts_of, trainable
from manyheads.training.phases import Phase, Rates
from manyheads.training.precision import precision_of

CORPUS = Path(str(files("manyheads") / "demo" / "corpus"))
TASKS = {
    "entities": ("token-classification", "entities-train.jsonl", {"decoder": "softmax"}),
    "section": ("text-classification", "sections-train.csv", {}),
    "answers": ("question-answering", "questions-train.json", {}),
    "similarity": ("sentence-embedding", "pairs-train.csv", {}),
}
MAX_LENGTH = 384
TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
ROBERTA = {"vocab_size": 30522, "max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 0}
SIZES: dict[str, Any] = {
    "base": BertConfig(), "large": RobertaConfig(**LARGE, **ROBERTA),
    "tiny-base": BertConfig(**TINY), "tiny-large": RobertaConfig(**TINY, **ROBERTA),
}  # fmt: skip
"""BERT-base and RoBERTa-large, with the vocabulary of the tokenizer that is made here."""


@dataclass(frozen=True)
class Mix:
    """A trainer on the mix, and what a benchmark needs beside it."""

    trainer: Trainer
    phase: Phase
    tasks: dict[str, Any]


def passages() -> Iterator[str]:
    for article in json.loads((CORPUS / "questions-train.json").read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            yield paragraph["context"]


def encoder_folder(work: Path, *, tiny: bool, size: str = "base") -> Path:
    """An encoder of a size (or tiny) with random weights, and its tokenizer, as a folder that any library loads."""
    from tokenizers import Tokenizer as Rust
    from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

    size = f"tiny-{size}" if tiny else size
    folder = work / size
    if (folder / "model.safetensors").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    rust = Rust(models.WordPiece(unk_token="[UNK]"))
    rust.normalizer = normalizers.BertNormalizer(lowercase=True)
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    rust.train_from_iterator(passages(), trainers.WordPieceTrainer(vocab_size=30522, special_tokens=special))
    ends = [(token, rust.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    rust.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    rust.save(str(folder / "tokenizer.json"))
    names = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    settings = {"tokenizer_class": "BertTokenizerFast", "model_max_length": 512, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    torch.manual_seed(0)
    AutoModel.from_config(SIZES[size], add_pooling_layer=False).save_pretrained(folder)
    return folder


def model_folder(work: Path, *, tiny: bool, size: str = "base") -> Path:
    """A model folder of the four tasks with random weights."""
    encoder = encoder_folder(work, tiny=tiny, size=size)
    folder = work / f"{encoder.name}-model"
    if not is_finished(folder):
        tokenizer, tasks = Tokenizer.load(encoder), dict[str, Any]()
        list(feeds_of(tokenizer, tasks))
        torch.manual_seed(0)
        model = MultiTaskModel(load_encoder(str(encoder)), tasks)
        save_bundle(folder, model, tokenizer, Contents(tasks, encoder.name, MAX_LENGTH, {}, "{}\n", "random weights\n"))
    return folder


def feeds_of(tokenizer: Tokenizer, tasks: dict[str, Any]) -> Iterator[Feed]:
    """The examples of each task in the order of their stream; `tasks` gets the fitted tasks."""
    for name, (kind, file, settings) in TASKS.items():
        task: Any = TASK_TYPES[kind](name=name, **settings)
        rows = open_files(Files((CORPUS / file,)), type(task)).rows()
        examples = [task.read(row.values) for row in rows if row.skip is None]
        task = tasks[name] = task.fit(sum((task.collect(example) for example in examples), DataStatistics()))
        inputs = [task.sources_of_example(example) for example in examples]
        counts = iter(tokenizer.lengths([entry.source for asked in inputs for entry in asked], MAX_LENGTH))
        tokens = [sum(sum(next(counts)) for _ in asked) for asked in inputs]
        yield Feed(task, examples, Stream(np.array(tokens), 0, name), not_joined(len(tokens)))  # type: ignore[arg-type]


def mix(
    folder: Path,
    device: torch.device,
    tokens_per_step: int,
    *,
    compiled: bool,
    dropout: bool = True,
    precision: Any = "auto",
) -> Mix:
    """A trainer on the four tasks; `compiled` layers see packs of a steady shape."""
    tokenizer, tasks = Tokenizer.load(folder), dict[str, Any]()
    feeds = list(feeds_of(tokenizer, tasks))
    tokens = {feed.task.name: feed.stream.tokens_per_epoch for feed in feeds}
    torch.manual_seed(0)
    model = MultiTaskModel(load_encoder(str(folder)), tasks).to(device)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout) and not dropout:
            module.p = 0.0
    if compiled:
        compile_layers(model.encoder)
    parts = trainable(parts_of(model))
    sampler = build_sampler("temperature", tokens, tokens_per_step, steps=10_000)
    batcher = Batcher(feeds, sampler, tokenizer, max_length=MAX_LENGTH, budget=tokens_per_step,
                      multiple=STEADY if compiled else 1)  # fmt: skip
    balancer = build_balancer("static", dict.fromkeys(tasks, 1.0), 0, {})
    components = Components(adamw(parameter_groups(parts, 0.01)), balancer, Normaliser("log-classes"),
                            precision_of(precision, device), 1.0, 0, 1e9, None)  # fmt: skip
    phase = Phase("all", 10_000, Rates(1e-5, 1e-4), curve="constant")
    return Mix(Trainer(model, tasks, batcher, parts, components), phase, tasks)


def parsed(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, torch.device]:
    """Arguments of a benchmark with the options that all of them have, and the device. Ends without one, unless `--tiny`."""
    parser.add_argument("--work", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--results", type=Path, default=None)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if not torch.cuda.is_available() and not options.tiny:
        parser.error("there is no CUDA device; use --tiny to see that the script runs")
    return options, torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def report(result: dict[str, Any], file: Path | None) -> None:
    """Print a result, and write it."""
    print(json.dumps(result, indent=1))
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
