"""The assembly that GPU tests and benchmarks share runs on any machine, so that nothing but the device is new there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def test_the_mix_trains_on_a_cpu(gpu_mix: Any, tiny_folder: Path) -> None:
    made = gpu_mix.mix(tiny_folder, torch.device("cpu"), 600, compiled=False)
    [record] = made.trainer.run(made.phase, 0, 1)
    assert set(record.losses) == set(gpu_mix.TASKS)
    lengths = made.trainer.batcher.batch(0)[0].pack.segments.lengths
    assert min(lengths) < 30 < 100 < max(lengths)
