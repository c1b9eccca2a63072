"""`manyheads review`: a folder with all doubts as jsonl, csv and an HTML page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from manyheads.annotation.cross_validation import Reader
from manyheads.annotation.listing import as_csv, as_jsonl, rows_of
from manyheads.annotation.page import review_page
from manyheads.annotation.review import TaskReview, judging_task, read_labelled, review_task
from manyheads.annotation.states import layer_states, states_width
from manyheads.bundle import RUN
from manyheads.config.files import RunFile, load_run
from manyheads.errors import EncoderError, UsageError
from manyheads.export.folder import check_output, write_folder

if TYPE_CHECKING:
    from manyheads.inference import LoadedModel
    from manyheads.nn.encoder import Encoder

JSONL, CSV, PAGE = "suspects.jsonl", "suspects.csv", "review.html"


@dataclass(frozen=True, slots=True)
class ReviewRequest:
    """One call of `manyheads review`."""

    data: Path | None
    """A run file; None: the model's own."""
    output: Path
    tasks: Sequence[str] | None = None
    splits: Sequence[str] | None = None
    """None: all that the run file has."""
    own_encoder: bool = False
    """Judge by the model's own encoder, for data that it was not trained on."""


def review(request: ReviewRequest, load: Callable[[], LoadedModel], say: Callable[[str], None]) -> list[TaskReview]:
    """Judge the labels of a run file's data and write the folder. Raises UsageError and DataError."""
    check_output(request.output)
    file = None if request.data is None else load_run(request.data)
    model = load()
    file = file or load_run(model.bundle.folder / RUN)
    names = _tasks(request, model, file, say)
    backend = model.torch_backend("encoder")
    first = None if request.own_encoder else first_encoder(model).to(backend.device)
    labelled = {name: read_labelled(file, name, request.splits) for name in names}
    reviews = []
    for name, (task, examples) in labelled.items():
        say(f"{name}: {len(examples):,} examples")
        branch = backend.model.branch_of(name)
        encoder = first or (branch.encoder if branch else backend.model.encoder)
        states = layer_states(encoder, backend.device)
        tokenizer, max_length = model.bundle.tokenizer, model.bundle.max_length
        reader = Reader(states, states_width(encoder), judging_task(task), tokenizer, max_length)
        reviews.append(review_task(reader, examples))
    rows = list(rows_of(reviews))
    page = review_page(reviews, str(model.bundle.folder), str(file.path))

    def fill(folder: Path) -> None:
        (folder / JSONL).write_bytes(as_jsonl(rows))
        (folder / CSV).write_bytes(as_csv(rows))
        (folder / PAGE).write_text(page, encoding="utf-8")

    write_folder(request.output, fill)
    return reviews


def first_encoder(model: LoadedModel) -> Encoder:
    """The encoder that a model was trained from, which has not seen its labels. Raises EncoderError."""
    from manyheads.config.model import encoder_location
    from manyheads.nn.pretrained import load_encoder

    try:
        located = encoder_location(load_run(model.bundle.folder / RUN))
        return load_encoder(located.path_or_id).eval()
    except EncoderError as error:
        raise EncoderError(f"{error}; labels are judged by the encoder that the model was trained from: make it available, "
                           "or add --own-encoder for data that the model was not trained on") from None  # fmt: skip


def _tasks(request: ReviewRequest, model: LoadedModel, file: RunFile, say: Callable[[str], None]) -> list[str]:
    """The tasks to review: those named, or all of the model that the run file has and that can be."""
    found = []
    for name in model.predictor.check_tasks(request.tasks):
        section, task = file.run.tasks.get(name), model.tasks[name]
        if section is None:
            say(f"{name}: not in {file.path}, so not reviewed")
        elif section.type != task.kind:
            raise UsageError(f"{file.path}: task '{name}' is {section.type}, but in the model it is {task.kind}")
        elif task.choices is None or not task.choices.reviews:
            say(f"{name}: labels of {task.kind} cannot be reviewed")
        elif task.choices.needs_trained_encoder and not request.own_encoder:
            say(f"{name}: not reviewed, because only an encoder that learned {task.kind} can judge it; add --own-encoder, "
                "with data that the model was not trained on")  # fmt: skip
        else:
            found.append(name)
    if not found:
        raise UsageError(
            f"{file.path} has no labels that can be reviewed for {', '.join(model.tasks)}; choose other tasks or data"
        )
    return found
