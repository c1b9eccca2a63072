"""The torch backend: the CPU computes in float32, half precision stays inside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from manyheads.predict import TorchBackend
from plans import plan
from toys import SENTENCES

CPU = torch.device("cpu")


def test_outputs_are_float32_whatever_is_computed_in(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(project)
    sources = [ask.source for text in SENTENCES if (ask := made.tasks["section"].ask({"text": text})) is not None]
    encodings = [windows[0] for windows in made.tokenizer.encode(sources, 48)]
    backend = TorchBackend(made.model, CPU)
    assert not backend._half
    plain = backend.run(encodings, list(made.tasks))
    monkeypatch.setattr(backend, "_half", True)  # on a CPU nothing sets it, but it runs there as on a GPU
    half = backend.run(encodings, list(made.tasks))
    for name, outputs in plain.items():
        for key, expected in outputs.items():
            found = half[name][key]
            assert found.dtype == expected.dtype == np.float32
            assert np.abs(found - expected).max() < 0.05 * max(1.0, float(np.abs(expected).max()))
    assert not np.array_equal(half["section"]["logits_SK"], plain["section"]["logits_SK"])


def test_an_autocast_region_around_it_is_left_as_it_is(project: Path) -> None:
    made = plan(project)
    ask = made.tasks["section"].ask({"text": SENTENCES[0]})
    assert ask is not None
    [windows] = made.tokenizer.encode([ask.source], 48)
    backend = TorchBackend(made.model, CPU)
    with torch.autocast("cpu", torch.bfloat16):
        inside = backend.run(windows, ["section"])
    assert not np.array_equal(inside["section"]["logits_SK"], backend.run(windows, ["section"])["section"]["logits_SK"])
