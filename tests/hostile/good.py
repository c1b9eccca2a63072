"""The small good things that hostile artefacts are made from: an encoder, a model folder, a run file with its data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from toys import SENTENCES, write_project

WORDS = ("the", "a", "of", "in", "fever", "aspirin", "trial", "blood", "was", "and", ".", ",", "?", "-", "1", "2", "0")


@dataclass(frozen=True, slots=True)
class Good:
    """Where the good things are. `secret` lies outside of everything a case may read."""

    root: Path

    @property
    def encoder(self) -> Path:
        return self.root / "encoder"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def project(self) -> Path:
        return self.root / "project"

    @property
    def rows(self) -> Path:
        return self.root / "rows.jsonl"

    @property
    def secret(self) -> Path:
        return self.root / "outside"


def make_good(root: Path) -> Good:
    """Write all of it into a folder, the same bytes each time."""
    good = Good(root)
    good.secret.mkdir(parents=True)
    (good.secret / "secret.txt").write_text("not for you\n")
    make_encoder(good.encoder)
    good.project.mkdir()
    write_project(good.project, good.encoder)
    make_model(good.model, good.encoder)
    good.rows.write_text(request_rows())
    return good


def make_encoder(folder: Path) -> None:
    """A BERT of two layers and width 16 with 30,000 parameters or less, and its tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = dict.fromkeys([*special, *WORDS, *letters, *(f"##{letter}" for letter in letters)])
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {"tokenizer_class": "BertTokenizerFast", "model_max_length": 64, "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(7)
    config = BertConfig(vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=32, max_position_embeddings=64)  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)


def make_model(folder: Path, encoder: Path) -> None:
    """A model folder with a head of each kind, none of them trained."""
    import torch

    from manyheads.bundle import Contents, save_bundle
    from manyheads.model import MultiTaskModel
    from manyheads.nn.pretrained import load_encoder
    from manyheads.tasks import TASK_TYPES
    from manyheads.text.tokenizer import Tokenizer

    torch.manual_seed(3)
    tasks = {
        "entities": TASK_TYPES["token-classification"](name="entities", labels=("Chemical", "Disease"), decoder="crf"),
        "section": TASK_TYPES["text-classification"](name="section", labels=("METHODS", "RESULTS")),
        "answers": TASK_TYPES["question-answering"](name="answers", doc_stride=8),
        "similarity": TASK_TYPES["sentence-embedding"](name="similarity", projection=8, objective="cosine"),
    }
    model = MultiTaskModel(load_encoder(str(encoder)), tasks)
    metrics = {"section": {"validation": {"macro_f1": 0.5}}, "_all": {"validation": {"combined": 0.5}}}
    contents = Contents(tasks, "toy", 48, metrics, "tasks: {}\n", "# A model\n")
    save_bundle(folder, model, Tokenizer.load(encoder), contents)


def request_rows() -> str:
    """Rows for `predict`, as JSON lines."""
    rows = [{"id": 1, "text": SENTENCES[0]}, {"text": SENTENCES[1] * 8, "question": "What improved?"}]
    return "".join(json.dumps(row) + "\n" for row in rows)
