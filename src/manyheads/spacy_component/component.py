"""The pipeline component: answers batches of Docs with one `predict`, and reloads with its pipeline.

Decided here:
- The model is loaded when the component is created, so that a wrong path is an error there. In a pipeline that spaCy reloads,
  it is loaded with the pipeline's data, because the saved copy replaces the path of the config, which may be gone.
- In processes of `nlp.pipe(n_process=...)` each has one thread: torch's threads do not survive a fork, and the processes
  share the cores. A session of ONNX Runtime does not survive it either, so exports are loaded again. Neither does CUDA.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import srsly
from spacy.pipeline import Pipe
from spacy.tokens import Doc
from spacy.util import minibatch

from manyheads.bundle import ExportedBundle
from manyheads.errors import RowError, UsageError
from manyheads.predict import Precision
from manyheads.spacy_component import storage
from manyheads.spacy_component.annotate import Alignment, Annotator

if TYPE_CHECKING:
    from spacy.training import Example

    from manyheads.api import Model

BATCH = 128
"""Docs in a batch if spaCy names no other number; `nlp.pipe` always does."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The config of the component; `make_component` explains it."""

    model: str
    tasks: Sequence[str] | None = None
    device: str | None = None
    precision: Precision = "auto"
    min_score: float | None = None
    alignment_mode: Alignment = "expand"
    overwrite_ents: bool = False
    store: Literal["copy", "path"] = "copy"


class ManyHeads(Pipe):
    """Answers Docs with a model of manyheads. Created by `nlp.add_pipe("manyheads", config={"model": ...})`."""

    def __init__(self, name: str, settings: Settings, scorer: Callable[..., dict[str, Any]] | None = None) -> None:
        self.name = name
        self.settings = settings
        self.scorer = scorer
        self._model: Model | None = None
        self._annotator: Annotator | None = None
        self._note: Mapping[str, Any] | None = None
        self._held: TemporaryDirectory[str] | None = None
        """The model's folder, if it came from bytes."""
        self._process: int | None = os.getpid()
        """The process whose threads the model uses; None after a journey to another process."""
        self.reloaded = False
        """Whether the saved model is still to be read. spaCy then asks whether the component has a `model`, by `hasattr`."""
        self._worker = False
        """Whether this is a process of `nlp.pipe(n_process=...)`."""

    def __reduce__(self) -> tuple[Any, ...]:
        """The settings, with the folder of the model as it is now: another process reads it there."""
        folder = self.settings.model if self._model is None else str(self._model.folder.resolve())
        return _arrived, (self.name, replace(self.settings, model=folder), self._note, self.scorer)

    @property
    def model(self) -> Model:
        """The loaded model. Raises what `load` raises, and UsageError for tasks that it does not have.

        Raises AttributeError while spaCy reloads the pipeline and has not read the saved model yet.
        """
        if self.reloaded and self._model is None:
            raise AttributeError("the model of the saved pipeline has not been read yet")
        return self.loaded()

    def loaded(self) -> Model:
        """The model, loaded if it is not yet."""
        self._prepare_process()
        if self._model is None:
            self._use(self._load(self.settings.model))
        assert self._model is not None
        return self._model

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of all tasks; none before the model is loaded."""
        tasks = () if self._annotator is None else self._annotator.tasks
        return tuple(dict.fromkeys(label for task in tasks for label in task.label_names))

    def __call__(self, doc: Doc) -> Doc:
        """Annotate one Doc. Raises RowError if it cannot be read."""
        answered, error = self._answered([doc])[0]
        if error is not None:
            raise error
        return answered

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = BATCH) -> Iterator[Doc]:
        """Annotate Docs in batches. A Doc that cannot be read goes to the error handler; the others are answered."""
        handle = self.get_error_handler()
        for docs in minibatch(stream, size=batch_size):
            try:
                answered = self._answered(docs)
            except Exception as error:  # the model failed on the batch as a whole, as when memory is short
                handle(self.name, self, docs, error)
                continue
            for doc, problem in answered:
                if problem is None:
                    yield doc
                else:
                    handle(self.name, self, [doc], problem)

    def _answered(self, docs: Sequence[Doc]) -> list[tuple[Doc, RowError | None]]:
        """The Docs of a batch, annotated, or with the reason why not."""
        model, annotator, settings = self.loaded(), self._annotator, self.settings
        assert annotator is not None
        rows = model.predict([annotator.row_of(doc) for doc in docs], settings.tasks, min_score=settings.min_score)
        found: list[tuple[Doc, RowError | None]] = []
        for doc, row in zip(docs, rows, strict=True):
            if "error" in row:
                found.append((doc, RowError(f"the text {doc.text[:40]!r} cannot be read: {row['error']['message']}")))
            else:
                annotator.annotate(doc, row)
                if not self._worker:  # which would return the Doc without its hooks, and a warning for each
                    annotator.hook(doc)
                found.append((doc, None))
        return found

    def score(self, examples: Iterable[Example], **settings: Any) -> dict[str, Any]:
        """The scores of the tasks on examples that the pipeline has annotated; none without a scorer."""
        if self.scorer is None:
            return {}
        _ = self.loaded()
        assert self._annotator is not None, "the model is loaded"
        return self.scorer(examples, **{"labels": self.labels, **settings, "tasks": self._annotator.tasks})

    # -- saving -------------------------------------------------------------------------------------------------
    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Save a copy of the model, or with `store: path` its hash."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        (storage.save_copy if self.settings.store == "copy" else storage.save_note)(self.loaded(), folder)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> ManyHeads:
        """Load the saved copy, or without one the model of the config. Raises BundleError."""
        folder, self.reloaded = Path(path), False
        if (folder / storage.COPY).is_dir():
            self._use(self._load(folder / storage.COPY))
        else:
            self._expect(storage.read_note(folder))
            self.loaded()
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """The files of the model, or with `store: path` its hash."""
        copy = self.settings.store == "copy"
        model = self.loaded()
        return bytes(srsly.msgpack_dumps({"files": storage.files_of(model)} if copy else storage.note_of(model)))

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> ManyHeads:
        """Load the files from a temporary folder; without files, the model of the config. Raises BundleError."""
        found, self.reloaded = srsly.msgpack_loads(data), False
        if "files" in found:
            held = storage.write_files(found["files"])
            self._use(self._load(held.name))
            self._held = held
        else:
            self._expect(found)
            self.loaded()
        return self

    # -- the model ----------------------------------------------------------------------------------------------
    def _load(self, folder: str | Path) -> Model:
        from manyheads.api import load

        return load(folder, device=self.settings.device, precision=self.settings.precision)

    def _use(self, model: Model) -> None:
        """Answer with this model. Raises UsageError for tasks that it does not have, BundleError for another than noted."""
        if self._note is not None:
            storage.check_note(model, self._note)
        names = model.predictor.check_tasks(None if self.settings.tasks is None else list(self.settings.tasks))
        tasks = [model.tasks[name] for name in names]
        self._annotator = Annotator(tasks, self.settings.alignment_mode, self.settings.overwrite_ents)
        self._model = model

    def _expect(self, note: Mapping[str, Any]) -> None:
        """Check the model against a note: now if it is loaded, else when it is."""
        self._note = note
        if self._model is not None:
            storage.check_note(self._model, note)

    def _prepare_process(self) -> None:
        """In a process of `nlp.pipe(n_process=...)`: one thread, and a model that works there. Raises UsageError."""
        if self._process == os.getpid():
            return
        forked, self._process = self._process is not None, os.getpid()
        self._worker = multiprocessing.parent_process() is not None
        if not self._worker:
            return
        if forked and self._model is not None:
            if self._model.device != "cpu":
                raise UsageError(f"the model is on {self._model.device}, which the processes of nlp.pipe cannot share; use "
                                 "n_process=1, which fills the device with batches, or the device cpu")  # fmt: skip
            if isinstance(self._model.bundle, ExportedBundle):
                self._model = self._load(self._model.folder)
        with suppress(ModuleNotFoundError):  # exports run without torch
            import torch

            torch.set_num_threads(1)


def _arrived(
    name: str, settings: Settings, note: Mapping[str, Any] | None, scorer: Callable[..., dict[str, Any]] | None = None
) -> ManyHeads:
    """A component in another process."""
    component = ManyHeads(name, settings, scorer)
    component._process, component._note = None, note
    return component
