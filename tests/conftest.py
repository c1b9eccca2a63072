"""Toy encoders and data, made at test time: no hub, no downloads."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

SENTENCES = [
    "Aspirin lowered fever in children with influenza.",
    "Metformin improved glucose control in type 2 diabetes.",
    "We measured blood pressure before and after treatment.",
    "The trial enrolled 120 patients in three hospitals.",
    "Nausea was the most common adverse effect of cisplatin.",
    "Ibuprofen may be an option for migraine.",
]


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tables of the tests do not end in the user's cache."""
    os.environ["MANYHEADS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def toy_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers and width 32 with its tokenizer, as a local folder."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("toy-encoder")
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(SENTENCES * 3, trainers.WordPieceTrainer(vocab_size=400, special_tokens=special))
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", cls), ("[SEP]", sep)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "BertTokenizerFast", "model_max_length": 64, "pad_token": "[PAD]", "cls_token": "[CLS]",
                "sep_token": "[SEP]", "unk_token": "[UNK]", "mask_token": "[MASK]"}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(7)
    config = BertConfig(vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=64, max_position_embeddings=64)  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def entity_rows() -> list[dict[str, object]]:
    """Sentences with their spans."""
    found = {
        0: [("Aspirin", "Chemical"), ("fever", "Disease"), ("influenza", "Disease")],
        1: [("Metformin", "Chemical"), ("glucose", "Chemical"), ("type 2 diabetes", "Disease")],
        4: [("Nausea", "Disease"), ("cisplatin", "Chemical")],
        5: [("Ibuprofen", "Chemical"), ("migraine", "Disease")],
    }
    return [
        {"text": text, "entities": [
            {"start": text.index(name), "end": text.index(name) + len(name), "label": label} for name, label in found.get(i, [])
        ]}
        for i, text in enumerate(SENTENCES)
    ]  # fmt: skip


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path: Path, header: list[str], rows: list[list[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


@pytest.fixture
def project(tmp_path: Path, toy_encoder: Path) -> Path:
    """A run file with four tasks and small data of each, in a folder of its own; returns the run file."""
    write_jsonl(tmp_path / "data/entities.jsonl", entity_rows())
    sections = ["RESULTS", "RESULTS", "METHODS", "METHODS", "RESULTS", "CONCLUSIONS"]
    write_csv(tmp_path / "data/sections.csv", ["text", "label"],
              [*map(list, zip(SENTENCES, sections, strict=True)), ["So ibuprofen is an option.", "CONCLUSIONS"]])  # fmt: skip
    questions = [
        {
            "id": "q0",
            "question": "What lowered fever?",
            "context": SENTENCES[0],
            "answers": [{"text": "Aspirin", "start": 0}],
        },
        {
            "id": "q1",
            "question": "How many patients?",
            "context": SENTENCES[3],
            "answers": [{"text": "120", "start": 19}],
        },
        {"id": "q2", "question": "What cures migraine?", "context": SENTENCES[2], "answers": []},
        {
            "id": "q3",
            "question": "What was common?",
            "context": SENTENCES[4],
            "answers": [{"text": "Nausea", "start": 0}],
        },
    ]
    write_jsonl(tmp_path / "data/questions.jsonl", questions)
    write_csv(tmp_path / "data/pairs.csv", ["text_a", "text_b", "score"], [
        [SENTENCES[0], "Aspirin lowered fever in children.", 4.5], [SENTENCES[0], SENTENCES[3], 0.5],
        [SENTENCES[1], "Metformin improved glucose control.", 4.0], [SENTENCES[2], SENTENCES[4], 1.0],
        [SENTENCES[5], "Ibuprofen for migraine.", 4.2], [SENTENCES[3], SENTENCES[5], 0.2],
    ])  # fmt: skip
    run = tmp_path / "run.yaml"
    data = {name: f"{{train: data/{name}, validation: data/{name}, test: data/{name}}}"
            for name in ("entities.jsonl", "sections.csv", "questions.jsonl", "pairs.csv")}  # fmt: skip
    run.write_text(
        f"""
encoder: {{name: {toy_encoder}, max_length: 48}}
tasks:
  entities:
    type: token-classification
    decoder: crf
    data: {data["entities.jsonl"]}
  section:
    type: text-classification
    data: {data["sections.csv"]}
  answers:
    type: question-answering
    data: {data["questions.jsonl"]}
    doc_stride: 16
  similarity:
    type: sentence-embedding
    data: {data["pairs.csv"]}
    projection: 16
training:
  steps: 12
  tokens_per_step: 256
  learning_rate: 1.0e-3
  evaluate_every: 6
  device: cpu
output: runs/model
""",
        encoding="utf-8",
    )
    return run
