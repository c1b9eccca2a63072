"""Prompts of sentence embeddings: which text gets which, in training and in answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from manyheads.config.files import load_run
from manyheads.errors import ConfigError, RowError
from manyheads.serve.schema import EmbeddingsRequest
from manyheads.tasks.sentence_embedding import SentenceEmbedding

E5 = {"query": "query: ", "passage": "passage: "}


def read(task: SentenceEmbedding, **row: object) -> list[str]:
    return [entry.source.first for entry in task.sources_of_example(task.read(row))]


def test_training_gives_first_texts_the_query_prompt_and_the_others_that_of_passages() -> None:
    task = SentenceEmbedding(name="x", prompts=E5)
    assert read(task, text_a="a", text_b="b") == ["query: a", "passage: b"]
    assert read(task, text_a="a", text_b="b", negative="c") == ["query: a", "passage: b", "passage: c"]
    assert read(task, text_a="a", text_b="b", score=1) == ["a", "b"]


def test_pairs_of_equals_get_the_default_prompt_and_so_does_a_role_without_its_own() -> None:
    task = SentenceEmbedding(name="x", prompts={"query": "q: "}, default_prompt_name="query")
    assert read(task, text_a="a", text_b="b", label="neutral") == ["q: a", "q: b"]
    assert read(task, text_a="a", text_b="b") == ["q: a", "q: b"]


@pytest.mark.parametrize(("row", "expected"), [
    ({}, "t"), ({"prompt_name": "query"}, "query: t"), ({"input_type": "search_query"}, "query: t"),
    ({"input_type": "search_document"}, "passage: t"), ({"input_type": "retrieval.passage"}, "passage: t"),
    ({"input_type": "passage"}, "passage: t"), ({"input_type": "clustering"}, "t"),
    ({"input_type": "document", "prompt_name": "query"}, "query: t"),
])  # fmt: skip
def test_a_row_asks_for_a_prompt_by_name_or_by_role(row: dict[str, str], expected: str) -> None:
    entry = SentenceEmbedding(name="x", prompts=E5).source_of_row({"text": "t", **row})
    assert entry is not None
    assert entry.source.first == expected


def test_an_unknown_prompt_is_refused_with_those_there_are(project: Path) -> None:
    with pytest.raises(RowError, match="task 'x' has no prompt 'q'; its prompts are query, passage"):
        SentenceEmbedding(name="x", prompts=E5).source_of_row({"text": "t", "prompt_name": "q"})
    with pytest.raises(RowError, match="its prompts are none; set `prompts` in the run file"):
        SentenceEmbedding(name="x").source_of_row({"text": "t", "prompt_name": "q"})
    with pytest.raises(ConfigError, match=r"default_prompt_name 'q' is none of the prompts \(there are none\)"):
        load_run(project, ["tasks.similarity.default_prompt_name=q"])


def test_the_bodies_of_other_servers_clients_ask_for_prompts() -> None:
    assert EmbeddingsRequest(input="a", prompt_name="query").rows == [{"text": "a", "prompt_name": "query"}]
    assert EmbeddingsRequest(input=["a"], input_type="search_query").rows == [{"text": "a", "input_type": "search_query"}]
    assert EmbeddingsRequest(input=["a"], task="retrieval.query").rows == [{"text": "a", "input_type": "retrieval.query"}]
