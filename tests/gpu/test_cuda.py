"""What only a CUDA device can show: no wait in a step, attention over packs, compiled layers, answers in bf16."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

import manyheads as mh
from manyheads.nn.attention import can_attend_varlen
from manyheads.nn.cuda.compiled import can_compile
from manyheads.nn.encoder import pack_attention
from manyheads.predict import TorchBackend
from manyheads.text.pack import Segments
from manyheads.training.batches import prefetched
from manyheads.training.cuda.overlap import pinned
from toys import SENTENCES

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda")
TOKENS = 3000


@pytest.fixture
def waiting_fails() -> Iterator[None]:
    """Operations that wait for the device raise once `set_sync_debug_mode` is on; it is off afterwards."""
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
def test_steps_wait_for_nothing(gpu_mix: Any, tiny_folder: Path, waiting_fails: None, compiled: bool) -> None:
    if compiled and not can_compile():
        pytest.skip("needs Triton and a C compiler")
    made = gpu_mix.mix(tiny_folder, CUDA, TOKENS, compiled=compiled)
    assert made.trainer.deferred
    list(made.trainer.run(made.phase, 0, 6))  # compiles, and makes the optimizer's state
    packs = [made.trainer.batcher.batch(step) for step in range(3, 6)]  # whose shapes are compiled by now
    torch.cuda.set_sync_debug_mode("error")
    begun = [made.trainer._begin(made.phase, 3 + i, one, 0) for i, one in enumerate(packs)]
    records = [made.trainer._end(one) for one in begun]
    torch.cuda.set_sync_debug_mode("default")
    assert all(np.isfinite(list(record.losses.values())).all() for record in records)


def test_batches_come_in_pinned_memory(gpu_mix: Any, tiny_folder: Path) -> None:
    made = gpu_mix.mix(tiny_folder, CUDA, TOKENS, compiled=False)
    [[batch]] = prefetched(made.trainer.batcher, 0, 1, pinned)
    assert batch.pack.ids_T.is_pinned()
    assert batch.pack.segments.bounds_S1.is_pinned()
    assert batch.targets["similarity"]["a_B"].is_pinned()


def test_records_that_come_late_tell_the_same(gpu_mix: Any, tiny_folder: Path) -> None:
    records = []
    for behind in (True, False):
        made = gpu_mix.mix(tiny_folder, CUDA, TOKENS, compiled=False, dropout=False)
        made.trainer.deferred = behind
        records.append(list(made.trainer.run(made.phase, 0, 5)))
    for late, at_once in zip(*records, strict=True):
        assert (late.step, late.tokens, late.weights) == (at_once.step, at_once.tokens, at_once.weights)
        assert late.losses == pytest.approx(at_once.losses, rel=0.02, abs=0.01)


@pytest.mark.parametrize("window", [None, 16])
@pytest.mark.parametrize("lengths", [[5, 64, 130, 1, 17], [200], [64] * 16])
def test_attention_over_packs_is_that_of_the_cpu(lengths: list[int], window: int | None) -> None:
    torch.manual_seed(0)
    rows = [torch.randn(1, 4, sum(lengths), 64) for _ in range(3)]
    module = torch.nn.Identity()
    expected, _ = pack_attention(
        module, *rows, None, segments=Segments.of(lengths), scaling=0.125, sliding_window=window
    )
    half = [row.to(CUDA, torch.bfloat16).requires_grad_() for row in rows]
    segments = Segments.of(lengths, CUDA)
    serves = can_attend_varlen(half[0][0].transpose(0, 1))
    assert serves == (torch.cuda.get_device_capability() >= (8, 0)), "flash attention serves from Ampere on"
    found, _ = pack_attention(module, *half, None, segments=segments, scaling=0.125, sliding_window=window)
    torch.testing.assert_close(found.float().cpu(), expected, rtol=0.05, atol=0.02)
    found.float().square().sum().backward()
    full = [row.requires_grad_() for row in rows]
    again, _ = pack_attention(module, *full, None, segments=Segments.of(lengths), scaling=0.125, sliding_window=window)
    again.square().sum().backward()
    for one, other in zip(half, full, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert float((one.grad.float().cpu() - other.grad).norm() / (other.grad.norm() + 1e-6)) < 0.03


def test_compiled_layers_give_the_losses_of_plain_ones_and_compile_few_shapes(gpu_mix: Any, tiny_folder: Path) -> None:
    if not can_compile():
        pytest.skip("needs Triton and a C compiler")
    losses = []
    for compiled in (False, True):
        torch._dynamo.reset()
        counters.clear()
        made = gpu_mix.mix(tiny_folder, CUDA, TOKENS, compiled=compiled, dropout=False)
        records, graphs = [], []
        for record in made.trainer.run(made.phase, 0, 20):
            records.append(record.losses)
            graphs.append(counters["stats"]["unique_graphs"])
        losses.append(records)
    shapes = len({made.trainer.batcher.batch(step)[0].pack.tokens for step in range(20)})
    assert 0 < graphs[-1] <= 5 * shapes
    for plain, other in zip(*losses, strict=True):
        assert other == pytest.approx(plain, rel=0.02, abs=0.01)


def test_losses_in_float32_are_those_of_the_cpu(gpu_mix: Any, tiny_folder: Path) -> None:
    records = []
    for device in (torch.device("cpu"), CUDA):
        made = gpu_mix.mix(tiny_folder, device, 1000, compiled=False, dropout=False, precision="float32")
        records.append(list(made.trainer.run(made.phase, 0, 5)))
    for cpu, cuda in zip(*records, strict=True):
        assert cuda.losses == pytest.approx(cpu.losses, rel=1e-3, abs=1e-4)


def test_answers_are_float32_and_those_of_the_cpu(gpu_mix: Any, tiny_folder: Path) -> None:
    made = gpu_mix.mix(tiny_folder, torch.device("cpu"), TOKENS, compiled=False)
    batcher = made.trainer.batcher
    sources = [batcher.feeds[1].task.sources_of_example(batcher.feeds[1].table[i])[0].source for i in range(20)]
    encodings = [windows[0] for windows in batcher.tokenizer.encode(sources, 128)]
    names = ["section", "similarity", "entities"]
    outputs = [TorchBackend(made.trainer.model, device).run(encodings, names) for device in (torch.device("cpu"), CUDA)]
    for name in names:
        for key, expected in outputs[0][name].items():
            found = outputs[1][name][key]
            assert found.dtype == np.float32
            assert np.abs(found - expected).max() < 0.05 * max(1.0, float(np.abs(expected).max()))


def test_a_loaded_model_moves_there_and_back_with_its_module(young_model: Path) -> None:
    expected = mh.load(young_model)
    model = mh.load(young_model, device="auto", precision="float32")
    assert model.device.startswith("cuda")
    states = [found.vectors for found in expected.hidden_states(SENTENCES)]
    ids = torch.tensor([[2, 9, 8, 3], [2, 7, 3, 0]])
    with torch.no_grad():
        logits = expected.torch_module(ids, (ids > 0).long())["section"]["logits_SK"]
        for device in ("cuda", "cpu", "cuda"):
            given = ids.to(model.to(device).device)
            found = model.torch_module(given, (given > 0).long())["section"]["logits_SK"]
            assert found.cpu().numpy() == pytest.approx(logits.numpy(), abs=1e-3)
            for one, two in zip(model.hidden_states(SENTENCES), states, strict=True):
                assert one.vectors == pytest.approx(two, abs=1e-3)
            assert model.predict_proba(SENTENCES) == pytest.approx(expected.predict_proba(SENTENCES), abs=1e-3)
