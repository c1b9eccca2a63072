"""What the GPU tests run on is assembled without a run file, as in the GPU benchmarks; without CUDA all are skipped."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")


@pytest.fixture(autouse=True)
def _on_cuda(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(scope="session")
def gpu_mix() -> Iterator[Any]:
    """The module `benchmarks/gpu_mix.py`."""
    sys.path.insert(0, BENCHMARKS)
    try:
        import gpu_mix as module

        yield module
    finally:
        sys.path.remove(BENCHMARKS)


@pytest.fixture(scope="session")
def tiny_folder(gpu_mix: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers."""
    return gpu_mix.encoder_folder(tmp_path_factory.mktemp("encoder"), tiny=True)
