"""What all loaded models have in common, whether they run on PyTorch or ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.bundle.manifest import manifest_hash
from manyheads.errors import BundleError

if TYPE_CHECKING:
    from manyheads.predict import Backend
    from manyheads.tasks.base import Task
    from manyheads.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class LoadedFolder:
    """A folder that has been read: everything but what runs the model. Abstract: see `Bundle` and `ExportedBundle`."""

    folder: Path
    manifest: Mapping[str, Any]
    tasks: Mapping[str, Task[Any]]
    tokenizer: Tokenizer
    max_length: int

    @property
    def hash(self) -> str:
        """Sha256 of the manifest; it identifies the model."""
        return manifest_hash(self.manifest)


def check_answers(loaded: LoadedFolder, backend: Backend, failures: tuple[type[Exception], ...]) -> None:
    """Raise BundleError unless all heads answer a short text, and a pair, with finite numbers.

    One pass of a few milliseconds finds what reading the files cannot: weights that are too large, settings under which a
    layer breaks, windows without room. `failures`: what the backend raises for a damaged model.
    """
    from manyheads.text.pack import Source

    try:
        for source in (Source("the 1 a 一"), Source("the 1", "a 一")):
            windows = loaded.tokenizer.encode([source], loaded.max_length)[0]
            for name, output in backend.run(windows, list(loaded.tasks)).items():
                if not all(np.isfinite(value).all() for value in output.values()):
                    raise BundleError(f"{loaded.folder}: task '{name}' gives numbers that are not finite, so its weights or "
                                      "settings are damaged; copy the folder again, or write it again")  # fmt: skip
    except BundleError:
        raise
    except failures as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise BundleError(f"{loaded.folder} cannot answer a text of four words ({reason}); it is damaged") from None
