"""Answering without torch: a model folder that `export --to onnx` wrote, run by ONNX Runtime on the CPU.

    manyheads.json   `"backend": "onnx"`; encoder, tasks, inputs, the model it was made of, sha256 and size of every file
    model.onnx       the graph; `model.onnx.data` beside it where weights are larger than 2 GB
    encoder/         the tokenizer's files
    metrics.json, run.yaml, README.md

Decided here:
- A pack becomes a few rectangles of rows of similar length. Which ones is worked out: the padding they cost, against
  `CALL_TOKENS` tokens of time for each further call. Four lengths in five packs then differ by less than 10 %.
- In int8 each row is a rectangle of its own. All of a rectangle is rounded by one scale, so in company 81 of 1,500 sentences
  had another label, span or answer than alone. Rows of 21 tokens take 1.35 times as long for it.
- Rectangles run side by side, which on 2 cores took 0.55 to 0.64 of the time of one after the other in int8, 0.9 in
  float32. In int8 each has one thread: a row of 16 tokens took two of them 1.4 times as long, where float32 took 0.75.
- ONNX Runtime's threads do not spin while they wait for work: a server's other threads need the cores.
- ONNX Runtime computes the whole graph whichever outputs are asked for (tried with 1.31). Heads cost little; where tasks own
  layers of the encoder, a graph of one head (`export --task`) spares the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from manyheads.bundle.manifest import MANIFEST, manifest_hash, read_manifest, sha256_of
from manyheads.errors import BundleError
from manyheads.process import usable_threads
from manyheads.text.plain_files import leads_out
from manyheads.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy.typing as npt

    from manyheads.tasks.base import Array, Task
    from manyheads.text.pack import Encoding

PartT = TypeVar("PartT")
FoundT = TypeVar("FoundT")

BACKEND = "onnx"
"""`backend` in the manifest."""
GRAPH = "model.onnx"
GRAPH_DATA = "model.onnx.data"
IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
ONE_TRUNK = "manyheads.one_trunk"
"""Entry of the graph's metadata: `true` where no task owns layers."""
CALL_TOKENS = 16
"""Tokens that take as long as one more call of the graph does."""
SLOW = ["SkipLayerNormFusion"]
"""What ONNX Runtime (1.31) makes slower on a CPU: sum and norm in one take 97 us, apart 18: a seventh of int8's pass."""
REQUIRED = frozenset({GRAPH, "metrics.json", "encoder/tokenizer.json"})


class OnnxBackend:
    """Runs a graph of `export.graph` on packs. May be used by several threads."""

    def __init__(
        self,
        graph: Path,
        tasks: Mapping[str, Task[Any]],
        pad_id: int,
        *,
        threads: int | None = None,
        alone: bool = False,
    ) -> None:
        """`threads` compute one pass; by default what OMP_NUM_THREADS says, else one for each core. Raises BundleError.

        `alone`: each row is a rectangle of its own and has one thread, as int8 wants it.
        """
        try:
            import onnxruntime
        except ImportError:
            raise BundleError(
                f"{graph} needs onnxruntime, which is not installed; pip install 'manyheads[export]'"
            ) from None
        options = onnxruntime.SessionOptions()
        self._threads = threads or usable_threads()
        self._pool = ThreadPoolExecutor(self._threads - 1, "rectangle") if self._threads > 1 else None
        options.intra_op_num_threads = 1 if alone else self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(graph), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOW
            )
        except Exception as error:  # the runtime has a dozen kinds, none of them public
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise BundleError(f"{graph} cannot be read by onnxruntime {onnxruntime.__version__}: {reason}") from None
        self._alone = alone
        self._inputs = {value.name for value in self._session.get_inputs()}
        self._levels = {f"{name}/{key}": level for name, task in tasks.items() for key, level in task.outputs.items()}
        missing = sorted(self._levels.keys() - {value.name for value in self._session.get_outputs()})
        if missing or not {IDS, MASK} <= self._inputs <= {IDS, MASK, TYPES}:
            what = f"has no output {missing[0]}" if missing else f"has the inputs {', '.join(sorted(self._inputs))}"
            raise BundleError(f"{graph} {what}, so it is not that of the tasks in {MANIFEST}; export the model again")
        self._pad_id = pad_id
        self.metadata: Mapping[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        """What the graph says of itself."""
        self.one_trunk = self.metadata.get(ONE_TRUNK) == "true"
        """Whether all heads read the same hidden states."""

    def run(self, encodings: Sequence[Encoding], names: Sequence[str]) -> dict[str, dict[str, Array]]:
        """Outputs of the named heads on all the sequences, in one encoder pass; laid out as a pack."""
        wanted = [place for place in self._levels if place.partition("/")[0] in set(names)]
        lengths = np.array([len(encoding) for encoding in encodings])
        order = np.argsort(-lengths, kind="stable")
        found: dict[str, list[Array]] = {place: [] for place in wanted}
        for rows, values in self._run(wanted, [encodings[s] for s in order]):
            for place, value in zip(wanted, values, strict=True):
                found[place] += _divided(value, rows, self._levels[place])
        places = np.argsort(order, kind="stable")
        outputs: dict[str, dict[str, Array]] = {name: {} for name in names}
        for place, parts in found.items():
            name, _, key = place.partition("/")
            constant = self._levels[place] == "constant"
            outputs[name][key] = parts[0] if constant else np.concatenate([parts[s] for s in places])
        return outputs

    def values(self, encodings: Sequence[Encoding], names: Sequence[str]) -> Iterator[list[Array]]:
        """Any outputs of the graph, as it gives them: those of a few rectangles of rows, padding included."""
        falling = sorted(encodings, key=len, reverse=True)
        return (values for _, values in self._run(names, falling))

    def _run(
        self, names: Sequence[str], falling: Sequence[Encoding]
    ) -> Iterator[tuple[Sequence[Encoding], list[Array]]]:
        """Outputs of sequences of falling lengths, by rectangles."""
        wanted, parts = list(names), self._parts(falling)

        def run(rows: Sequence[Encoding]) -> list[Array]:
            values: list[Array] = self._session.run(wanted, self._rectangle(rows))
            return values

        return zip(parts, self._side_by_side(run, parts), strict=True)

    def _parts(self, falling: Sequence[Encoding]) -> list[Sequence[Encoding]]:
        """The rows of each rectangle."""
        if self._alone:
            return [[encoding] for encoding in falling]
        lengths = np.array([len(encoding) for encoding in falling])
        return [falling[start:stop] for start, stop in divided(rectangles(lengths), lengths, self._threads)]

    def _side_by_side(self, run: Callable[[PartT], FoundT], parts: Sequence[PartT]) -> list[FoundT]:
        """What is found for each part. This thread works too: it would wait for others to wake up."""
        found: dict[int, FoundT] = {}
        left = enumerate(parts)

        def work() -> None:
            for place, part in left:
                found[place] = run(part)

        helpers = [self._pool.submit(work) for _ in parts[1 : self._threads]] if self._pool is not None else []
        try:
            work()
        finally:
            for helper in helpers:
                if not helper.cancel():
                    helper.result()
        return [found[place] for place in range(len(parts))]

    def _rectangle(self, rows: Sequence[Encoding]) -> dict[str, npt.NDArray[np.int64]]:
        """Rows padded to the longest, the first one."""
        shape = len(rows), len(rows[0])
        inputs = {IDS: np.full(shape, self._pad_id, np.int64), MASK: np.zeros(shape, np.int64)}
        if TYPES in self._inputs:
            inputs[TYPES] = np.zeros(shape, np.int64)
        for r, row in enumerate(rows):
            inputs[IDS][r, : len(row)] = row.ids_L
            inputs[MASK][r, : len(row)] = 1
            if TYPES in self._inputs:
                inputs[TYPES][r, : len(row)] = row.type_L
        return inputs


def _divided(value: Array, rows: Sequence[Encoding], level: str) -> list[Array]:
    """The part of each row, without its padding."""
    if level == "constant":
        return [value]
    if level == "sequence":
        return [value[r : r + 1] for r in range(len(rows))]
    return [value[r, : len(row)] for r, row in enumerate(rows)]


def rectangles(falling_S: npt.NDArray[Any]) -> list[tuple[int, int]]:
    """Ranges (first, one past the last) of sequences of falling lengths that together cost the least time.

    A rectangle costs its area and `CALL_TOKENS`. Exact: rectangles begin and end where lengths change.
    """
    change_N = np.flatnonzero(np.diff(falling_S, prepend=-1))
    bound_M = np.append(change_N, len(falling_S))
    length_N = falling_S[change_N].astype(np.int64)
    # cost_M[m]: the least for all sequences before bound m; its last rectangle begins at bound `from_M[m]`.
    cost_M, from_M = np.zeros(len(bound_M), np.int64), np.zeros(len(bound_M), np.int64)
    for m in range(1, len(bound_M)):
        tried_N = cost_M[:m] + length_N[:m] * (bound_M[m] - bound_M[:m]) + CALL_TOKENS
        from_M[m] = tried_N.argmin()
        cost_M[m] = tried_N[from_M[m]]
    found, m = [], len(bound_M) - 1
    while m > 0:
        found.append((int(bound_M[from_M[m]]), int(bound_M[m])))
        m = int(from_M[m])
    return found[::-1]


def divided(found: Sequence[tuple[int, int]], falling_S: npt.NDArray[Any], threads: int) -> list[tuple[int, int]]:
    """The same rectangles, cut by rows where one is more than a thread's share of all of them."""
    share = sum(int(falling_S[start]) * (stop - start) for start, stop in found) / threads
    parts: list[tuple[int, int]] = []
    for start, stop in found:
        count = min(stop - start, math.ceil(int(falling_S[start]) * (stop - start) / share))
        bounds = [start + (stop - start) * i // count for i in range(count + 1)]
        parts += pairwise(bounds)
    return parts


@dataclass(frozen=True, slots=True)
class Exported:
    """A loaded folder with a graph; what `Bundle` is for one with weights."""

    folder: Path
    manifest: Mapping[str, Any]
    backend: OnnxBackend
    tasks: Mapping[str, Task[Any]]
    tokenizer: Tokenizer
    max_length: int

    @property
    def hash(self) -> str:
        """Sha256 of the manifest, which holds the hash of every file: it names the model."""
        return manifest_hash(self.manifest)


def is_exported(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest is that of a folder with a graph."""
    return manifest.get("backend") == BACKEND


def load_exported(folder: Path, *, threads: int | None = None) -> Exported:
    """A folder with a graph, verified. Raises BundleError, or EncoderError for its tokenizer."""
    from manyheads.bundle.settings import tasks_of

    manifest = read_manifest(folder)
    verify_exported(folder, manifest)
    tasks = tasks_of(manifest, folder / MANIFEST)
    tokenizer = Tokenizer.load(folder / "encoder")
    facts = manifest["onnx"]
    alone = facts.get("precision") == "int8"
    backend = OnnxBackend(folder / GRAPH, tasks, facts["pad_id"], threads=threads, alone=alone)
    exported = Exported(folder, manifest, backend, tasks, tokenizer, int(manifest["encoder"]["max_length"]))
    _check_answers(exported)
    return exported


def verify_exported(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raise BundleError unless a folder is that of a graph, and every file is there and is what was written."""
    if not is_exported(manifest):
        raise BundleError(f"{folder / MANIFEST} is not of an ONNX export")
    facts = manifest.get("onnx")
    if not isinstance(facts, dict) or type(facts.get("pad_id")) is not int or facts["pad_id"] < 0:
        raise BundleError(
            f"{folder / MANIFEST} has no 'onnx' with a 'pad_id'; the folder is damaged, export the model again"
        )
    files: Mapping[str, Any] = manifest["files"]
    for name in sorted(REQUIRED - files.keys()):
        raise BundleError(f"{folder / MANIFEST} does not list {name}; the folder is damaged, export the model again")
    for name, entry in files.items():
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name or not 0 < len(pure.parts) <= 2:
            raise BundleError(f"{folder / MANIFEST} names the file {name!r}, which is outside the folder")
        path = folder / pure
        try:
            if leads_out(folder, path) or not path.is_file():
                raise BundleError(f"{path} is missing (or a link that leaves the folder); copy the whole folder again")
            if path.stat().st_size != entry["bytes"] or sha256_of(path) != entry["sha256"]:
                raise BundleError(
                    f"{path} is not the file that was exported (its sha256 differs); copy the folder again"
                )
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror or error}") from None
    if (folder / GRAPH_DATA).exists() and GRAPH_DATA not in files:
        raise BundleError(
            f"{folder / GRAPH_DATA} does not belong to the folder, and could be read with it; remove that file"
        )


def _check_answers(exported: Exported) -> None:
    """Raise BundleError unless a short text, and a pair, get finite numbers: a graph may come from a stranger."""
    from manyheads.text.pack import Source

    try:
        for source in (Source("the 1 a 一"), Source("the 1", "a 一")):
            windows = exported.tokenizer.encode([source], exported.max_length)[0]
            for name, output in exported.backend.run(windows, list(exported.tasks)).items():
                if not all(np.isfinite(value).all() for value in output.values()):
                    raise BundleError(f"{exported.folder}: task '{name}' gives numbers that are not finite; export the "
                                      "model again")  # fmt: skip
    except BundleError:
        raise
    except Exception as error:  # the runtime has a dozen kinds, none of them public
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise BundleError(f"{exported.folder} cannot answer a text of four words ({reason}); it is damaged") from None
