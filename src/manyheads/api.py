"""The Python face of a trained model: `load` and `Model`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.bundle import ENCODER, MANIFEST, Bundle, load_bundle, read_manifest
from manyheads.errors import BundleError, RowError, UsageError
from manyheads.onnx_backend import Exported, is_exported, load_exported
from manyheads.predict import Backend, Precision, Predictor, TorchBackend
from manyheads.process import remember_few_shapes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from manyheads.tasks.base import Row, Task

Texts = str | Sequence[str]


class Model:
    """A loaded model folder that answers texts, with torch or from an ONNX graph."""

    def __init__(
        self,
        bundle: Bundle | Exported,
        *,
        device: torch.device | None = None,
        batch_tokens: int = 4096,
        precision: Precision = "auto",
    ) -> None:
        """`batch_tokens`: real tokens in one encoder pass; larger is not always faster. An export has its own precision."""
        backend: Backend
        if isinstance(bundle, Exported):
            backend = bundle.backend
        else:
            import torch

            backend = TorchBackend(bundle.model, device or torch.device("cpu"), precision)
        self.bundle = bundle
        self.predictor = Predictor(
            backend, bundle.tasks, bundle.tokenizer, max_length=bundle.max_length, batch_tokens=batch_tokens
        )

    @property
    def tasks(self) -> Mapping[str, Task[Any]]:
        """The model's tasks by name."""
        return self.bundle.tasks

    def predict(self, inputs: str | Iterable[str | Row], tasks: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Output rows for texts or input rows (`{"text", "question", "id"}`), in order.

        A row that cannot be read has an `error` in place of its answers. Raises UsageError for an unknown task.
        """
        rows = [inputs] if isinstance(inputs, str) else inputs
        return list(self.predictor.predict(({"text": row} if isinstance(row, str) else row for row in rows), tasks))

    def embed(self, texts: Texts, task: str | None = None) -> npt.NDArray[np.float32]:
        """Vectors (n, d), float32, in the order of the texts."""
        import numpy as np

        name = self._only("sentence-embedding", task)
        listed = list(_listed(texts))
        answers = self._answers(name, [{"text": text} for text in listed or [""]])  # where there is none, "" tells d
        return np.stack(answers)[: len(listed)]

    def entities(self, texts: Texts, task: str | None = None) -> list[list[dict[str, Any]]]:
        """Spans of each text: `start`, `end`, `label`, `text`, `score`."""
        return self._answers(self._only("token-classification", task), [{"text": text} for text in _listed(texts)])

    def classify(self, texts: Texts, task: str | None = None) -> list[dict[str, Any]]:
        """Label and scores of each text."""
        return self._answers(self._only("text-classification", task), [{"text": text} for text in _listed(texts)])

    def answer(self, *, question: str, context: str, task: str | None = None) -> list[dict[str, Any]]:
        """The best spans of the context, best first; empty when the context does not answer the question."""
        name = self._only("question-answering", task)
        found = self._answers(name, [{"question": question, "text": context}])[0]
        answers: list[dict[str, Any]] = self.tasks[name].answer_keys(found)[name]
        return answers

    def _answers(self, name: str, rows: Sequence[Row]) -> list[Any]:
        asks = []
        for i, row in enumerate(rows):
            try:
                ask = self.tasks[name].ask(row)
            except RowError as error:
                raise RowError(f"input {i}: {error}") from None
            assert ask is not None, "the rows made here have what the task reads"
            asks.append({name: ask})
        return [answered.answers[name] for answered in self.predictor.answer(asks)]

    def _only(self, kind: str, name: str | None) -> str:
        """The task of a kind: the one named, or the only one there is."""
        fitting = [task for task in self.tasks if self.tasks[task].kind == kind]
        if name is not None:
            if name not in fitting:
                raise UsageError(f"the model has no {kind} task '{name}'; it has {', '.join(fitting) or 'none'}")
            return name
        if not fitting:
            raise UsageError(f"the model has no {kind} task; its tasks are {', '.join(self.tasks)}")
        if len(fitting) > 1:
            raise UsageError(f"the model has several {kind} tasks ({', '.join(fitting)}); say which by task=")
        return fitting[0]


def load(
    name: str | Path, *, device: str | None = None, batch_tokens: int = 4096, precision: Precision = "auto"
) -> Model:
    """The model in a folder, or of a hub id. `device`: `cpu` (default), `cuda`, `cuda:1`.

    Raises BundleError; UsageError for a device that is not there, and where torch is wanted and not installed.

    `precision`: of the encoder's products; `auto` is float32 on a CPU and bf16 on CUDA.

    A folder that `export --to onnx` wrote is answered from by ONNX Runtime on the CPU, without torch.
    """
    folder = find_model(name)
    if is_exported(read_manifest(folder)):
        if device not in (None, "cpu"):
            raise UsageError(f"{folder} is an ONNX export, which runs on the CPU, not on '{device}'; "
                             "load the model that it was made of")  # fmt: skip
        if precision not in ("auto", "float32"):
            raise UsageError(f"{folder} is an ONNX export, which computes in the numbers it was written in, not in "
                             f"{precision}; load the model that it was made of, or export with --quantize int8")  # fmt: skip
        return Model(load_exported(folder), batch_tokens=batch_tokens)
    if precision == "bf16":
        remember_few_shapes()
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UsageError(f"{folder} holds a PyTorch model, and torch is not installed; pip install torch, or load what "
                         "`manyheads export --to onnx` makes of it where torch is") from None  # fmt: skip
    there = ["cpu"]
    if (accelerator := torch.accelerator.current_accelerator(check_available=True)) is not None:
        there += [accelerator.type, *(f"{accelerator.type}:{i}" for i in range(torch.accelerator.device_count()))]
    if device and device not in there:
        raise UsageError(f"there is no device '{device}'; this machine has {', '.join(there)}")
    chosen = torch.device(device) if device else None
    return Model(load_bundle(folder, chosen), device=chosen, batch_tokens=batch_tokens, precision=precision)


def find_model(name: str | Path) -> Path:
    """The folder of a model: a local one, or the local copy of a hub id. Raises BundleError naming the places tried."""
    folder = Path(name)
    if folder.exists() or isinstance(name, Path) or str(name).count("/") != 1:
        return folder
    from huggingface_hub import snapshot_download

    try:
        wanted = [MANIFEST, "*.json", "*.safetensors", "*.onnx", "*.onnx.data", "*.md", "*.yaml", f"{ENCODER}/*"]
        return Path(snapshot_download(str(name), allow_patterns=wanted, etag_timeout=10))
    except Exception as error:  # the hub client raises many kinds, all of which mean: not there
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BundleError(f"no model '{name}': there is no such folder, and the hub gave none ({reason})") from None


def _listed(texts: Texts) -> Sequence[str]:
    return [texts] if isinstance(texts, str) else texts
