"""Prompts: texts put before a text to tell the encoder what it is: `query: `, `passage: ` (Wang et al. 2022, E5).

Decided here: names are those of sentence-transformers. The prompt `query` is that of questions; that of passages is called
`document`, `passage` or `corpus`, whichever is there first. A role without its own prompt gets the default one. Training
data with positives or hard negatives are pairs of a query and its passage; pairs with scores or NLI labels are two texts of
one kind, and both get the default prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from manyheads.errors import RowError
from manyheads.tasks.base import Row
from manyheads.tasks.sentence_embedding.example import Pair

if TYPE_CHECKING:
    from manyheads.tasks.sentence_embedding.pairs import PairTask

QUERY = ("query",)
PASSAGE = ("document", "passage", "corpus")
ROLES: Mapping[str, tuple[str, ...]] = {
    "query": QUERY, "search_query": QUERY, "retrieval.query": QUERY,
    "document": PASSAGE, "passage": PASSAGE, "search_document": PASSAGE, "retrieval.passage": PASSAGE,
}  # fmt: skip
"""Prompts by what clients of Cohere, Jina, Voyage and NVIDIA send as `input_type` or `task`."""


def default_prompt(task: PairTask) -> str:
    """The prompt of a text without one of its own; empty if there is none."""
    return task.prompts[task.default_prompt_name] if task.default_prompt_name is not None else ""


def role_prompt(task: PairTask, names: Sequence[str]) -> str:
    """The prompt with the first of these names that the task has, or else the default one."""
    return next((task.prompts[name] for name in names if name in task.prompts), default_prompt(task))


def prompted_texts(task: PairTask, example: Pair) -> list[str]:
    """The texts of a pair as the encoder reads them: the first, the second, and the hard negative if there is one."""
    texts = [example.text_a, example.text_b, *([example.negative] if example.negative is not None else [])]
    if example.form not in ("positives", "triplets"):
        return [default_prompt(task) + text for text in texts]
    query, passage = role_prompt(task, QUERY), role_prompt(task, PASSAGE)
    return [(passage if i else query) + text for i, text in enumerate(texts)]


def prompt_of_row(task: PairTask, row: Row) -> str:
    """The prompt that a row asks for: by name (`prompt_name`), or by role (`input_type`; an unknown one is the default).

    Raises RowError for a name that the task does not have.
    """
    name = row.get("prompt_name")
    if name is None:
        role = row.get("input_type")
        return role_prompt(task, (role, *ROLES.get(role, ()))) if isinstance(role, str) else default_prompt(task)
    if name not in task.prompts:
        known = ", ".join(task.prompts) or "none; set `prompts` in the run file"
        raise RowError(f"task '{task.name}' has no prompt {name!r:.80}; its prompts are {known}")
    return task.prompts[name]


def exported_prompts(task: PairTask) -> dict[str, str]:
    """The prompts for sentence-transformers, that of passages also as `document`, which its `encode_document` takes first."""
    passage = next((task.prompts[name] for name in PASSAGE if name in task.prompts), None)
    return {**task.prompts, **({} if passage is None else {"document": passage})}
