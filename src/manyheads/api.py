"""The Python API of a trained model: `load` and `Model`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from manyheads.bundle import (
    ENCODER,
    MANIFEST,
    Bundle,
    ExportedBundle,
    is_exported,
    load_bundle,
    load_exported,
    model_suggestions,
    read_manifest,
)
from manyheads.data.python_inputs import Inputs, broadcast_rows, rows_of_inputs, task_names
from manyheads.errors import BundleError, RowError, UsageError
from manyheads.nn.resolve_encoder import looks_like_path
from manyheads.outputs.min_score import check_min_score, filter_by_score
from manyheads.predict import Backend, Precision, Predictor, TorchBackend
from manyheads.process import enable_small_onednn_cache

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from manyheads.tasks.base import AnswerForm, Task


FORMS: Mapping[AnswerForm, str] = {"vector": "vectors"}
"""Display names of answer forms that differ from their keys."""


class Model:
    """A loaded model, run by torch or by ONNX Runtime. Usually created by `load`.

    >>> import manyheads as mh
    >>> model = mh.load("runs/demo")
    >>> model.classify(["No patient died."])[0].keys()
    dict_keys(['label', 'score', 'scores'])
    """

    def __init__(
        self,
        bundle: Bundle | ExportedBundle,
        *,
        device: torch.device | None = None,
        batch_tokens: int = 4096,
        precision: Precision = "auto",
    ) -> None:
        """`batch_tokens`: tokens per encoder pass; more is not always faster. `precision` is fixed for exports."""
        backend: Backend
        if isinstance(bundle, ExportedBundle):
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
        """The model's tasks by name.

        >>> import manyheads as mh
        >>> list(mh.load("runs/demo").tasks)
        ['entities', 'section', 'answers', 'similarity']
        """
        return self.bundle.tasks

    def predict(
        self, inputs: Inputs, tasks: str | Iterable[str] | None = None, *, min_score: float | None = None
    ) -> list[dict[str, Any]]:
        """Output rows for texts or input rows (`{"text", "question", "id"}`), in order.

        `inputs`: a text, a row, or any iterable of them; a column of texts (Series, array); a table with a `text` column
        (DataFrame, Dataset, Arrow table). `tasks`: one name or several; by default all. `min_score`: leave out spans,
        answers and multi-label labels with a lower score.

        A row that cannot be read has an `error` instead of answers. Raises UsageError for an unknown task, and for inputs
        that contain neither texts nor rows.

        >>> import manyheads as mh
        >>> model = mh.load("runs/demo")
        >>> rows = model.predict([{"id": 7, "text": "Aspirin lowered fever."}], tasks=["section", "similarity"])
        >>> rows[0]["id"], rows[0]["windows"], list(rows[0]["tasks"])
        (7, 1, ['section', 'similarity'])
        """
        least = check_min_score(min_score)
        return [filter_by_score(row, least) for row in self.predictor.predict(rows_of_inputs(inputs), task_names(tasks))]

    def embed(self, texts: Inputs, task: str | None = None) -> npt.NDArray[np.float32]:
        """Embeddings (n, d), float32, in the order of the texts. `texts`: the same inputs as `predict`.

        Raises RowError for a text that cannot be read, as do the methods below.

        >>> import manyheads as mh
        >>> vectors = mh.load("runs/demo").embed(["A text.", "Another one."])
        >>> len(vectors), vectors.dtype
        (2, dtype('float32'))
        """
        import numpy as np

        name = self._only("vector", task)
        rows = list(rows_of_inputs(texts))
        answers = self._answers(name, rows or [{"text": ""}])  # without texts, "" determines d
        return np.stack(answers)[: len(rows)]

    def entities(self, texts: Inputs, task: str | None = None) -> list[list[dict[str, Any]]]:
        """Spans of each text: `start`, `end`, `label`, `text`, `score`. `texts`: the same inputs as `predict`.

        >>> import manyheads as mh
        >>> text = "Aspirin lowered fever."
        >>> spans = mh.load("runs/demo").entities([text])[0]
        >>> all(text[span["start"] : span["end"]] == span["text"] for span in spans)
        True
        """
        return self._answers(self._only("spans", task), rows_of_inputs(texts))

    def classify(self, texts: Inputs, task: str | None = None) -> list[dict[str, Any]]:
        """Label and scores of each text. `texts`: the same inputs as `predict`; rows may have a `text_pair`.

        >>> import manyheads as mh
        >>> answer = mh.load("runs/demo").classify("No patient died.")[0]
        >>> answer["label"] == max(answer["scores"], key=answer["scores"].get)
        True
        """
        return self._answers(self._only("classes", task), rows_of_inputs(texts))

    @overload
    def answer(self, *, question: str, context: str, task: str | None = None) -> list[dict[str, Any]]: ...
    @overload
    def answer(self, rows: Inputs, *, task: str | None = None) -> list[list[dict[str, Any]]]: ...
    @overload
    def answer(self, *, question: Inputs, context: Inputs, task: str | None = None) -> list[list[dict[str, Any]]]: ...

    def answer(
        self, rows: Inputs = None, *, question: Inputs = None, context: Inputs = None, task: str | None = None
    ) -> list[Any]:
        """Answer spans in the context, best first; empty if the context does not answer the question.

        One question with one context returns its spans. Columns of questions or contexts (a single text is used for every
        row), or `rows` with `question` and `context` (or `text`), return a list of spans for each row.

        >>> import manyheads as mh
        >>> model = mh.load("runs/demo")
        >>> spans = model.answer(question="What lowered fever?", context="Aspirin lowered fever.")
        >>> all(span["text"] in "Aspirin lowered fever." for span in spans)
        True
        >>> len(model.answer(question=["What lowered fever?", "Who?"], context="Aspirin lowered fever."))
        2
        """
        name = self._only("passages", task)
        if (rows is None) == (question is None and context is None) or (question is None) != (context is None):
            raise UsageError("answer takes either rows with a question and a context, or both question= and context=")
        single = isinstance(question, str) and isinstance(context, str)
        questions = rows_of_inputs(rows) if rows is not None else broadcast_rows(question=question, context=context)
        found = [self.tasks[name].answer_keys(answer)[name] for answer in self._answers(name, questions)]
        return found[0] if single else found

    def _answers(self, name: str, rows: Iterable[Any]) -> list[Any]:
        inputs = []
        for i, row in enumerate(rows):
            entry = self.predictor.inputs_of(row, [name])
            if isinstance(entry, RowError):
                raise RowError(f"input {i}: {entry}")
            if name not in entry:
                raise RowError(f"input {i}: has no input for task '{name}'; its keys are {', '.join(row)}")
            inputs.append(entry)
        return [answered.answers[name] for answered in self.predictor.answer(inputs)]

    def _only(self, form: AnswerForm, name: str | None) -> str:
        """The task with answers of this form: the named one, or the only one."""
        fitting = [task for task in self.tasks if self.tasks[task].answer_form == form]
        what = f"task that answers {FORMS.get(form, form)}"
        if name is not None:
            if name not in fitting:
                raise UsageError(f"the model has no {what} called '{name}'; it has {', '.join(fitting) or 'none'}")
            return name
        if not fitting:
            raise UsageError(f"the model has no {what}; its tasks are {', '.join(self.tasks)}")
        if len(fitting) > 1:
            raise UsageError(f"several tasks answer {FORMS.get(form, form)} ({', '.join(fitting)}); choose one with task=")
        return fitting[0]


def load(
    name: str | Path, *, device: str | None = None, batch_tokens: int = 4096, precision: Precision = "auto"
) -> Model:
    """Load a model from a folder or by Hub id.

    `device`: `cpu` (default), `cuda`, `cuda:1`. `precision`: precision of the encoder; `auto` is float32 on a CPU and bf16
    on CUDA. Folders written by `export --to onnx` run in ONNX Runtime on the CPU, without torch.

    Raises BundleError, and UsageError for an unavailable device, or if torch is required but not installed.

    >>> import manyheads as mh
    >>> model = mh.load("runs/demo", batch_tokens=2048)
    >>> len(model.predict("Aspirin lowered fever."))
    1
    """
    folder = find_model(name)
    if is_exported(read_manifest(folder)):
        if device not in (None, "cpu"):
            raise UsageError(f"{folder} is an ONNX export, which runs on the CPU, not on '{device}'; "
                             "load the original model")  # fmt: skip
        if precision not in ("auto", "float32"):
            raise UsageError(f"{folder} is an ONNX export, whose precision is fixed, so it cannot run in "
                             f"{precision}; load the original model, or export with --quantize int8")  # fmt: skip
        return Model(load_exported(folder), batch_tokens=batch_tokens)
    if precision == "bf16":
        enable_small_onednn_cache()
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UsageError(f"{folder} holds a PyTorch model, and torch is not installed; pip install torch, or convert the "
                         "model with `manyheads export --to onnx` on a machine that has torch") from None  # fmt: skip
    available = ["cpu"]
    if (accelerator := torch.accelerator.current_accelerator(check_available=True)) is not None:
        available += [accelerator.type, *(f"{accelerator.type}:{i}" for i in range(torch.accelerator.device_count()))]
    if device and device not in available:
        raise UsageError(f"there is no device '{device}'; this machine has {', '.join(available)}")
    chosen = torch.device(device) if device else None
    return Model(load_bundle(folder, chosen), device=chosen, batch_tokens=batch_tokens, precision=precision)


def find_model(name: str | Path) -> Path:
    """The folder of a model: a local one, or the local copy of a Hub repository.

    The Hub is used only for names `owner/name` that are not a local path. Raises BundleError with similar names.
    """
    folder = Path(name).expanduser()
    if folder.exists() or isinstance(name, Path) or name.count("/") != 1 or looks_like_path(name):
        return folder
    from huggingface_hub import snapshot_download

    try:
        wanted = [MANIFEST, "*.json", "*.safetensors", "*.onnx", "*.onnx.data", "*.md", "*.yaml", f"{ENCODER}/*"]
        return Path(snapshot_download(name, allow_patterns=wanted, etag_timeout=10))
    except Exception as error:  # the Hub client has many errors that all mean "not found"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BundleError(f"no model '{name}': there is no such folder, and the Hub has none ({reason})"
                          f"{model_suggestions(folder, MANIFEST)}") from None  # fmt: skip
