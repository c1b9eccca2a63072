"""Chats and instructions are refused in words that say what a row is here; answers that are labels are proposed as such."""

from __future__ import annotations

import pytest

from datafiles import NER, PAIRS, QA, TEXT, jsonl, refusal_of
from manyheads.cli import main

CHAT = [{"messages": [{"role": "user", "content": f"Is {i} odd?"}, {"role": "assistant", "content": f"Word {i}."}]} for i in range(9)]
SHAREGPT = [{"id": i, "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": f"Hello {i}!"}]} for i in range(9)]
ALPACA = [{"instruction": "Write a line.", "input": "", "output": f"The {i}th line of a longer text, which no label is."} for i in range(9)]
PROMPTS = [{"prompt": f"Tell me about {i}", "completion": f"There is {i}, which is a number of some interest."} for i in range(9)]


@pytest.mark.parametrize(("rows", "what"), [(CHAT, "chat messages ('messages')"), (SHAREGPT, "chat messages ('conversations')"),
                                            (ALPACA, "instructions with answers ('instruction', 'output')"),
                                            (PROMPTS, "instructions with answers ('prompt', 'completion')")])  # fmt: skip
def test_chats_and_instructions_are_refused_with_what_a_row_is_here(write, rows, what):
    said = f"a.jsonl:1: has {what}, from which a model learns to write; tasks here learn labels of texts: write a row for each text, "
    assert refusal_of(write("a.jsonl", jsonl(*rows)), TEXT) == said + '{"text": ..., "label": ...}, with the message or answer in question as the text'
    assert '{"tokens": ..., "tags": ...}' in refusal_of(write("a.jsonl", jsonl(*rows)), NER)


def test_init_skips_chats_with_the_same_reason(write, capsys):
    write("a.jsonl", jsonl(*CHAT))
    assert main(["init", "a.jsonl"]) == 2
    assert "it has chat messages ('messages'), from which a model learns to write" in capsys.readouterr().err


def test_answers_that_are_labels_or_texts_that_pair_are_proposed(write):
    rows = [{"instruction": "What is the mood?", "input": f"It was a {word} day {i}.", "output": word} for i, word in enumerate(["good", "bad"] * 9)]
    path = write("a.jsonl", jsonl(*rows))
    assert refusal_of(path, TEXT).endswith("write columns: {text: input, label: output}")
    answers = [{"prompt": f"Who is number {i}?", "response": f"Number {i} is Ada Byron."} for i in range(9)]
    assert "write columns: {text_a: prompt, text_b: response}" in refusal_of(write("b.jsonl", jsonl(*answers)), PAIRS)
    assert "has instructions with answers" in refusal_of(write("b.jsonl", jsonl(*answers)), QA)
