"""Encoders whose pieces cover several words learn their rows by heart, and answer raw text and words alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from manyheads.model import MultiTaskModel
from manyheads.nn.multiword_pieces import word_scores, word_scores_in_torch
from manyheads.nn.pretrained import load_encoder
from manyheads.predict import Predictor, TorchBackend
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import DataStatistics
from manyheads.text.entities import EntityExample
from manyheads.text.pack import Pack
from manyheads.text.tokenizer import Tokenizer
from manyheads.training.batch import encode_examples
from tokenized import vocabulary_size

Rows = list[dict[str, Any]]


def spans(text: str, *found: tuple[str, str]) -> dict[str, Any]:
    return {"text": text, "entities": [
        {"start": text.index(name), "end": text.index(name) + len(name), "label": label} for name, label in found
    ]}  # fmt: skip


def tagged(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"tokens": [word for word, _ in pairs], "tags": [tag for _, tag in pairs]}


ROWS: dict[str, Rows] = {
    "punctuation": [
        spans("Staff with SARS-2 stayed.", ("SARS-2", "DIS")), spans("The N.A.T.O. base shut", ("N.A.T.O.", "ORG")),
        spans("Code in F## cost 2,500 yen", ("F##", "LANG"), ("2,500 yen", "SUM")), spans("we like 🎉Nordis", ("Nordis", "ORG")),
    ],
    "scripts": [
        spans("他在上海外滩", ("上海", "LOC"), ("外滩", "SITE")), spans("外滩很美", ("外滩", "SITE")), spans("京都へ行った", ("京都", "LOC")),
        spans("เชียงใหม่สวย", ("เชียงใหม่", "LOC")),
    ],
    "columns": [
        tagged(("Staff", "O"), ("with", "O"), ("SARS-2", "B-DIS"), ("stayed", "O"), (".", "O")),
        tagged(("Up", "O"), ("2,500", "B-SUM"), ("yen", "I-SUM"), ("(", "O"), ("4.5", "B-SUM"), ("%", "I-SUM"), (")", "O")),
        tagged(("They", "O"), ("do", "O"), ("n't", "B-NEG"), ("go", "O")),
    ],
    "letters": [
        tagged(*zip("他在上海外滩", ["O", "O", "B-LOC", "I-LOC", "B-SITE", "I-SITE"], strict=True)),
        tagged(*zip("外滩很美", ["B-SITE", "I-SITE", "O", "O"], strict=True)),
    ],
}  # fmt: skip


def finished(rust: tokenizers.Tokenizer, texts: list[str], trainer: Any) -> Tokenizer:
    rust.train_from_iterator(texts * 5, trainer)
    rust.add_special_tokens(["<s>", "</s>"])
    ends = [(name, rust.token_to_id(name)) for name in ("<s>", "</s>")]
    rust.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=ends
    )
    return Tokenizer(rust)


def unigram(texts: list[str]) -> Tokenizer:
    """As XLM-R's: pieces end at white space alone."""
    rust = tokenizers.Tokenizer(models.Unigram())
    rust.normalizer, rust.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    return finished(rust, texts, trainers.UnigramTrainer(
        vocab_size=400, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False))  # fmt: skip


def byte_pairs(texts: list[str]) -> Tokenizer:
    rust = tokenizers.Tokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return finished(rust, texts, trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False))


def word_level(texts: list[str]) -> Tokenizer:
    """The hardest: a piece is all between two spaces."""
    rust = tokenizers.Tokenizer(models.WordLevel(unk_token="<unk>"))
    rust.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return finished(rust, texts, trainers.WordLevelTrainer(special_tokens=["<unk>"], show_progress=False))


def folder_of(tokenizer: Tokenizer, folder: Path) -> str:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=vocabulary_size(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                         intermediate_size=64, max_position_embeddings=64)).save_pretrained(folder)  # fmt: skip
    return str(folder)


def learned(rows: Rows, build: Any, folder: Path, **settings: Any) -> tuple[Any, list[EntityExample], Predictor]:
    task: Any = TASK_TYPES["token-classification"](name="task", **settings)
    examples = [task.read(row) for row in rows]
    task = task.fit(sum((task.collect(example) for example in examples), DataStatistics()))
    tokenizer = build([example.text for example in examples])
    model = MultiTaskModel(load_encoder(folder_of(tokenizer, folder)), {"task": task})
    encodings = encode_examples(task, examples, tokenizer, max_length=64, budget=4096)
    flat = [window for asked in encodings for source in asked for window in source]
    pack = Pack.of(flat)
    targets = {key: torch.from_numpy(np.ascontiguousarray(v)) for key, v in task.targets(examples, encodings).items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(300):
        loss = task.loss(model(pack, {"task": (0, len(flat))})["task"], targets).mean
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if loss.item() < 0.01:
            break
    return task, examples, Predictor(TorchBackend(model, torch.device("cpu")), {"task": task}, tokenizer, max_length=64)


def score(task: Any, predictor: Predictor, rows: Rows, examples: list[EntityExample]) -> float:
    answers = [[predictor.answer([{"task": task.source_of_row(row)}])[0].answers["task"]] for row in rows]
    return float(task.score(answers, examples)["f1"])


@pytest.mark.long
@pytest.mark.parametrize("decoder", ["softmax", "crf"])
@pytest.mark.parametrize("build", [unigram, byte_pairs, word_level])
@pytest.mark.parametrize("name", ROWS)
def test_rows_are_learned_by_heart_and_answered_raw_and_as_words(
    name: str, build: Any, decoder: str, tmp_path: Path
) -> None:
    rows = ROWS[name]
    task, examples, predictor = learned(rows, build, tmp_path, decoder=decoder)
    raw = [EntityExample(example.text, example.spans) for example in examples]
    if name != "columns" or build is not word_level:  # `n't` is no word of raw text
        kept = [i for i, example in enumerate(raw) if "n't" not in example.text]
        texts: Rows = [{"text": raw[i].text} for i in kept]
        assert score(task, predictor, texts, [raw[i] for i in kept]) == 1.0
    assert score(task, predictor, rows, examples) == 1.0
    if "tokens" in rows[0]:
        asked: Rows = [{"tokens": row["tokens"]} for row in rows]
        assert score(task, predictor, asked, examples) == 1.0


@pytest.mark.parametrize("build", [unigram, word_level])
def test_spans_inside_words_are_learned_as_letters(build: Any, tmp_path: Path) -> None:
    rows = [spans("Die Nordbank am See", ("Nord", "ORG")), spans("Am Tromsower Hafen", ("Tromso", "LOC"))]
    task, examples, predictor = learned(rows, build, tmp_path, unit="letter")
    assert score(task, predictor, rows, examples) == 1.0
    assert not [warning for example in examples for warning in task.example_warnings(example)]


def test_gold_spans_out_of_reach_are_told_and_their_share_is_in_the_scores(tmp_path: Path) -> None:
    rows = [spans("Die Nordbank am See", ("Nord", "ORG"), ("See", "LOC"))]
    task, examples, predictor = learned(rows, unigram, tmp_path)
    answers = [[predictor.answer([{"task": task.source_of_row(row)}])[0].answers["task"]] for row in rows]
    assert task.score(answers, examples)["out_of_reach"] == 0.5
    (warning,) = task.example_warnings(examples[0])
    assert warning.detail == "'Nord', where an answer would be 'Nordbank'"


def test_numpy_and_torch_give_words_the_same_scores() -> None:
    generator = np.random.default_rng(0)
    scores, piece = generator.normal(size=(6, 5)).astype(np.float32), np.array([0, 1, 1, 1, 4, 5, 5])
    place = np.array([0, 0, 1, 7, 0, 0, 1])
    output = {
        "inner_TR": generator.normal(size=(6, 3)).astype(np.float32),
        "places_MR": generator.normal(size=(4, 3)).astype(np.float32),
        "inner_RK": generator.normal(size=(3, 5)).astype(np.float32),
    }
    found = word_scores(scores, output, piece, place)
    inner = np.flatnonzero(place)
    tensors = {key: torch.from_numpy(value) for key, value in output.items()}
    expected = word_scores_in_torch(
        torch.from_numpy(scores),
        tensors,
        torch.from_numpy(piece),
        torch.from_numpy(inner),
        torch.from_numpy(place[inner]),
    )
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)
    continued = word_scores(scores, {}, piece, place)
    assert (continued[[0, 1, 4, 5]] == scores[[0, 1, 4, 5]]).all()
    assert (continued[inner][:, 2::2] >= continued[inner][:, 1::2]).all(), "a further word of a piece continues it"
