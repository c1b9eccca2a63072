"""Prediction: sources are sorted by length into packs with a token budget; each pack is one encoder pass for all its heads.

Evaluation, the command, the server and the Python API share this `Predictor`, so what is scored is what is served.
Sequences that the same tasks read share packs: one pass answers all tasks of a text, and another one a question with its
passage, which only question answering reads. Rows are processed in chunks, so memory does not grow with their number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from manyheads.errors import RowError, UsageError
from manyheads.tasks.base import Answer, Array, EncoderInput, Item, Row, Task
from manyheads.text.pack import Encoding, Pack, Source, eighth_of

if TYPE_CHECKING:
    import torch

    from manyheads.model import MultiTaskModel
    from manyheads.text.tokenizer import Tokenizer

Precision = Literal["auto", "float32", "bf16"]
"""Precision of the encoder's matrix products; `auto`: bf16 on CUDA devices that support it, else float32."""
CHUNK_ROWS = 2048
"""Rows processed together: enough to sort by length, few enough for memory."""
CHUNK_CHARACTERS = 2_000_000
"""A chunk ends early at this size; a text of 50,000 tokens is about a tenth of it."""


class Backend(Protocol):
    """Runs the encoder and the heads."""

    @property
    def one_trunk(self) -> bool:
        """Whether all heads read the same hidden states, so that an additional head costs almost nothing."""
        ...

    def run(self, encodings: Sequence[Encoding], names: Sequence[str]) -> dict[str, dict[str, Array]]:
        """Outputs of the named heads on all the sequences, in one encoder pass."""
        ...


class TorchBackend:
    """Runs a model without gradients and dropout. Outputs are always float32.

    On CUDA, `auto` is bf16 if the device supports it, which attention over packs requires. On a CPU it is float32; bf16 takes
    half the time on processors with bf16 instructions (AMX, AVX-512 BF16), and longer on others.
    """

    def __init__(self, model: MultiTaskModel, device: torch.device, precision: Precision = "auto") -> None:
        """Moves the model to the device and into evaluation mode; bf16 on a CPU rounds its weights permanently."""
        import torch

        self.model = model.to(device).eval()
        self.device = device
        self.one_trunk = not model.branches
        cuda = device.type == "cuda"
        self.rounded = precision == "bf16" and not cuda
        """Whether the weights were rounded to bf16 for good."""
        self._half = precision == "bf16" or (
            precision == "auto" and cuda and torch.cuda.is_bf16_supported(including_emulation=False)
        )
        if self._half and not cuda:  # otherwise every pass would round them again
            from manyheads.nn.cpu.bf16_linear import use_bf16_linears

            for encoder in (model.encoder, *model.branch_encoders.values()):
                use_bf16_linears(encoder)

    def run(self, encodings: Sequence[Encoding], names: Sequence[str]) -> dict[str, dict[str, Array]]:
        """Run the named heads on one pack."""
        from manyheads.nn.transfer import to_arrays

        with self._packed(encodings) as pack:
            return to_arrays(self.model(pack, dict.fromkeys(names, (0, len(encodings)))), self.device)

    def hidden_states(self, encodings: Sequence[Encoding], task: str | None) -> Array:
        """`MultiTaskModel.hidden_states` of one pack, `(T, D)` float32."""
        with self._packed(encodings) as pack:
            hidden_TD: Array = self.model.hidden_states(pack, task).float().cpu().numpy()
            return hidden_TD[: sum(map(len, encodings))]

    @contextmanager
    def _packed(self, encodings: Sequence[Encoding]) -> Iterator[Pack]:
        """The pack of sequences on the device; what is computed inside has the backend's precision and no gradients."""
        import torch

        few = self._half and self.device.type == "cpu"  # oneDNN compiles bf16 products for every new shape
        pack = Pack.of(encodings, eighth_of(sum(map(len, encodings))) if few else 1)
        if self.device.type == "cuda":
            pack = pack.pinned()
        region = torch.autocast(self.device.type, torch.bfloat16) if self._half else nullcontext()
        with torch.inference_mode(), region:
            yield pack.to(self.device)


@dataclass(frozen=True, slots=True)
class RowAnswers:
    """Answers of the requested tasks, and the number of windows of their longest source."""

    answers: Mapping[str, Answer]
    windows: int


class Predictor:
    """Answers rows and encoder inputs with a backend.

    >>> import manyheads as mh
    >>> predictor = mh.load("runs/demo").predictor
    >>> next(predictor.predict([{"text": "Aspirin lowered fever."}], ["section"])).keys()
    dict_keys(['windows', 'tasks'])
    """

    def __init__(
        self,
        backend: Backend,
        tasks: Mapping[str, Task[Any]],
        tokenizer: Tokenizer,
        *,
        max_length: int,
        batch_tokens: int = 4096,
    ) -> None:
        """`max_length`: tokens per window; `batch_tokens`: tokens per pack, without padding."""
        self.backend = backend
        self.tasks = tasks
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.batch_tokens = max(batch_tokens, max_length)

    def with_tasks(self, tasks: Mapping[str, Task[Any]]) -> Predictor:
        """The same with other settings of its tasks."""
        return Predictor(self.backend, tasks, self.tokenizer, max_length=self.max_length, batch_tokens=self.batch_tokens)

    def check_tasks(self, names: Sequence[str] | None) -> list[str]:
        """The names without duplicates, after the tasks they depend on; all tasks for None.

        Raises UsageError for a task the model does not have.
        """
        if names is None:
            return list(self.tasks)
        for name in names:
            if name not in self.tasks:
                raise UsageError(f"the model has no task '{name}'; its tasks are {', '.join(self.tasks)}")
        needed = ((self.tasks[name].depends_on or name, name) for name in names)
        return list(dict.fromkeys(one for pair in needed for one in pair if one in self.tasks))

    def predict(self, rows: Iterable[Row | RowError], names: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """An output row for each input row, in order; rows that cannot be read get an `error`."""
        tasks = self.check_tasks(names)
        for chunk in _chunks(rows):
            yield from self.reply([(row, tasks) for row in chunk])

    def reply(self, requests: Sequence[tuple[Row | RowError, Sequence[str] | None]]) -> Iterator[dict[str, Any]]:
        """An output row for each pair of a row and its tasks (None: all), in order, in one batch."""
        inputs = [self.inputs_of(row, self.check_tasks(names)) for row, names in requests]
        results = iter(self.answer([entry for entry in inputs if not isinstance(entry, RowError)]))
        for (row, _), entry in zip(requests, inputs, strict=True):
            row_id = _row_id(row)
            if isinstance(entry, RowError):
                yield {**row_id, "error": {"type": "invalid_row", "message": str(entry)}}
                continue
            result = next(results)
            keys: dict[str, Any] = {}
            for name, answer in result.answers.items():
                keys |= self.tasks[name].answer_keys(answer)
            yield {**row_id, "windows": result.windows, "tasks": keys}

    def answer(self, inputs: Sequence[Mapping[str, EncoderInput]]) -> list[RowAnswers]:
        """Answers for each `{task: encoder input}`, in order. Equal sources are encoded once."""
        asked, inputs = inputs, [self._with_dependencies(entry) for entry in inputs]
        readers: dict[Source, set[str]] = defaultdict(set)
        for entry in inputs:
            for name, one in entry.items():
                readers[one.source].add(name)
        sources = list(readers)
        encodings = dict(zip(sources, self.tokenizer.encode(sources, self.max_length), strict=True))
        outputs = self._run(readers, encodings)
        answers: list[dict[str, Answer]] = [{} for _ in inputs]
        for name, task in sorted(self.tasks.items(), key=lambda pair: pair[1].depends_on is not None):
            places = [i for i, entry in enumerate(inputs) if name in entry]
            items = [
                Item(entry.source, entry.words, encodings[entry.source], outputs[entry.source, name],
                     entry.spans if entry.spans is not None else spans_of(answers[i].get(task.depends_on or "")))
                for i, entry in ((i, inputs[i][name]) for i in places)
            ]  # fmt: skip
            for i, answer in zip(places, task.decode(items), strict=True):
                answers[i][name] = answer
        return [
            RowAnswers(
                {name: answer[name] for name in entry},
                max((len(encodings[one.source]) for one in entry.values()), default=1),
            )
            for entry, answer in zip(asked, answers, strict=True)
        ]

    def _with_dependencies(self, entry: Mapping[str, EncoderInput]) -> Mapping[str, EncoderInput]:
        """The inputs, and those of the tasks whose answers others are about."""
        more = {
            other: EncoderInput(one.source, one.words)
            for name, one in entry.items()
            if one.spans is None and (other := self.tasks[name].depends_on) in self.tasks and other is not None
        }
        return {**more, **entry} if more else entry

    def items(self, name: str, inputs: Sequence[EncoderInput]) -> list[Item]:
        """Inputs of `Task.decode`: the outputs of a head, window by window. Equal sources are encoded once."""
        sources = list(dict.fromkeys(entry.source for entry in inputs))
        encodings = dict(zip(sources, self.tokenizer.encode(sources, self.max_length), strict=True))
        outputs = self._run({source: {name} for source in sources}, encodings)
        return [Item(entry.source, entry.words, encodings[entry.source], outputs[entry.source, name]) for entry in inputs]

    def inputs_of(self, row: Any, names: Iterable[str]) -> dict[str, EncoderInput] | RowError:
        """The encoder input of each named task that finds one in the row; a RowError for a row that cannot be read."""
        if isinstance(row, RowError):
            return row
        if not isinstance(row, Mapping):
            return RowError(f"a row must be an object with 'text', seen {row!r:.80}")
        try:
            inputs = {name: self.tasks[name].source_of_row(row) for name in names}
        except RowError as error:
            return error
        return {name: entry for name, entry in inputs.items() if entry is not None}

    def _run(
        self, readers: Mapping[Source, set[str]], encodings: Mapping[Source, Sequence[Encoding]]
    ) -> dict[tuple[Source, str], list[dict[str, Array]]]:
        """Outputs of every (source, task), for each window in order."""
        groups: dict[tuple[str, ...], list[tuple[Source, Encoding]]] = defaultdict(list)
        for source, names in readers.items():
            key = tuple(name for name in self.tasks if name in names)
            groups[key].extend((source, window) for window in encodings[source])
        outputs: dict[tuple[Source, str], list[dict[str, Array]]] = {
            (source, name): [{} for _ in encodings[source]] for source, names in readers.items() for name in names
        }
        for key, windows in self._merged(groups).items():
            windows.sort(key=lambda pair: len(pair[1]), reverse=True)
            for pack in packs_of(windows, self.batch_tokens):
                result = self.backend.run([window for _, window in pack], key)
                bounds = np.cumsum([0, *(len(window) for _, window in pack)])
                for name in key:
                    levels = self.tasks[name].outputs
                    for s, (source, window) in enumerate(pack):
                        if name not in readers[source]:
                            continue
                        cuts = {
                            "token": slice(bounds[s], bounds[s + 1]),
                            "sequence": slice(s, s + 1),
                            "constant": slice(None),
                        }
                        outputs[source, name][window.window] = {
                            output: values[cuts[levels[output]]] for output, values in result[name].items()
                        }
        return outputs

    def _merged(
        self, groups: Mapping[tuple[str, ...], list[tuple[Source, Encoding]]]
    ) -> Mapping[tuple[str, ...], list[tuple[Source, Encoding]]]:
        """Merge the groups of windows, whatever tasks read them, if all fit into one pack.

        Each pass has a fixed cost, and running a head whose output is not needed costs only 1 to 4 %. Groups are not merged
        if tasks have private layers.
        """
        windows = [window for group in groups.values() for window in group]
        if len(groups) < 2 or not self.backend.one_trunk:
            return groups
        if sum(len(window) for _, window in windows) > self.batch_tokens:
            return groups
        return {tuple(name for name in self.tasks if any(name in key for key in groups)): windows}


def packs_of(windows: Sequence[tuple[Source, Encoding]], budget: int) -> Iterator[Sequence[tuple[Source, Encoding]]]:
    """Split windows into packs of at most `budget` tokens; a single window always fits."""
    start, tokens = 0, 0
    for i, (_, window) in enumerate(windows):
        if i > start and tokens + len(window) > budget:
            yield windows[start:i]
            start, tokens = i, 0
        tokens += len(window)
    if start < len(windows):
        yield windows[start:]


def spans_of(answer: Answer) -> list[tuple[int, int, str]] | None:
    """Offsets and labels of the entities that a task found; None without an answer."""
    return None if answer is None else [(span["start"], span["end"], span["label"]) for span in answer]


def _chunks(rows: Iterable[Row | RowError]) -> Iterator[list[Row | RowError]]:
    """Split rows into chunks with a limited number of rows and characters."""
    iterator = iter(rows)
    while first := list(islice(iterator, 1)):
        chunk, characters = first, _characters(first[0])
        while len(chunk) < CHUNK_ROWS and characters < CHUNK_CHARACTERS and (more := list(islice(iterator, 1))):
            chunk.extend(more)
            characters += _characters(more[0])
        yield chunk


def _row_id(row: Any) -> dict[str, Any]:
    """`{"id": ...}` of an input row, empty if it has none."""
    if isinstance(row, RowError):
        return {} if row.row_id is None else {"id": row.row_id}
    return {"id": row["id"]} if isinstance(row, Mapping) and "id" in row else {}


def _characters(row: Row | RowError) -> int:
    if not isinstance(row, Mapping):
        return 0
    return sum(len(value) for value in row.values() if isinstance(value, str))
