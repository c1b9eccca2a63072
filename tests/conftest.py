"""A toy encoder made at test time: no hub, no downloads."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from toys import SENTENCES, pieces, write_project

os.environ.setdefault("HF_HUB_OFFLINE", "1")
settings.register_profile("any-processor", deadline=None)  # how long an example takes says nothing of its result
settings.load_profile("any-processor")


def pytest_collection_finish() -> None:
    """What is imported by now stays: with 1.1 million objects each full collection of garbage took half a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tables of the tests do not end in the user's cache."""
    os.environ["MANYHEADS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def _few_penalties() -> Iterator[None]:
    """Heads are solved with two penalties instead of eight, and half the steps for each: an eighth of the time.

    training/test_head_fit.py has them all, and so have processes of their own: by the recipe they train other weights.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("manyheads.training.head_problem.PENALTIES", (0.02, 0.001))
        patch.setattr("manyheads.training.head_problem.STEPS", 10)
        yield


@pytest.fixture(scope="session")
def toy_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers and width 32 with its tokenizer, as a local folder."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("toy-encoder")
    normalizer, cut = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [word for text in SENTENCES for word, _ in cut.pre_tokenize_str(normalizer.normalize_str(text))]
    vocabulary = {token: i for i, token in enumerate([*special, *pieces(words, "##")])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, cut
    tokenizer.add_special_tokens(special)
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


@pytest.fixture
def project(tmp_path: Path, toy_encoder: Path) -> Path:
    """A run file with four tasks and small data of each, in a folder of its own; returns the run file."""
    return write_project(tmp_path, toy_encoder)


@pytest.fixture(scope="session")
def young_model(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    """A model folder with four heads, trained for two steps."""
    from manyheads.start import train_run
    from manyheads.training.progress import Quiet

    run = write_project(tmp_path_factory.mktemp("young-model"), toy_encoder)
    return train_run(run, None, ["training.steps=2", "training.save_every=0"], Quiet())[0]
