"""Hard negatives: the nearest passages that are no positives."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from manyheads.errors import RowError
from manyheads.inference.hard_negatives import Mining, hard_negatives
from manyheads.predict import Predictor

draw = np.random.default_rng(0)
TEXTS = [f"passage {i}" for i in range(40)]
QUERIES = [f"query {i}" for i in range(10)]
PAIRS = [{"text_a": query, "text_b": TEXTS[i]} for i, query in enumerate(QUERIES)]
VECTORS = {text: draw.normal(size=6) + (2 * draw.normal(size=6) if i < 10 else 0) for i, text in enumerate(TEXTS)}
VECTORS |= {query: VECTORS[TEXTS[i]] + draw.normal(size=6) for i, query in enumerate(QUERIES)}
VECTORS = {text: vector / np.linalg.norm(vector) for text, vector in VECTORS.items()}


class Fixed:
    """Answers each text with its vector, and remembers the roles asked for."""

    def __init__(self) -> None:
        self.roles: list[tuple[str, str]] = []

    def inputs_of(self, row: dict[str, str], names: Sequence[str]) -> dict[str, str]:
        self.roles.append((row["text"], row["input_type"]))
        return dict.fromkeys(names, row["text"])

    def answer(self, inputs: Sequence[dict[str, str]]) -> list[Any]:
        return [SimpleNamespace(answers={name: VECTORS[text] for name, text in entry.items()}) for entry in inputs]


def mined(pairs: list[dict[str, Any]], corpus: list[str] | None, **settings: Any) -> list[dict[str, Any]]:
    return hard_negatives(cast(Predictor, Fixed()), "t", pairs, corpus, Mining(**settings))


@pytest.mark.parametrize("settings", [
    {"num_negatives": 3, "range_min": 0, "range_max": 20, "relative_margin": 0.05},
    {"num_negatives": 2, "range_min": 2, "range_max": 9, "relative_margin": 0.3},
])  # fmt: skip
def test_negatives_score_less_than_the_positive_and_are_the_nearest_of_those(settings: dict[str, Any]) -> None:
    for row in mined(PAIRS, TEXTS, **settings):
        cosine = {text: float(VECTORS[row["query"]] @ VECTORS[text]) for text in TEXTS}
        right = cosine[row["positive"][0]]
        limit = right - settings["relative_margin"] * abs(right)
        others = sorted((text for text in TEXTS if text not in row["positive"]), key=lambda text: -cosine[text])
        window = others[settings["range_min"] : settings["range_max"]]
        assert row["negatives"] == [text for text in window if cosine[text] <= limit][: settings["num_negatives"]]


def test_positives_of_a_query_are_never_its_negatives_and_may_be_outside_of_the_corpus() -> None:
    pairs = [{"query": QUERIES[0], "positive": [TEXTS[0], TEXTS[5]]}, {"query": QUERIES[0], "positive": TEXTS[7]}]
    [row] = mined(pairs, TEXTS[5:20], num_negatives=99, relative_margin=-9)
    assert row["positive"] == [TEXTS[0], TEXTS[5], TEXTS[7]]
    assert set(row["negatives"]) == set(TEXTS[5:20]) - {TEXTS[5], TEXTS[7]}
    assert {text for row in mined(PAIRS, None, relative_margin=-9) for text in row["negatives"]} <= set(TEXTS[:10])


def test_queries_and_passages_are_embedded_as_such_and_a_bad_pair_is_refused() -> None:
    fixed = Fixed()
    hard_negatives(cast(Predictor, fixed), "t", PAIRS[:1], TEXTS[:3], Mining())
    assert fixed.roles == [(QUERIES[0], "query"), *((text, "passage") for text in TEXTS[:3])]
    with pytest.raises(RowError, match="pair 1: needs texts as text_a and text_b, or query and positive; seen "):
        mined([PAIRS[0], {"text_a": "x"}], TEXTS)
