"""ONNX Runtime as a backend: runs an exported graph on a CPU or a CUDA device, without torch.

Decided here:
- A pack becomes a few padded batches of rows of similar length, chosen so that the padding and `CALL_TOKENS` for each call
  cost the least. Four lengths in five packs then differ by less than 10 %.
- In int8 each row is a batch of its own. One scale rounds all activations of a batch, so 81 of 1,500 sentences got another
  label, span or answer in a batch than alone. Rows of 21 tokens take 1.35 times as long for it.
- Batches run in parallel. On 2 cores that took 0.55 to 0.64 of the sequential time in int8, 0.9 in float32. In int8 each
  has one thread: with two, a row of 16 tokens took 1.4 times as long, where float32 took 0.75.
- ONNX Runtime's threads do not spin while they wait for work: a server's other threads need the cores.
- ONNX Runtime computes the whole graph whichever outputs are requested (tried with 1.31). Heads cost little; if tasks own
  layers of the encoder, a graph of one head (`export --task`) saves the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from manyheads.devices import is_cuda
from manyheads.errors import BundleError, UsageError
from manyheads.process import usable_threads
from manyheads.text.pack import IDS, MASK, TYPES

if TYPE_CHECKING:
    import numpy.typing as npt

    from manyheads.tasks.base import Array, Task
    from manyheads.text.pack import Encoding

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

ONE_TRUNK = "manyheads.one_trunk"
"""Entry in the graph's metadata: `true` if no task owns layers."""
CALL_TOKENS = 16
"""Cost of a further call of the graph, in tokens."""
CPU_PROVIDER, CUDA_PROVIDER = "CPUExecutionProvider", "CUDAExecutionProvider"
SLOW = ["SkipLayerNormFusion"]
"""Optimizations that make ONNX Runtime (1.31) slower on a CPU. Fused sum and norm take 97 us, separate ones 18: a seventh of
the pass in int8."""


class OnnxBackend:
    """Runs a graph from `export.graph` on packs. Thread-safe."""

    def __init__(
        self,
        graph: Path,
        tasks: Mapping[str, Task[Any]],
        pad_id: int,
        *,
        threads: int | None = None,
        row_by_row: bool = False,
        device: str = "cpu",
    ) -> None:
        """`threads` for one pass; by default OMP_NUM_THREADS, or else one for each core, and one on a GPU.

        `row_by_row`: make each row a batch of its own, with one thread, as int8 needs it. `device`: `cpu`, `cuda` or
        `cuda:N`. Raises BundleError, and UsageError for a device that is not available.
        """
        try:
            import onnxruntime
        except ImportError:
            raise BundleError(f"{graph} needs onnxruntime; pip install 'path/to/manyheads[export]'") from None
        options = onnxruntime.SessionOptions()
        self.device = device
        self._threads = 1 if is_cuda(device) else threads or usable_threads()
        providers = _providers(device)
        self._pool = ThreadPoolExecutor(self._threads - 1, "onnx") if self._threads > 1 else None
        options.intra_op_num_threads = 1 if row_by_row else self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(graph), options, providers=providers, disabled_optimizers=[] if is_cuda(device) else SLOW
            )
        except Exception as error:  # it has a dozen kinds, none of them public
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise BundleError(f"{graph} cannot be read by onnxruntime {onnxruntime.__version__}: {reason}") from None
        if is_cuda(device) and self._session.get_providers()[0] != CUDA_PROVIDER:  # it falls back without an error
            raise UsageError(f"onnxruntime-gpu cannot use the device '{device}'; install the CUDA and cuDNN libraries that "
                             "its version needs, or use the device cpu")  # fmt: skip
        self._row_by_row = row_by_row
        self._inputs = {value.name for value in self._session.get_inputs()}
        self._levels = {f"{name}/{key}": level for name, task in tasks.items() for key, level in task.outputs.items()}
        missing = sorted(self._levels.keys() - {value.name for value in self._session.get_outputs()})
        if missing or not {IDS, MASK} <= self._inputs <= {IDS, MASK, TYPES}:
            what = f"has no output {missing[0]}" if missing else f"has the inputs {', '.join(sorted(self._inputs))}"
            raise BundleError(f"{graph} {what}, so it does not belong to these tasks; export the model again")
        self._pad_id = pad_id
        self.one_trunk = self._session.get_modelmeta().custom_metadata_map.get(ONE_TRUNK) == "true"
        """Whether all heads read the same hidden states."""

    def run(self, encodings: Sequence[Encoding], names: Sequence[str]) -> dict[str, dict[str, Array]]:
        """Outputs of the named heads on all sequences, in one encoder pass; laid out as a pack."""
        wanted = [place for place in self._levels if place.partition("/")[0] in set(names)]
        lengths = np.array([len(encoding) for encoding in encodings])
        order = np.argsort(-lengths, kind="stable")
        found: dict[str, list[Array]] = {place: [] for place in wanted}
        for rows, values in self._run(wanted, [encodings[s] for s in order]):
            for place, value in zip(wanted, values, strict=True):
                found[place] += _split(value, rows, self._levels[place])
        places = np.argsort(order, kind="stable")
        outputs: dict[str, dict[str, Array]] = {name: {} for name in names}
        for place, parts in found.items():
            name, _, key = place.partition("/")
            constant = self._levels[place] == "constant"
            outputs[name][key] = parts[0] if constant else np.concatenate([parts[s] for s in places])
        return outputs

    def values(self, encodings: Sequence[Encoding], names: Sequence[str]) -> Iterator[list[Array]]:
        """Raw outputs of the graph by name, padding included, for each batch that the sequences make."""
        falling = sorted(encodings, key=len, reverse=True)
        return (values for _, values in self._run(names, falling))

    def _run(
        self, names: Sequence[str], falling: Sequence[Encoding]
    ) -> Iterator[tuple[Sequence[Encoding], list[Array]]]:
        """Outputs of sequences of falling lengths, for each padded batch."""
        wanted, batches = list(names), self._batches(falling)

        def run(rows: Sequence[Encoding]) -> list[Array]:
            values: list[Array] = self._session.run(wanted, self._padded(rows))
            return values

        return zip(batches, self._in_parallel(run, batches), strict=True)

    def _batches(self, falling: Sequence[Encoding]) -> list[Sequence[Encoding]]:
        """The rows of each batch."""
        if self._row_by_row:
            return [[encoding] for encoding in falling]
        lengths = np.array([len(encoding) for encoding in falling])
        return [
            falling[start:stop] for start, stop in split_for_threads(padded_batches(lengths), lengths, self._threads)
        ]

    def _in_parallel(self, run: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> list[ResultT]:
        """The result for each item. This thread works too: waiting for others to wake up takes time."""
        found: dict[int, ResultT] = {}
        remaining = enumerate(items)

        def work() -> None:
            for place, item in remaining:
                found[place] = run(item)

        helpers = [self._pool.submit(work) for _ in items[1 : self._threads]] if self._pool is not None else []
        try:
            work()
        finally:
            for helper in helpers:
                if not helper.cancel():
                    helper.result()
        return [found[place] for place in range(len(items))]

    def _padded(self, rows: Sequence[Encoding]) -> dict[str, npt.NDArray[np.int64]]:
        """Inputs of a batch, padded to the longest row, which is the first."""
        inputs = {name: np.zeros((len(rows), len(rows[0])), np.int64) for name in self._inputs}
        inputs[IDS].fill(self._pad_id)
        for r, row in enumerate(rows):
            inputs[IDS][r, : len(row)] = row.ids_L
            inputs[MASK][r, : len(row)] = 1
            if TYPES in self._inputs:
                inputs[TYPES][r, : len(row)] = row.type_L
        return inputs


def _providers(device: str) -> list[Any]:
    """Execution providers for a device, best first. Raises UsageError."""
    if not is_cuda(device):
        return [CPU_PROVIDER]
    import onnxruntime

    if CUDA_PROVIDER not in onnxruntime.get_available_providers():
        raise UsageError(f"an ONNX export runs on '{device}' with the package onnxruntime-gpu, and onnxruntime "
                         f"{onnxruntime.__version__} is installed, which has no CUDA; pip uninstall onnxruntime, then pip "
                         "install onnxruntime-gpu, or use the device cpu")  # fmt: skip
    return [(CUDA_PROVIDER, {"device_id": int(device.partition(":")[2] or 0)}), CPU_PROVIDER]


def _split(value: Array, rows: Sequence[Encoding], level: str) -> list[Array]:
    """An output by row, without padding."""
    if level == "constant":
        return [value]
    if level == "sequence":
        return [value[r : r + 1] for r in range(len(rows))]
    return [value[r, : len(row)] for r, row in enumerate(rows)]


def padded_batches(falling_S: npt.NDArray[Any]) -> list[tuple[int, int]]:
    """Ranges (start, stop) of sequences of falling lengths that cost the least time as padded batches.

    A batch costs its padded size plus `CALL_TOKENS`. Exact (dynamic programming): batches start and end where lengths change.

    >>> padded_batches(np.array([100, 98, 20, 20]))
    [(0, 2), (2, 4)]
    """
    change_N = np.flatnonzero(np.diff(falling_S, prepend=-1))
    bound_M = np.append(change_N, len(falling_S))
    length_N = falling_S[change_N].astype(np.int64)
    # cost_M[m]: least cost of all sequences before bound m; the last batch starts at bound `from_M[m]`.
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


def split_for_threads(
    batches: Sequence[tuple[int, int]], falling_S: npt.NDArray[Any], threads: int
) -> list[tuple[int, int]]:
    """The same batches, split by rows where one exceeds a thread's share of the work."""
    share = sum(int(falling_S[start]) * (stop - start) for start, stop in batches) / threads
    parts: list[tuple[int, int]] = []
    for start, stop in batches:
        count = min(stop - start, math.ceil(int(falling_S[start]) * (stop - start) / share))
        bounds = [start + (stop - start) * i // count for i in range(count + 1)]
        parts += pairwise(bounds)
    return parts
