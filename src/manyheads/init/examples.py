"""Example projects."""
from pathlib import Path


def write_example(name: str, output: Path | None) -> Path:
    raise NotImplementedError
