"""The torch backend: the CPU computes in float32 unless told otherwise, half precision stays inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from manyheads.predict import Precision, TorchBackend
from manyheads.text.pack import LEAST_STEP, Pack, Segments, eighth_of
from plans import plan
from toys import SENTENCES

CPU = torch.device("cpu")


def test_outputs_are_float32_whatever_is_computed_in(project: Path) -> None:
    made = plan(project)
    sources = [entry.source for text in SENTENCES if (entry := made.tasks["section"].source_of_row({"text": text})) is not None]
    encodings = [windows[0] for windows in made.tokenizer.encode(sources, 48)]
    plain = TorchBackend(made.model, CPU).run(encodings, list(made.tasks))
    float32 = TorchBackend(made.model, CPU, "float32").run(encodings, list(made.tasks))
    rounded = TorchBackend(made.model, CPU, "bf16")
    half = rounded.run(encodings, list(made.tasks))
    kept = [module for module in made.model.encoder.modules() if isinstance(module, torch.nn.Linear)]
    assert all(layer.weight.dtype == torch.bfloat16 for layer in kept)
    assert all(weight.dtype == torch.float32 for weight in made.model.heads.parameters())
    assert all(np.array_equal(float32[name][key], plain[name][key]) for name in plain for key in plain[name])
    for name, outputs in plain.items():
        for key, expected in outputs.items():
            found = half[name][key]
            assert found.dtype == expected.dtype == np.float32
            assert np.abs(found - expected).max() < 0.05 * max(1.0, float(np.abs(expected).max()))
    assert not np.array_equal(half["section"]["logits_SK"], plain["section"]["logits_SK"])


def test_in_bf16_packs_come_in_few_shapes_and_heads_read_real_tokens_in_float32(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(project)
    entry = made.tasks["section"].source_of_row({"text": " ".join(SENTENCES)})
    assert entry is not None
    [windows] = made.tokenizer.encode([entry.source], 24)
    shapes, read = [], []
    forward = made.model.encoder.forward

    def noted(pack: Pack) -> torch.Tensor:
        shapes.append(pack.tokens)
        return forward(pack)

    def seen(head: torch.nn.Module, given: tuple[torch.Tensor, Segments]) -> None:
        read.append((len(given[0]), given[0].dtype, torch.is_autocast_enabled("cpu")))

    monkeypatch.setattr(made.model.encoder, "forward", noted)
    for head in made.model.heads.values():
        head.register_forward_pre_hook(seen)
    assert len(windows) > 2
    forms: tuple[tuple[Precision, bool], ...] = (("float32", False), ("bf16", True))
    for precision, filled in forms:
        backend = TorchBackend(made.model, CPU, precision)
        for count in range(1, len(windows) + 1):
            shapes.clear(), read.clear()
            outputs = backend.run(windows[:count], list(made.tasks))
            tokens = sum(map(len, windows[:count]))
            assert shapes == [tokens + -tokens % eighth_of(tokens) if filled else tokens]
            assert read == [(tokens, torch.float32, False)] * len(made.tasks)
            assert len(outputs["section"]["logits_SK"]) == count


def test_in_bf16_private_layers_meet_the_shapes_of_the_pack(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(project, "sharing.shared_layers=1")
    entry = made.tasks["section"].source_of_row({"text": " ".join(SENTENCES)})
    assert entry is not None
    [windows] = made.tokenizer.encode([entry.source], 23)
    assert sum(map(len, windows)) % LEAST_STEP, "there is a tail"
    shapes = []
    for encoder in made.model.branch_encoders.values():
        layers = encoder.layers

        def noted(hidden_TD: torch.Tensor, *rest: Any, layers: Callable[..., torch.Tensor] = layers) -> torch.Tensor:
            shapes.append(len(hidden_TD))
            return layers(hidden_TD, *rest)

        monkeypatch.setattr(encoder, "layers", noted)
    outputs = TorchBackend(made.model, CPU, "bf16").run(windows, list(made.tasks))
    tokens = sum(map(len, windows))
    assert shapes == [tokens + -tokens % eighth_of(tokens)] * len(made.model.branch_encoders)
    assert len(outputs["section"]["logits_SK"]) == len(windows)


def test_an_autocast_region_around_it_is_left_as_it_is(project: Path) -> None:
    made = plan(project)
    entry = made.tasks["section"].source_of_row({"text": SENTENCES[0]})
    assert entry is not None
    [windows] = made.tokenizer.encode([entry.source], 48)
    backend = TorchBackend(made.model, CPU)
    with torch.autocast("cpu", torch.bfloat16):
        inside = backend.run(windows, ["section"])
    assert not np.array_equal(inside["section"]["logits_SK"], backend.run(windows, ["section"])["section"]["logits_SK"])
