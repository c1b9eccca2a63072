"""Answering: sources are sorted by length into token-budget packs, each pack is one encoder pass for all its heads.

`Predictor` is used by evaluation, the command and the Python API alike, so what is scored is what is served.
Sequences that are read by the same tasks share packs: all tasks of a text are answered by one pass, and a question with
its passage, which only question answering reads, by another. Memory does not grow with the number of rows: rows are
answered in chunks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from manyheads.errors import RowError, UsageError
from manyheads.tasks.base import Answer, Array, EncoderInput, Item, Row, Task
from manyheads.text.pack import Encoding, Source

if TYPE_CHECKING:
    import torch

    from manyheads.model import MultiTaskModel
    from manyheads.text.tokenizer import Tokenizer

Precision = Literal["auto", "float32", "bf16"]
"""What the encoder's products are computed in; `auto`: bf16 on CUDA where the device has it, else float32."""
CHUNK_ROWS = 2048
"""Rows answered together: enough to sort by length, few enough to hold."""
CHUNK_CHARACTERS = 2_000_000
"""A chunk ends early when its texts reach this; one 50,000-token text is about a tenth of it."""


class Backend(Protocol):
    """Whatever runs the encoder and the heads."""

    @property
    def one_trunk(self) -> bool:
        """Whether all heads read the same hidden states, so that one more costs next to nothing."""
        ...

    def run(self, encodings: Sequence[Encoding], names: Sequence[str]) -> dict[str, dict[str, Array]]:
        """Outputs of the named heads on all the sequences, in one encoder pass."""
        ...


class TorchBackend:
    """The model itself, without gradients and dropout. Outputs are float32 whatever the products are computed in.

    On CUDA `auto` is bf16 where the device has it, which is what its attention over packs takes. On a CPU it is float32; bf16
    takes half the time where the processor multiplies it (AMX, AVX-512 BF16) and more where it does not.
    """

    def __init__(self, model: MultiTaskModel, device: torch.device, precision: Precision = "auto") -> None:
        """Moves the model to the device and leaves it in evaluation mode; on a CPU, bf16 rounds its weights for good."""
        import torch

        self.model = model.to(device).eval()
        self.device = device
        self.one_trunk = not model.branches
        cuda = device.type == "cuda"
        self._half = precision == "bf16" or (
            precision == "auto" and cuda and torch.cuda.is_bf16_supported(including_emulation=False)
        )
        if self._half and not cuda:  # or every pass would round them anew
            from manyheads.nn.rounded import round_linears

            for encoder in (model.encoder, *model.branch_encoders.values()):
                round_linears(encoder)

    def run(self, encodings: Sequence[Encoding], names: Sequence[str]) -> dict[str, dict[str, Array]]:
        """One pass over one pack."""
        import torch

        from manyheads.text.pack import Pack, eighth_of

        few = self._half and self.device.type == "cpu"  # oneDNN compiles products in bf16 for every new shape
        pack = Pack.of(encodings, eighth_of(sum(map(len, encodings))) if few else 1)
        if self.device.type == "cuda":
            pack = pack.pinned()
        region = torch.autocast(self.device.type, torch.bfloat16) if self._half else nullcontext()
        with torch.inference_mode(), region:
            pack = pack.to(self.device)
            outputs = self.model(pack, dict.fromkeys(names, (0, len(encodings))))
            return {
                name: {key: value.float().cpu().numpy() for key, value in output.items()}
                for name, output in outputs.items()
            }


@dataclass(frozen=True, slots=True)
class Answered:
    """Answers of the tasks that were asked, and how many windows the longest of their sources needed."""

    answers: Mapping[str, Answer]
    windows: int


class Predictor:
    """Answers asks and rows with a backend."""

    def __init__(
        self,
        backend: Backend,
        tasks: Mapping[str, Task[Any]],
        tokenizer: Tokenizer,
        *,
        max_length: int,
        batch_tokens: int = 4096,
    ) -> None:
        """`max_length` tokens a window, `batch_tokens` real tokens a pack."""
        self.backend = backend
        self.tasks = tasks
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.batch_tokens = max(batch_tokens, max_length)

    def chosen(self, names: Sequence[str] | None) -> list[str]:
        """The tasks asked for, all of them by default. Raises UsageError for one the model does not have."""
        if names is None:
            return list(self.tasks)
        for name in names:
            if name not in self.tasks:
                raise UsageError(f"the model has no task '{name}'; its tasks are {', '.join(self.tasks)}")
        return list(dict.fromkeys(names))

    def predict(self, rows: Iterable[Row | RowError], names: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """An output row for each input row, in order. A row that cannot be read gets an `error` in its place."""
        chosen = self.chosen(names)
        for chunk in _chunks(rows):
            yield from self.reply([(row, chosen) for row in chunk])

    def reply(self, requests: Sequence[tuple[Row | RowError, Sequence[str] | None]]) -> Iterator[dict[str, Any]]:
        """An output row for each row and the tasks asked of it (None: all), in order. All are answered together."""
        asked = [self.asked(row, self.tasks if names is None else names) for row, names in requests]
        answered = iter(self.answer([inputs for inputs in asked if not isinstance(inputs, RowError)]))
        for (row, _), inputs in zip(requests, asked, strict=True):
            head = _head(row)
            if isinstance(inputs, RowError):
                yield {**head, "error": {"type": "invalid_row", "message": str(inputs)}}
                continue
            result = next(answered)
            keys: dict[str, Any] = {}
            for name, answer in result.answers.items():
                keys |= self.tasks[name].answer_keys(answer)
            yield {**head, "windows": result.windows, "tasks": keys}

    def answer(self, inputs: Sequence[Mapping[str, EncoderInput]]) -> list[Answered]:
        """Answers to each ask, `{task: what it reads}`, in order. Equal sources are encoded once."""
        readers: dict[Source, set[str]] = defaultdict(set)
        for entry in inputs:
            for name, wanted in entry.items():
                readers[wanted.source].add(name)
        sources = list(readers)
        encodings = dict(zip(sources, self.tokenizer.encode(sources, self.max_length), strict=True))
        outputs = self._run(readers, encodings)
        answers: list[dict[str, Answer]] = [{} for _ in inputs]
        for name, task in self.tasks.items():
            places = [i for i, entry in enumerate(inputs) if name in entry]
            items = [
                Item(entry.source, entry.words, encodings[entry.source], outputs[entry.source, name])
                for entry in (inputs[i][name] for i in places)
            ]
            for i, answer in zip(places, task.decode(items), strict=True):
                answers[i][name] = answer
        return [
            Answered(
                {name: answer[name] for name in entry},
                max((len(encodings[wanted.source]) for wanted in entry.values()), default=1),
            )
            for entry, answer in zip(inputs, answers, strict=True)
        ]

    def items(self, name: str, inputs: Sequence[EncoderInput]) -> list[Item]:
        """What a task decodes for each ask: the outputs of its head, window by window. Equal sources are encoded once."""
        sources = list(dict.fromkeys(entry.source for entry in inputs))
        encodings = dict(zip(sources, self.tokenizer.encode(sources, self.max_length), strict=True))
        outputs = self._run({source: {name} for source in sources}, encodings)
        return [Item(entry.source, entry.words, encodings[entry.source], outputs[entry.source, name]) for entry in inputs]

    def asked(self, row: Any, names: Iterable[str]) -> dict[str, EncoderInput] | RowError:
        """What the named tasks want read of a row, those left out that find nothing in it; what is wrong with a bad row."""
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
        """Outputs of every (source, task), per window in order."""
        groups: dict[tuple[str, ...], list[tuple[Source, Encoding]]] = defaultdict(list)
        for source, names in readers.items():
            key = tuple(name for name in self.tasks if name in names)
            groups[key].extend((source, window) for window in encodings[source])
        outputs: dict[tuple[Source, str], list[dict[str, Array]]] = {
            (source, name): [{} for _ in encodings[source]] for source, names in readers.items() for name in names
        }
        for key, windows in self._together(groups).items():
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

    def _together(
        self, groups: Mapping[tuple[str, ...], list[tuple[Source, Encoding]]]
    ) -> Mapping[tuple[str, ...], list[tuple[Source, Encoding]]]:
        """Windows that are read by different tasks as one group, where all fit into one pack.

        A pass has a price of its own, and a head that reads what it was not asked costs 1 to 4 %: a few rows that ask
        different things are answered by one pass. Not so where tasks own layers.
        """
        windows = [window for group in groups.values() for window in group]
        if len(groups) < 2 or not self.backend.one_trunk:
            return groups
        if sum(len(window) for _, window in windows) > self.batch_tokens:
            return groups
        return {tuple(name for name in self.tasks if any(name in key for key in groups)): windows}


def packs_of(windows: Sequence[tuple[Source, Encoding]], budget: int) -> Iterator[Sequence[tuple[Source, Encoding]]]:
    """Consecutive windows, at most `budget` tokens together (one window always fits)."""
    start, tokens = 0, 0
    for i, (_, window) in enumerate(windows):
        if i > start and tokens + len(window) > budget:
            yield windows[start:i]
            start, tokens = i, 0
        tokens += len(window)
    if start < len(windows):
        yield windows[start:]


def _chunks(rows: Iterable[Row | RowError]) -> Iterator[list[Row | RowError]]:
    """Chunks of bounded rows and characters."""
    iterator = iter(rows)
    while first := list(islice(iterator, 1)):
        chunk, characters = first, _size(first[0])
        while len(chunk) < CHUNK_ROWS and characters < CHUNK_CHARACTERS and (more := list(islice(iterator, 1))):
            chunk.extend(more)
            characters += _size(more[0])
        yield chunk


def _head(row: Any) -> dict[str, Any]:
    """What an output row begins with: the id of its input row, if that has one."""
    if isinstance(row, RowError):
        return {} if row.row_id is None else {"id": row.row_id}
    return {"id": row["id"]} if isinstance(row, Mapping) and "id" in row else {}


def _size(row: Row | RowError) -> int:
    if not isinstance(row, Mapping):
        return 0
    return sum(len(value) for value in row.values() if isinstance(value, str))
