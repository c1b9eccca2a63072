"""Checkpoints: folders of safetensors and JSON that are verified to the last byte before anything in them is used.

    OUTPUT/checkpoints/step-00000200/
        manifest.json          step, size and sha256 of each file, and a sha256 of itself
        state.json             everything that is not a tensor
        weights.safetensors    trained parameters, learned loss weights among them
        optimizer.safetensors  moments and counts (none before the first step)
        best.safetensors       the best weights so far (none before the first evaluation)
        average.safetensors    the mean of the weights over the end of the run so far, once it has begun

Decided here:
- A checkpoint is written under another name, synced, the manifest last, and renamed: it is there whole or not at all.
- A file that is truncated, changed, missing, or from another checkpoint makes a checkpoint damaged. It is renamed, with a
  warning, and the one before it is used. Without a whole one the run is refused: starting over is the user's decision.
- No pickle, and nothing that names code. A hash guards against accidents, not against someone who can write the folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.bundle.manifest import sha256_of, versions
from manyheads.durable import UNFINISHED, make_folder, remove_folder, write_json
from manyheads.errors import RESUME, CheckpointError, TrainingError

if TYPE_CHECKING:
    import torch

    from manyheads.training.distributed.team import Team

    Tensors = Mapping[str, torch.Tensor]

FORMAT = 1
FOLDER = "checkpoints"
MANIFEST = "manifest.json"
STATE = "state.json"
TENSORS = ("weights", "optimizer", "best", "average")
"""Names of the tensor files, without their ending."""
DAMAGED = ".damaged"
MOST_JSON_BYTES = 256 << 20
"""Limit of a JSON file. The state of a run with patience on 16 heads is a few kilobytes, the guard's notes included."""
_NAME = re.compile(r"step-(\d{8,12})")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that later steps depend on."""

    step: int
    """Steps done."""
    state: Mapping[str, Any]
    """JSON."""
    tensors: Mapping[str, Tensors]
    """By name, under each of TENSORS."""


class Checkpoints:
    """The checkpoints in the output folder of a run. One process at a time may write (`lock.py`)."""

    def __init__(self, output: Path, keep: int = 2) -> None:
        """`keep`: number of checkpoints to keep, the newest ones."""
        self.folder = output / FOLDER
        self.keep = keep
        self._last: int | None = None

    def steps(self) -> list[int]:
        """Steps of all checkpoints, whole or damaged, oldest first."""
        if not self.folder.is_dir():
            return []
        found = [_NAME.fullmatch(path.name) for path in self.folder.iterdir()]
        return sorted(int(match[1]) for match in found if match)

    def save(self, snapshot: Snapshot) -> None:
        """Write a checkpoint, then remove the oldest. The step that this object saved or read last is not written again.

        Raises TrainingError when it cannot be written; older checkpoints stay.
        """
        if snapshot.step == self._last:
            return
        target = self._path(snapshot.step)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if target.exists():  # damaged, or of a run that was rolled back past it
                remove_folder(target)
            make_folder(target, lambda folder: _write(folder, snapshot))
        except OSError as error:
            good = f"the last good one is of step {self._last}" if self._last is not None else "there is none before it"
            raise TrainingError(
                f"the checkpoint of step {snapshot.step} could not be written to {error.filename or target} "
                f"({error.strerror or error}); {good}",
                hint=f"fix that, then {RESUME}",
            ) from None
        self._last = snapshot.step
        self._prune()

    def newest(self, say: Callable[[str], None]) -> Snapshot | None:
        """The newest whole checkpoint; None when there is none at all.

        Damaged ones are renamed, with a warning. Raises CheckpointError when all are damaged.
        """
        steps, reasons = self.steps(), []
        for step in reversed(steps):
            try:
                snapshot = read_checkpoint(self._path(step))
            except CheckpointError as error:
                reasons.append(str(error))
                continue
            for reason, damaged in zip(reasons, reversed(steps), strict=False):
                say(f"warning: {reason}; it is renamed, and step {step} is used instead")
                self._rename_damaged(damaged)
            self._last = step
            return snapshot
        if reasons:
            raise CheckpointError(f"no checkpoint in {self.folder} is whole: {'; '.join(reasons)}. Put a good copy back, "
                                  "or delete the folder to start from the beginning")  # fmt: skip
        return None

    def newest_for(self, team: Team, say: Callable[[str], None]) -> Snapshot | None:
        """The same in several processes: process 0 finds it, and all read it."""
        snapshot = self.newest(say) if team.leads else None
        step = team.broadcast(snapshot.step if snapshot else None)
        return snapshot if team.leads or step is None else self.read(step)

    def read(self, step: int) -> Snapshot:
        """The checkpoint of a step. Raises CheckpointError."""
        return read_checkpoint(self._path(step))

    def clear(self) -> None:
        """Remove all checkpoints, at the end of a run."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def _prune(self) -> None:
        for step in self.steps()[: -self.keep]:
            try:
                remove_folder(self._path(step))
            except OSError:  # it will be removed next time
                continue
        for path in self.folder.glob(f"*{UNFINISHED}"):
            shutil.rmtree(path, ignore_errors=True)

    def _rename_damaged(self, step: int) -> None:
        path = self._path(step)
        target = path.with_name(path.name + DAMAGED)
        shutil.rmtree(target, ignore_errors=True)
        path.rename(target)


def _write(folder: Path, snapshot: Snapshot) -> None:
    """The files of a checkpoint. Raises OSError."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    write_json(folder / STATE, snapshot.state)
    names = [STATE]
    for name in TENSORS:
        tensors = snapshot.tensors.get(name)
        if tensors:
            file = f"{name}.safetensors"
            plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
            try:
                save_file(plain, folder / file, metadata={"format": "pt"})
            except SafetensorError as error:  # raised on a full disk, too
                raise OSError(errno.EIO, str(error), str(folder / file)) from None
            names.append(file)
    facts = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)} for name in names}
    manifest = {"format": FORMAT, "step": snapshot.step, "files": facts, "versions": versions()}
    write_json(folder / MANIFEST, {**manifest, "sha256": _own_hash(manifest)})


def read_checkpoint(folder: Path) -> Snapshot:
    """A verified checkpoint. Raises CheckpointError that says what is wrong with it."""
    manifest = _json(folder / MANIFEST)
    text = json.dumps(manifest, indent=1) + "\n"  # as `write_json` writes it
    whole = (folder / MANIFEST).read_bytes() == text.encode()
    own = manifest.pop("sha256", None)
    if not whole or own != _own_hash(manifest):
        raise CheckpointError(f"{folder / MANIFEST} is not the file that was written (its sha256 differs)")
    if manifest.get("format") != FORMAT:
        raise CheckpointError(f"{folder / MANIFEST} has format {manifest.get('format')!r}, this version reads {FORMAT}")
    step, named = manifest.get("step"), _NAME.fullmatch(folder.name)
    if not isinstance(step, int) or (named and int(named[1]) != step):
        raise CheckpointError(f"{folder} holds the manifest of step {step!r}")
    known = {STATE, *(f"{name}.safetensors" for name in TENSORS)}
    files = manifest.get("files")
    if not isinstance(files, dict) or not {STATE, "weights.safetensors"} <= set(files) <= known:
        raise CheckpointError(f"{folder / MANIFEST} does not list the files of a checkpoint")
    for name, facts in files.items():
        _verify(folder / name, facts)
    tensors = {name: _tensors(folder / file) for name in TENSORS if (file := f"{name}.safetensors") in files}
    return Snapshot(step, _json(folder / STATE), tensors)


def _verify(path: Path, facts: Any) -> None:
    if path.is_symlink() or not path.is_file():
        raise CheckpointError(f"{path} is missing (or a link)")
    if not isinstance(facts, dict) or path.stat().st_size != facts.get("bytes"):
        raise CheckpointError(f"{path} is truncated or too long: {path.stat().st_size:,} bytes")
    if sha256_of(path) != facts.get("sha256"):
        raise CheckpointError(f"{path} is not the file that was written (its sha256 differs)")


def _tensors(path: Path) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: Tensors = load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    return tensors


def _json(path: Path) -> dict[str, Any]:
    if path.is_symlink() or not path.is_file():
        raise CheckpointError(f"{path} is missing (or a link)")
    if path.stat().st_size > MOST_JSON_BYTES:
        raise CheckpointError(f"{path} has {path.stat().st_size:,} bytes, more than any file that is written here")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read ({str(error)[:200] or type(error).__name__})") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is not a JSON object")
    return value


def _own_hash(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
