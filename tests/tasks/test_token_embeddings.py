"""Sparse and multiple vectors: similarities as in sentence-transformers, losses equal to what is answered, one pass for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers.util import dot_score, maxsim

from manyheads.errors import DataError
from manyheads.metrics.vectors import lexical_similarity, mean_max_similarity
from manyheads.model import MultiTaskModel
from manyheads.nn.pretrained import load_encoder
from manyheads.predict import Predictor, TorchBackend
from manyheads.tasks.base import DataStatistics, Item
from manyheads.tasks.sentence_embedding import MultiVectorEmbedding, SentenceEmbedding, SparseEmbedding
from manyheads.text.pack import Encoding, Pack, Source
from manyheads.text.tokenizer import Tokenizer
from manyheads.training.batch import encode_examples
from toys import SENTENCES

ROWS = [{"text_a": SENTENCES[i], "text_b": SENTENCES[i + 1], "negative": SENTENCES[5]} for i in range(3)]


def vectors(sizes: list[int], seed: int) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    found = [draw.normal(size=(size, 8)) for size in sizes]
    return [(one / np.linalg.norm(one, axis=1, keepdims=True)).astype(np.float32) for one in found]


def test_late_interaction_is_that_of_sentence_transformers() -> None:
    queries, candidates = vectors([3, 1, 7], 0), vectors([5, 2, 9, 1], 1)
    theirs = maxsim([torch.from_numpy(one) for one in queries], [torch.from_numpy(one) for one in candidates]).numpy()
    ours = mean_max_similarity(queries, candidates) * np.array([[3], [1], [7]])
    assert np.abs(ours - theirs).max() < 1e-5
    nothing = np.zeros((0, 8), np.float32)
    assert mean_max_similarity([nothing, queries[0]], [nothing, candidates[0]])[0].tolist() == [0, 0]
    assert mean_max_similarity(queries, [nothing]).tolist() == [[0]] * 3


def test_products_of_sparse_vectors_are_those_of_sentence_transformers() -> None:
    draw = np.random.default_rng(2)
    dense = np.maximum(draw.normal(size=(7, 30)), 0) * (draw.random((7, 30)) < 0.4)
    dense[0] = 0
    sparse = [{"indices": np.flatnonzero(row).tolist(), "values": row[row > 0].tolist()} for row in dense]
    theirs = dot_score(torch.from_numpy(dense[:3]).to_sparse_csr(), torch.from_numpy(dense[3:]).to_sparse_csr())
    theirs = theirs.to_dense() if theirs.is_sparse or theirs.layout == torch.sparse_csr else theirs
    assert np.abs(lexical_similarity(sparse[:3], sparse[3:]) - theirs.numpy()).max() < 1e-5


@pytest.fixture(scope="module", params=["sparse", "multi"])
def made(request: pytest.FixtureRequest, toy_encoder: Path) -> tuple[Any, MultiTaskModel, Tokenizer]:
    task: Any
    task = SparseEmbedding(name="t", vectors="sparse") if request.param == "sparse" else MultiVectorEmbedding(
        name="t", vectors="multi", projection=16
    )
    torch.manual_seed(2)
    return task, MultiTaskModel(load_encoder(str(toy_encoder)), {"t": task}).eval(), Tokenizer.load(toy_encoder)


def test_training_compares_what_is_answered_windows_and_all(made: tuple[Any, MultiTaskModel, Tokenizer]) -> None:
    task, model, tokenizer = made
    examples = [task.read({**row, "text_b": " ".join([row["text_b"], *SENTENCES])}) for row in ROWS]
    encodings = encode_examples(task, examples, tokenizer, max_length=24, budget=4096)
    flat = [window for asked in encodings for source in asked for window in source]
    assert len(flat) > 12
    targets = {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in task.targets(examples, encodings).items()}
    with torch.no_grad():
        score_BC, duplicate_BC = task.similarities(model(Pack.of(flat), {"t": (0, len(flat))})["t"], targets)
    predictor = Predictor(TorchBackend(model, torch.device("cpu")), {"t": task}, tokenizer, max_length=24)
    answers = [[one.answers["t"] for one in predictor.answer([{"t": entry} for entry in task.sources_of_example(example)])]
               for example in examples]  # fmt: skip
    candidates = [*(answer[1] for answer in answers), *(answer[2] for answer in answers)]
    assert np.abs(score_BC.numpy() - task.similarity([answer[0] for answer in answers], candidates)).max() < 1e-5
    assert duplicate_BC.sum() == 3  # the right one of each; the negatives are another text


def test_special_tokens_are_left_out_and_overlaps_counted_once(made: tuple[Any, MultiTaskModel, Tokenizer]) -> None:
    task, model, tokenizer = made
    backend = TorchBackend(model, torch.device("cpu"))
    [whole] = Predictor(backend, {"t": task}, tokenizer, max_length=64).items("t", [task.source_of_row({"text": SENTENCES[0]})])
    [cut] = Predictor(backend, {"t": task}, tokenizer, max_length=8).items("t", [task.source_of_row({"text": SENTENCES[0]})])
    count = len(whole.encodings[0]) - 2
    assert len(cut.encodings) > 1
    ids = set(whole.encodings[0].ids_L[1:-1].tolist())
    for item in (whole, cut):
        [answer] = task.decode([item])
        if isinstance(task, SparseEmbedding):
            assert set(answer["indices"]) <= ids
            assert min(answer["values"]) > 0
        else:
            assert answer.shape == (count, 16)
            assert np.allclose(np.linalg.norm(answer, axis=1), 1)
    [nothing] = task.decode(Predictor(backend, {"t": task}, tokenizer, max_length=8).items("t", [task.source_of_row({"text": ""})]))
    assert not len(nothing["indices"] if isinstance(task, SparseEmbedding) else nothing)


def test_only_the_highest_weights_are_kept() -> None:
    whole, few = SparseEmbedding(name="t", vectors="sparse"), SparseEmbedding(name="t", vectors="sparse", top_k=2)
    ids = np.array([2, 9, 4, 9, 7, 3], np.int32)
    window = Encoding(ids, ids, ids, ids, np.array([-1, 0, 0, 0, 0, -1], np.int8), 0)
    weights = np.array([[9.0], [0.5], [-1.0], [2.0], [1.0], [9.0]], np.float32)
    given = [Item(Source("x"), None, [window], [{"weight_T1": weights}])]
    assert whole.decode(given) == [{"indices": [7, 9], "values": [1.0, 2.0]}]
    assert SparseEmbedding(name="t", vectors="sparse", top_k=1).decode(given) == [{"indices": [9], "values": [2.0]}]
    assert few.decode(given) == whole.decode(given)


def test_pairs_with_scores_are_refused_for_training() -> None:
    task = SparseEmbedding(name="t", vectors="sparse")
    with pytest.raises(DataError, match="training rows are scored pairs; sparse and multiple vectors learn from"):
        task.fit(DataStatistics(flags=frozenset({"scored"})))


def test_all_kinds_of_vectors_of_a_text_share_one_pass(toy_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks: dict[str, Any] = {
        "dense": SentenceEmbedding(name="dense"), "sparse": SparseEmbedding(name="sparse", vectors="sparse"),
        "multi": MultiVectorEmbedding(name="multi", vectors="multi"),
    }  # fmt: skip
    model = MultiTaskModel(load_encoder(str(toy_encoder)), tasks)
    backend = TorchBackend(model, torch.device("cpu"))
    passes = []
    whole = backend.run
    monkeypatch.setattr(backend, "run", lambda windows, names: passes.append(names) or whole(windows, names))
    [row] = Predictor(backend, tasks, Tokenizer.load(toy_encoder), max_length=64).predict([{"text": SENTENCES[0]}])
    assert [sorted(names) for names in passes] == [["dense", "multi", "sparse"]]
    assert set(row["tasks"]["sparse"]) == {"indices", "values"}
    assert len(row["tasks"]["multi"][0]) == 128
