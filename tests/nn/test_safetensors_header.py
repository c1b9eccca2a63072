"""Headers of safetensors files: what the library writes is read, what it would refuse is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hostile.of_weights import DEFECTS
from manyheads.nn.safetensors_header import TensorInfo, read_header

GOOD = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1), "c": torch.zeros(0, 4, dtype=torch.bfloat16)}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    save_file(GOOD, path, metadata={"format": "pt"})
    return path


def test_what_the_library_writes_is_read(written: Path) -> None:
    found = read_header(written)
    assert found == {"a.weight": TensorInfo("F32", (2, 3)), "b": TensorInfo("I64", ()), "c": TensorInfo("BF16", (0, 4))}
    assert [found[name].numbers for name in ["a.weight", "b", "c"]] == [6, 1, 0]


SLOW = "header-300000-tensors"  # ten seconds
NAMES = [name for name in DEFECTS if name != "header-of-100-mb"]


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] if name == SLOW else []) for name in NAMES])
def test_whatever_the_library_refuses_is_refused(name: str, written: Path, tmp_path: Path) -> None:
    save_file({"x": torch.ones(4, 8), "y": torch.ones(16, 2), "z": torch.ones(3)}, written)
    written.write_bytes(DEFECTS[name][0](written.read_bytes(), tmp_path))
    try:
        shapes = {key: tuple(value.shape) for key, value in load_file(written).items()}
    except (SafetensorError, ValueError, OverflowError, OSError, TypeError):
        with pytest.raises(ValueError):  # noqa: PT011  one of many sentences
            read_header(written)
        return
    try:
        assert {key: tensor.shape for key, tensor in read_header(written).items()} == shapes
    except ValueError:
        assert name in (
            "header-keys-twice",
            "header-300000-tensors",
            "metadata-of-numbers",
            "header-past-the-end",
            "shape-of-10000-axes",
            "dtype-unknown",
        )  # fmt: skip  stricter than the library


def test_bytes_between_tensors_are_noticed(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(ValueError, match=r"is damaged .*invalid offset for tensor `a`"):
        read_header(path)
