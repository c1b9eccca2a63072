"""The output of frozen layers for each training sequence, kept on disk, so that later epochs start above them.

A frozen layer has no dropout and its weights do not change: its output for a sequence is the same in every epoch. It is
computed once, stored under a digest of the sequence, and read back. Decided here:
- One folder for each encoder and number of layers, named by the hash of the weights below; runs on the same data share it.
- A run appends to its own segment (`.bin`, float32) and lists its content in an index that appears by renaming. So runs
  never write into one another's files, and segments that a killed run left without an index are not read.
- The digest is 16 bytes of blake2b of token ids and types. The position in the text plays no part.
- The store stops growing at a limit; sequences past it are computed every time, and the user gets one message.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch

from manyheads.nn.encoder import Encoder
from manyheads.text.pack import Pack

BYTES = 4
"""Of a float32."""
KEPT_S = 30 * 24 * 3600
"""Unused folders are removed after so many seconds."""
LEFT_S = 24 * 3600
"""After so many seconds a segment without an index belongs to a killed run."""
INDEX_EVERY = 2_000
"""Sequences between two writes of the index."""

Digest = bytes


def layers_key(encoder: Encoder, layer: int, precision: str = "float32") -> str:
    """A sha256 of all that the output of the first `layer` layers depends on: weights, embeddings and configuration."""
    digest = hashlib.sha256(json.dumps(encoder.config.to_dict(), sort_keys=True, default=str).encode())
    digest.update(f"{layer} {precision}".encode())
    for module in (encoder.embedding_module(), *encoder.layer_modules()[:layer]):
        for name, value in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def digests_of(pack: Pack) -> list[Digest]:
    """The digest of each sequence of a pack on the CPU."""
    ids_T, type_T = pack.ids_T.numpy(), pack.type_T.numpy()
    return [
        hashlib.blake2b(ids_T[part].tobytes() + b"|" + type_T[part].tobytes(), digest_size=16).digest()
        for part in pack.segments.slices()
    ]


class FrozenStore:
    """Hidden states by sequence, on disk. Each process writes through its own object; any number may share a folder."""

    def __init__(self, folder: Path, width: int, limit_bytes: int) -> None:
        """Open or create the folder of one `layers_key`. Raises OSError.

        `limit_bytes`: of the whole folder, other runs' segments included.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.width = width
        self.limit_bytes = limit_bytes
        self.full = False
        self._places: dict[Digest, tuple[int, int, int]] = {}
        self._files: list[int] = []
        self._own: dict[Digest, tuple[int, int]] = {}
        self._unindexed = 0
        self._end = 0
        self._name = folder / f"{uuid4().hex}.bin"
        self._used = 0
        for index in sorted(folder.glob("*.json")):
            self._open(index)
        self._drop_leftovers()
        self._own_file: int | None = None

    def __len__(self) -> int:
        """Sequences that can be read."""
        return len(self._places)

    def known(self, digests: Sequence[Digest]) -> list[bool]:
        """Whether each can be read."""
        return [digest in self._places for digest in digests]

    def read(self, digests: Sequence[Digest]) -> torch.Tensor:
        """Their states end to end, `(T, D)`. Raises KeyError for a missing one, OSError when the disk fails."""
        places = [self._places[digest] for digest in digests]
        out_TD = np.empty((sum(length for _, _, length in places), self.width), np.float32)
        start = 0
        for file, offset, length in places:
            size = length * self.width * BYTES
            seen = os.preadv(self._files[file], [out_TD[start : start + length].data.cast("B")], offset)
            if seen != size:
                raise OSError(f"{self.folder} is truncated: {seen} bytes where {size} were written; delete the folder")
            start += length
        return torch.from_numpy(out_TD)

    def write(self, digests: Sequence[Digest], hidden_TD: torch.Tensor, lengths: Sequence[int]) -> None:
        """Store the states of sequences, which lie end to end. Does nothing once the limit is reached."""
        start = 0
        for digest, length in zip(digests, lengths, strict=True):
            rows = hidden_TD[start : start + length]
            start += length
            size = length * self.width * BYTES
            if digest in self._places:
                continue
            if self._used + size > self.limit_bytes:
                self.full = True
                return
            try:
                self._append(np.ascontiguousarray(rows.numpy(), np.float32).tobytes())
            except OSError:  # a full disk: what is stored can still be read
                self.full = True
                return
            self._places[digest] = (len(self._files) - 1, self._end, length)
            self._own[digest] = (self._end, length)
            self._end += size
            self._used += size
            self._unindexed += 1
        if self._unindexed >= INDEX_EVERY:
            self.flush()

    def _append(self, values: bytes) -> None:
        if self._own_file is None:
            self._own_file = os.open(self._name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            self._files.append(self._own_file)
        done = 0
        while done < len(values):
            done += os.pwrite(self._own_file, values[done:], self._end + done)

    def flush(self) -> None:
        """Write the index, so that other runs can read what is stored so far."""
        if self._own_file is None or not self._unindexed:
            return
        os.fsync(self._own_file)
        partial = self._name.with_suffix(".partial")
        rows = {digest.hex(): list(place) for digest, place in self._own.items()}
        partial.write_text(json.dumps({"bytes": self._end, "width": self.width, "sequences": rows}), encoding="utf-8")
        os.replace(partial, self._name.with_suffix(".json"))
        self._unindexed = 0

    def close(self) -> None:
        """Write the index and close the files."""
        self.flush()
        for file in self._files:
            os.close(file)
        self._files.clear()
        self._places.clear()

    def _open(self, index: Path) -> None:
        """Read the index of a segment. A damaged or truncated one is ignored: its sequences are computed again."""
        segment = index.with_suffix(".bin")
        try:
            facts = json.loads(index.read_text(encoding="utf-8"))
            places = {
                bytes.fromhex(key): (int(offset), int(length)) for key, (offset, length) in facts["sequences"].items()
            }
            if facts["width"] != self.width or segment.stat().st_size < facts["bytes"]:
                return
            if any(o < 0 or n < 1 or o + n * self.width * BYTES > facts["bytes"] for o, n in places.values()):
                return
            file = os.open(segment, os.O_RDONLY)
        except (OSError, ValueError, KeyError, TypeError):
            return
        with suppress(OSError):
            os.utime(index)
        self._files.append(file)
        self._used += int(facts["bytes"])
        for digest, (offset, length) in places.items():
            self._places.setdefault(digest, (len(self._files) - 1, offset, length))

    def _drop_leftovers(self) -> None:
        """Remove segments of killed runs once they are a day old."""
        for segment in self.folder.glob("*.bin"):
            with suppress(OSError):
                old = segment.stat().st_mtime < time.time() - LEFT_S
                if old and not segment.with_suffix(".json").exists():
                    segment.unlink()


def open_store(root: Path, encoder: Encoder, layer: int, precision: str, limit_bytes: int) -> FrozenStore:
    """The store of an encoder's first `layer` layers in a cache folder; long unused folders are removed."""
    folder = root / "frozen" / layers_key(encoder, layer, precision)
    store = FrozenStore(folder, encoder.width, limit_bytes)
    with suppress(OSError):
        os.utime(folder)
        for other in (root / "frozen").iterdir():
            if other != folder and other.stat().st_mtime < time.time() - KEPT_S:
                shutil.rmtree(other, ignore_errors=True)
    return store
