"""The Python face of a trained model: `load` and `Model`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from manyheads.bundle import ENCODER, MANIFEST, Bundle, load_bundle, near_models, read_manifest
from manyheads.data.given import Given, one_each, rows_given, task_names
from manyheads.errors import BundleError, RowError, UsageError
from manyheads.nn.locate import looks_like_path
from manyheads.onnx_backend import Exported, is_exported, load_exported
from manyheads.outputs.sure import checked_score, sure_of
from manyheads.predict import Backend, Precision, Predictor, TorchBackend
from manyheads.process import remember_few_shapes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from manyheads.tasks.base import AnswerForm, Task


FORMS: Mapping[AnswerForm, str] = {"vector": "vectors"}
"""Forms of answers in words, where they are others."""


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

    def predict(
        self, inputs: Given, tasks: str | Iterable[str] | None = None, *, min_score: float | None = None
    ) -> list[dict[str, Any]]:
        """Output rows for texts or input rows (`{"text", "question", "id"}`), in order.

        `inputs`: a text, a row, or any iterable of them; a column of texts (Series, array); a table with a `text` column
        (DataFrame, Dataset, Arrow table). `tasks`: one name or several; all by default. `min_score`: spans, answers, and
        labels of several, with a lower score are left out.

        A row that cannot be read has an `error` in place of its answers. Raises UsageError for an unknown task, and for
        inputs that hold neither texts nor rows.
        """
        least = checked_score(min_score)
        return [sure_of(row, least) for row in self.predictor.predict(rows_given(inputs), task_names(tasks))]

    def embed(self, texts: Given, task: str | None = None) -> npt.NDArray[np.float32]:
        """Vectors (n, d), float32, in the order of the texts. `texts`: whatever `predict` takes.

        Raises RowError for a text that cannot be read, as do the methods below.
        """
        import numpy as np

        name = self._only("vector", task)
        rows = list(rows_given(texts))
        answers = self._answers(name, rows or [{"text": ""}])  # where there is none, "" tells d
        return np.stack(answers)[: len(rows)]

    def entities(self, texts: Given, task: str | None = None) -> list[list[dict[str, Any]]]:
        """Spans of each text: `start`, `end`, `label`, `text`, `score`. `texts`: whatever `predict` takes."""
        return self._answers(self._only("spans", task), rows_given(texts))

    def classify(self, texts: Given, task: str | None = None) -> list[dict[str, Any]]:
        """Label and scores of each text. `texts`: whatever `predict` takes; rows may have a `text_pair`."""
        return self._answers(self._only("classes", task), rows_given(texts))

    @overload
    def answer(self, *, question: str, context: str, task: str | None = None) -> list[dict[str, Any]]: ...
    @overload
    def answer(self, rows: Given, *, task: str | None = None) -> list[list[dict[str, Any]]]: ...
    @overload
    def answer(self, *, question: Given, context: Given, task: str | None = None) -> list[list[dict[str, Any]]]: ...

    def answer(
        self, rows: Given = None, *, question: Given = None, context: Given = None, task: str | None = None
    ) -> list[Any]:
        """The best spans of the context, best first; empty when the context does not answer the question.

        One question about one context gives its spans. Columns of questions or contexts (one text stands for all), or
        `rows` with `question` and `context` (or `text`) give a list of spans for each.
        """
        name = self._only("passages", task)
        if (rows is None) == (question is None and context is None) or (question is None) != (context is None):
            raise UsageError("answer takes either rows with a question and a context, or both question= and context=")
        one = isinstance(question, str) and isinstance(context, str)
        asked = rows_given(rows) if rows is not None else one_each(question=question, context=context)
        found = [self.tasks[name].answer_keys(answer)[name] for answer in self._answers(name, asked)]
        return found[0] if one else found

    def _answers(self, name: str, rows: Iterable[Any]) -> list[Any]:
        inputs = []
        for i, row in enumerate(rows):
            entry = self.predictor.asked(row, [name])
            if isinstance(entry, RowError):
                raise RowError(f"input {i}: {entry}")
            if name not in entry:
                raise RowError(f"input {i}: has nothing for task '{name}'; its keys are {', '.join(row)}")
            inputs.append(entry)
        return [answered.answers[name] for answered in self.predictor.answer(inputs)]

    def _only(self, form: AnswerForm, name: str | None) -> str:
        """The task whose answers have a form: the one named, or the only one there is."""
        fitting = [task for task in self.tasks if self.tasks[task].answer_form == form]
        what = f"task that answers {FORMS.get(form, form)}"
        if name is not None:
            if name not in fitting:
                raise UsageError(f"the model has no {what} called '{name}'; it has {', '.join(fitting) or 'none'}")
            return name
        if not fitting:
            raise UsageError(f"the model has no {what}; its tasks are {', '.join(self.tasks)}")
        if len(fitting) > 1:
            raise UsageError(f"several tasks answer {FORMS.get(form, form)} ({', '.join(fitting)}); say which by task=")
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
    """The folder of a model: a local one, or the local copy of a hub id.

    The hub is asked for `owner/name` only where that cannot be a path. Raises BundleError naming what is near.
    """
    folder = Path(name).expanduser()
    if folder.exists() or isinstance(name, Path) or name.count("/") != 1 or looks_like_path(name):
        return folder
    from huggingface_hub import snapshot_download

    try:
        wanted = [MANIFEST, "*.json", "*.safetensors", "*.onnx", "*.onnx.data", "*.md", "*.yaml", f"{ENCODER}/*"]
        return Path(snapshot_download(name, allow_patterns=wanted, etag_timeout=10))
    except Exception as error:  # the hub client raises many kinds, all of which mean: not there
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BundleError(f"no model '{name}': there is no such folder, and the hub gave none ({reason})"
                          f"{near_models(folder, MANIFEST)}") from None  # fmt: skip
