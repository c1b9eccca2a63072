"""`manyheads.train`: training from Python, from a run file, a dictionary or a `Run`."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.errors import ManyheadsError

if TYPE_CHECKING:
    from manyheads.api import Model
    from manyheads.config.schema import Run
    from manyheads.training.progress import Progress
    from manyheads.training.step_record import EvaluationRecord, StepRecord

    Callback = Callable[[StepRecord | EvaluationRecord], object]


def train(
    run: str | Path | Mapping[str, Any] | Run,
    *,
    output: str | Path | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    callbacks: Callback | Sequence[Callback] = (),
    progress: bool | None = None,
) -> Model:
    """Train as `manyheads train` does, and return the model, with its scores (`metrics`) and `report`.

    `run`: the path of a run file, a dictionary with the same keys, or a `Run`. In a dictionary, the data of a task may also
    be rows: a list of dictionaries, a DataFrame, an Arrow table or a `datasets.Dataset`, either one for each split
    (`{"train": ..., "test": ...}`, `DatasetDict`) or only training data. Relative paths start at the working folder.

    `overrides`: `KEY=VALUE` with dotted keys, as `--set`. `resume`: continue an interrupted run.
    `callbacks`: functions of the record of each step (`StepRecord`) and of each evaluation on validation data
    (`EvaluationRecord`); what they raise ends the training. `progress`: show a bar; by default in terminals and notebooks.

    In the main thread, Ctrl-C and SIGTERM save the run after the current step and raise StoppedError; with `resume` the same
    call continues it. Raises ManyheadsError and its subclasses, such as ConfigError and DataError.

    >>> import manyheads as mh
    >>> model = mh.train("run.yaml", output="runs/new", overrides=["training.steps=1"])
    >>> list(model.tasks)
    ['entities', 'section', 'answers', 'similarity']
    """
    from manyheads.api import load
    from manyheads.config.files import run_of
    from manyheads.start import train_run
    from manyheads.training.progress import WithCallbacks
    from manyheads.training.stop import StopSignals

    shown = _progress(progress)
    if callbacks:
        shown = WithCallbacks(shown, [callbacks] if callable(callbacks) else callbacks)
    in_main_thread = threading.current_thread() is threading.main_thread()
    try:
        with StopSignals() if in_main_thread else nullcontext() as stop:
            file = run_of(run, overrides)
            folder, _ = train_run(file, Path(output) if output else None, (), shown, resume=resume, stop=stop)
    except ManyheadsError as error:
        if error.hint:
            error.add_note("To continue, call train again with resume=True.")
        raise
    return load(folder)


def _progress(shown: bool | None) -> Progress:
    """What shows the training: a bar in terminals and notebooks, and if asked for, plain lines elsewhere."""
    from manyheads.training.progress import Console, Notebook, Quiet

    if shown is False:
        return Quiet()
    if _in_notebook():
        return Notebook(sys.stderr)
    return Console(sys.stderr) if shown or sys.stderr.isatty() else Quiet()


def _in_notebook() -> bool:
    """Whether this is a notebook whose front end shows widgets."""
    shell = sys.modules.get("IPython")
    kernel = shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"
    return kernel and importlib.util.find_spec("ipywidgets") is not None
