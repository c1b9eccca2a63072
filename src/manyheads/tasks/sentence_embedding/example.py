"""Pairs of texts, with what training and scoring compare their similarity to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from manyheads.errors import RowError
from manyheads.tasks.base import Row
from manyheads.text.values import check_spelling, is_missing, number_of, optional_text

Form = Literal["scored", "positives", "triplets", "nli"]

NLI_LABELS = ("contradiction", "entailment", "neutral")
NLI_SIMILARITY = {"contradiction": 0.0, "neutral": 0.5, "entailment": 1.0}
"""Gold similarities of NLI labels, by which embeddings are scored on them."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts, and a score, a label or a hard negative, depending on the form."""

    text_a: str
    text_b: str
    form: Form
    negative: str | None = None
    score: float | None = None
    label: str | None = None

    @property
    def gold(self) -> float | None:
        """Gold similarity, if known."""
        return NLI_SIMILARITY[self.label] if self.label else self.score


def read_pair(row: Row) -> Pair:
    """`text_a`, `text_b`, and `score`, `negative`, `label` or none of these. Raises RowError."""
    texts: dict[str, Any] = {}
    for key in ("text_a", "text_b"):
        text = row.get(key)
        if not isinstance(text, str) or not text.strip():
            raise RowError(
                f"'{key}' is empty or missing" if text in (None, "") else f"'{key}' must be a text, seen {text!r}"
            )
        texts[key] = text
    if not is_missing(row.get("score")):
        return Pair(**texts, form="scored", score=number_of(row["score"], "score"))
    if not is_missing(row.get("label")):
        return Pair(**texts, form="nli", label=nli_label(row["label"]))
    negative = optional_text(row.get("negative"), "negative")
    if negative is None:
        if "score" in row or "label" in row:
            raise RowError("has an empty 'score' or 'label'; fill it in or leave the column out")
        check_spelling(row, ("score", "label", "negative"))
        return Pair(**texts, form="positives")
    return Pair(**texts, form="triplets", negative=negative)


def nli_label(value: Any) -> str:
    """An NLI label in lower case. Raises RowError for any other value.

    >>> nli_label("Entailment ")
    'entailment'
    """
    label = str(value).strip().lower()
    if label not in NLI_LABELS:
        raise RowError(f"NLI label {value!r} is not one of {', '.join(NLI_LABELS)}")
    return label


def gold_similarities(examples: Sequence[Pair]) -> list[float] | None:
    """Gold similarity of each pair; None unless all have one."""
    golds = [example.gold for example in examples]
    known = [float(gold) for gold in golds if gold is not None]
    return known if len(known) == len(golds) else None


def candidate_texts(examples: Sequence[Pair]) -> list[str]:
    """Texts among which partners are searched: second texts in order, then hard negatives."""
    return [e.text_b for e in examples] + [e.negative for e in examples if e.negative is not None]


def text_identity(text: str) -> int:
    """A 63-bit hash of a text, equal in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1
