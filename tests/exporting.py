"""Toy models of many kinds as model folders, with random weights instead of training."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from manyheads.bundle import Contents, save_bundle
from manyheads.bundle.manifest import file_entries, write_manifest
from manyheads.export import ExportRequest, export_model
from manyheads.nn.lora import adapters_of, merge
from plans import plan
from toys import SENTENCES, write_project

SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
                         "max_position_embeddings": 66}  # fmt: skip
TEXTS = [
    *SENTENCES,
    "a",
    "",
    " ".join(SENTENCES),
    " ".join(SENTENCES * 3),
    "Zürich: naïve 東京 👩\u200d🚀 [PAD] [MASK]",
]
ROWS = [{"text": text, "question": "What lowered fever?"} for text in TEXTS] + [{"text": text} for text in TEXTS]


PRIVATE_LAYERS = "sharing={shared_layers: 1, groups: {tokens: [entities, answers], texts: [section, similarity]}}"
KINDS: dict[str, tuple[str, list[str]]] = {
    "hard": ("bert", []),
    "private layers": ("roberta", [PRIVATE_LAYERS, "tasks.section.pooling=cls"]),
    "layer mix": ("mpnet", ["sharing.layer_mix=true", "tasks.section.hidden=8", "tasks.entities.decoder=softmax"]),
    "adapters of tasks": ("bert", ["lora={adapters: per-task, layers: [1]}", "tasks.similarity.layer_norm=true"]),
}
"""Encoder family and changes to the run file, to cover each way of sharing, kind of padding and head."""
ExportedModel = tuple[Path, Path, list[str]]
Models = Callable[..., Path]
Exports = Callable[[str], ExportedModel]
_models: dict[tuple[str, ...], Path] = {}


@pytest.fixture(scope="session")
def toy_models(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Models:
    """A model folder for an encoder family and overrides of the run file, made once."""

    def model(family: str, *overrides: str) -> Path:
        key = (family, *overrides)
        if key not in _models:
            _models[key] = model_of(family, overrides, toy_encoder, tmp_path_factory.mktemp("toy-model"))
        return _models[key]

    return model


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Exports:
    """For each kind: the model folder, the folder of its graph, and the log. A graph takes seconds to write."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # the folder of all workers

    def export(kind: str) -> ExportedModel:
        folder = base / f"exported-{kind.replace(' ', '-')}"
        with FileLock(f"{folder}.lock"):
            if not (folder / "log.json").exists():
                shutil.rmtree(folder, ignore_errors=True)  # of an attempt that failed
                folder.mkdir()
                lines: list[str] = []
                model = model_of(*KINDS[kind], toy_encoder, folder)
                export_model(model, ExportRequest("onnx", folder / "onnx"), lines.append)
                (folder / "log.json").write_text(json.dumps(lines), encoding="utf-8")
        return folder / "model", folder / "onnx", json.loads((folder / "log.json").read_text(encoding="utf-8"))

    return export


def model_of(family: str, overrides: Sequence[str], toy_encoder: Path, folder: Path) -> Path:
    """A model folder in a folder, of an encoder family and overrides of the run file."""
    encoder = toy_encoder if family == "bert" else encoder_of(family, toy_encoder, folder / "enc")
    return write_model(folder, encoder, *overrides)


def encoder_of(family: str, like: Path, folder: Path) -> Path:
    """An encoder of a family, with the tokenizer from another folder."""
    from transformers import AutoConfig, AutoModel

    shutil.copytree(like, folder, ignore=shutil.ignore_patterns("config.json", "*.safetensors"))
    size = len(json.loads((like / "tokenizer.json").read_text())["model"]["vocab"])
    more = {"distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}, "electra": {"embedding_size": 16},
            "modernbert": {"local_attention": 8, "global_attn_every_n_layers": 2, "cls_token_id": 2, "sep_token_id": 3,
                           "bos_token_id": 2, "eos_token_id": 3},
            "deberta-v2": {"relative_attention": True, "position_buckets": 16, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0,
                           "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False},
            "roberta": {"type_vocab_size": 1}}  # fmt: skip
    sizes = {} if family == "distilbert" else SIZES
    config = AutoConfig.for_model(family, vocab_size=size, pad_token_id=0, **sizes, **more.get(family, {}))
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


def write_model(folder: Path, encoder: Path, *overrides: str) -> Path:
    """A model folder for the toy run file with overrides; its data is beside it."""
    run = write_project(folder, encoder)
    made = plan(run, *overrides)
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in made.model.named_parameters():
            scale = 0.5 if name.startswith("heads") else 0.1
            parameter.add_(scale * torch.randn_like(parameter))
    for one in [made.model.encoder, *(branch.encoder for branch in made.model.branches)]:
        if adapters_of(one):
            merge(one)
    metrics = {name: {"test": {"f1": 0.5}} for name in made.tasks}
    contents = Contents(
        made.tasks, "toy", 48, metrics, run.read_text().replace("output: runs/model", "output: ."), "# toy\n"
    )
    target = folder / "model"
    save_bundle(target, made.model.eval(), made.tokenizer, contents)
    (target / "run.yaml").write_text((target / "run.yaml").read_text().replace("data/", "../data/"))
    manifest = json.loads((target / "manyheads.json").read_text())
    manifest["files"] |= file_entries(target, ["run.yaml"])
    write_manifest(target, manifest)
    return target
