"""The search benchmark: BM25 by its formula, and folds that never test what they train on."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return import_module("search")


def test_bm25_is_its_formula(search: ModuleType) -> None:
    found = search.BM25(["wing flow wing", "flow of heat", "heat"]).scores("wing flow, wing")
    idf_wing, idf_flow = math.log(1 + 2.5 / 1.5), math.log(1 + 1.5 / 2.5)

    def part(count: int, length: int) -> float:
        return count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / (7 / 3)))

    assert found == pytest.approx([2 * idf_wing * part(2, 3) + idf_flow * part(1, 3), idf_flow * part(1, 3), 0])


def test_each_query_is_tested_once_by_what_never_saw_it(search: ModuleType) -> None:
    folds = search.folds_of(10, 3)
    assert sorted(q for fold in folds for q in fold.tested) == list(range(10))
    for fold in folds:
        assert not set(fold.tested) & set(fold.training)
        assert len(fold.tested) + len(fold.training) == 10
    parts = [np.full((len(fold.tested), 2), fold.number) for fold in folds]
    assert search.assembled(folds, parts)[:, 0].tolist() == [q % 3 for q in range(10)]
