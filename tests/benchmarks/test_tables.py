"""The benchmarks' tables say what their figures are, fall short aloud, and leave out nothing silently."""

import json
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MACHINE = {"cpu": "a processor", "cores": 2, "threads": 2, "torch": "2"}


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module("speed")


@pytest.fixture
def scaling(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module("scaling")


@pytest.fixture
def cold_start(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module("cold_start")


def row_of(lines: list[str], start: str) -> str:
    return next(line for line in lines if line.startswith(f"| {start} |"))


def test_every_figure_stands_beside_its_bound_and_says_when_it_misses_it(speed: ModuleType) -> None:
    parts: dict[str, Any] = {
        "inference": {
            "pipelines_over_ours": 6.0,
            "one_more_head": 1.031,
            "share_of_peak_embeddings": 0.849,
            "quick": False,
        },
        "training": {"ours_over": {"per task": 1.51, "mixed over tasks": 2.4}, "quick": True},
        "cold": {"commands": {"predict, PyTorch": {"median_s": 3.5, "peak_memory_mb": 446}}},
    }
    lines = list(speed.table({"parts": parts}))
    assert len(lines) == 2 + len(speed.ROWS)
    assert row_of(lines, "four heads, over three pipelines + encode").endswith("| 6.00x | 6x |")
    assert row_of(lines, "one more head: time added").endswith("| +3.1 % (missed) | at most +3.0 % |")
    assert row_of(lines, "share of peak, inference (embedding)").endswith("| 84.9 % (missed) | 85 % |")
    assert row_of(lines, "training, over Trainer, batches per task").endswith("| 1.51x (quick run) | 1.5x |")
    assert row_of(lines, "training, over Trainer, mixed batches").endswith("| 2.40x (missed, quick run) | 2.5x |")
    assert row_of(lines, "heads only, epoch 2 on, over everything").endswith("| not measured | 20x |")
    assert row_of(lines, "cold predict of one text").endswith("| 3.50 s (missed) | at most 2.5 s |")
    assert row_of(lines, "peak memory, cold predict").endswith("| 446 MB |  |")


def test_every_row_names_a_key_that_its_script_writes(speed: ModuleType) -> None:
    for row in speed.ROWS:
        source = (BENCHMARKS / speed.PARTS[row.part].script).read_text(encoding="utf-8")
        assert all(f'"{key}"' in source for key in row.place), row.what


def test_parts_are_kept_only_if_the_machine_is_the_same(speed: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "results" / "speed.json"
    assert speed.kept_parts(path, MACHINE) == {}
    speed.write(path, {"machine": MACHINE, "parts": {"cold": {"median_s": 3.0}}})
    assert speed.kept_parts(path, MACHINE) == {"cold": {"median_s": 3.0}}
    assert speed.kept_parts(path, {**MACHINE, "threads": 1}) == {}


def test_scaling_is_tabled_and_drawn_also_with_parts_missing(scaling: ModuleType, tmp_path: Path) -> None:
    points = [scaling.point(8, 1000, [1.0, 2.0, 4.0]), scaling.point(16, 1000, [1.0])]
    rows = [{**scaling.point(1000, 8000, [4.0]), "peak_memory_mb": 512}]
    result = {"machine": MACHINE, "parts": {"length": {"points": points}, "rows": {"points": rows}}}
    lines = list(scaling.table(json.loads(json.dumps(result))))
    assert "| 8 | 500 (250 to 1,000) |" in lines
    assert "| 1,000 | 2,000 (2,000 to 2,000) | 512 MB |" in lines
    assert not any(line.startswith("| heads") for line in lines)
    scaling.draw(tmp_path / "scaling.png", result)
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_points_are_measured_equally_often_and_in_both_orders(scaling: ModuleType) -> None:
    order: list[int] = []
    calls = {x: lambda x=x: order.append(x) for x in (1, 2, 3)}
    points = scaling.in_turn(calls, {1: 10, 2: 20, 3: 30}, 2)
    assert order == [1, 2, 3, 3, 2, 1, 1, 2, 3]
    assert [(p["x"], p["tokens"]) for p in points] == [(1, 10), (2, 20), (3, 30)]


REPORT = """import time: self [us] | cumulative | imported package
import time:       100 |        100 |     numpy.core
import time:        50 |        150 |   numpy
import time:        10 |         10 |       torch.nn
import time:         5 |         15 |     numpy.linalg
import time:       200 |        215 |   torch
import time:        30 |        395 | manyheads.api
a warning
"""


def test_cumulative_time_counts_a_package_inside_itself_once(cold_start: ModuleType) -> None:
    found = cold_start.packages_of(REPORT)
    assert list(found) == ["manyheads", "torch", "numpy"]
    assert found["manyheads"] == pytest.approx((395e-6, 30e-6))
    assert found["torch"] == pytest.approx((215e-6, 210e-6)), "torch.nn was imported inside torch"
    assert found["numpy"] == pytest.approx((165e-6, 155e-6))


def test_cold_start_is_tabled_with_its_bound(cold_start: ModuleType) -> None:
    slow = {"median_s": 2.7, "spread_s": [2.6, 2.9], "processor_s": 2.4, "peak_memory_mb": 446}
    served = {"median_s": 3.0, "spread_s": [2.9, 3.1], "processor_s": 4.0, "peak_memory_mb": None}
    result = {
        "runs": 5, "commands": {"predict, PyTorch": slow, "serve, PyTorch": served},
        "stages_s": {"import torch": 1.9, "first pass": 0.1},
        "packages": [{"name": "torch", "cumulative_s": 1.9, "own_s": 1.5}],
    }  # fmt: skip
    lines = list(cold_start.table(result))
    assert "| predict, PyTorch | 2.70 (2.60 to 2.90) | 2.40 | 2.5 | NO | 446 MB |" in lines
    assert "| serve, PyTorch | 3.00 (2.90 to 3.10) | 4.00 | 4 | yes | - |" in lines
    assert "| all stages | 2.000 |" in lines
    assert "| torch | 1.900 | 1.500 |" in lines


def test_peak_memory_is_the_child_s_own(cold_start: ModuleType) -> None:
    import sys

    held = bytearray(120_000_000)  # this process is large, the one that is measured is not
    seconds, peak_mb, processor_s = cold_start.measured([sys.executable, "-I", "-S", "-c", "pass"])
    assert len(held) == 120_000_000
    assert 0 < seconds < 60
    assert 0 < processor_s < 60
    assert 1 < peak_mb < 60
