"""Whatever reads what strangers made: each loader takes a path, and ends, or raises one of our errors.

A new loader is one function here and one line in LOADERS.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hostile.good import Good, request_rows
from hostile.of_runs import GOOD as RUN

Loader = Callable[[Good, Path], object]


class RefusedByCommandError(Exception):
    """The command ended with a status that is not 0; its arguments are the status and all that it wrote to stderr."""


def warm_up() -> None:
    """Import what the loaders import, so that no case pays for it, or is blamed for what torch does when it comes."""
    import peft
    import pyarrow.parquet
    import torch
    from transformers import AutoTokenizer, BertModel

    import manyheads.api
    import manyheads.cli
    import manyheads.config.build
    import manyheads.start

    torch.set_num_threads(1)
    assert all((peft, pyarrow.parquet, AutoTokenizer, BertModel, manyheads.api, manyheads.cli, manyheads.config.build))


def load_model(_: Good, folder: Path) -> None:
    """`manyheads.load`, and answers to two rows, which must be JSON without NaN."""
    import manyheads

    model = manyheads.load(folder)
    rows = [json.loads(line) for line in request_rows().splitlines()]
    json.dumps(model.predict(rows), allow_nan=False).encode()


def describe_model(_: Good, folder: Path) -> None:
    """`manyheads info`."""
    _command("info", str(folder))


def ask_model(good: Good, folder: Path) -> None:
    """`manyheads predict` with the artefact as the model."""
    _command("predict", str(folder), str(good.rows))


def check_encoder(good: Good, folder: Path) -> None:
    """`manyheads validate`, which builds the whole plan, for a run with the artefact as its encoder."""
    _command("validate", str(_run(folder.parent, folder, good.project / "data/sections.csv")))


def load_encoder(_: Good, folder: Path) -> None:
    """The library's own way: tokenizer, encoder, one pass."""
    from manyheads.nn.encoder_files import check_finite, check_folder
    from manyheads.nn.pretrained import load_encoder
    from manyheads.text.pack import Pack, Source
    from manyheads.text.tokenizer import Tokenizer

    check_folder(folder)
    tokenizer = Tokenizer.from_encoder(str(folder))
    encoder = load_encoder(str(folder))
    check_finite(encoder, folder)
    windows = tokenizer.encode([Source("a fever was the trial of aspirin")], 48)
    encoder(Pack.of(windows[0]))


def read_run(_: Good, path: Path) -> None:
    """The run file alone."""
    from manyheads.config.files import load_run

    load_run(path)


def check_run(_: Good, path: Path) -> None:
    """`manyheads validate`."""
    _command("validate", str(path))


def read_data(kind: str) -> Loader:
    """Every row of a data file, through its task, into a table."""

    def load(_: Good, path: Path) -> None:
        from manyheads.data.build import build_table
        from manyheads.data.readers import Files
        from manyheads.tasks import TASK_TYPES

        table, _report = build_table(TASK_TYPES[kind](name="section"), Files((path,)), "train")
        table.clusters()

    return load


def check_data(kind: str) -> Loader:
    """`manyheads validate` of a run with this file."""

    def load(good: Good, path: Path) -> None:
        _command("validate", str(_run(path.parent, good.encoder, path, kind)))

    return load


def read_rows(_: Good, path: Path) -> None:
    """Every row to answer."""
    from manyheads.data.requests import read_requests

    for _row in read_requests(path):
        pass


def answer_rows(good: Good, path: Path) -> None:
    """`manyheads predict` with the good model; a status of 1 means that some row was bad, which is an answer."""
    try:
        _command("predict", str(good.model), str(path))
    except RefusedByCommandError as error:
        if not (error.args[0] == 1 and "could not be read" in str(error.args[1])):
            raise


def score_answers(_: Good, path: Path) -> None:
    """`manyheads score`."""
    _command("score", "text-classification", str(path.parent / "gold.jsonl"), str(path))


LOADERS: Mapping[str, Mapping[str, Loader]] = {
    "model": {"load": load_model, "info": describe_model, "predict": ask_model},
    "encoder": {"validate": check_encoder, "encoder": load_encoder},
    "run": {"validate": check_run, "run": read_run},
    "ner": {
        "data": read_data("token-classification"),
        "validate": check_data("token-classification"),
        "rows": read_rows,
    },
    "text": {
        "data": read_data("text-classification"),
        "validate": check_data("text-classification"),
        "rows": read_rows,
    },
    "qa": {
        "data": read_data("question-answering"),
        "validate": check_data("question-answering"),
        "rows": read_rows,
    },
    "pairs": {
        "data": read_data("sentence-embedding"),
        "validate": check_data("sentence-embedding"),
        "rows": read_rows,
    },
    "requests": {"predict": answer_rows, "rows": read_rows},
    "answers": {"score": score_answers},
}
"""By what an artefact is made for, everything that would read it, the most telling first."""


def _run(folder: Path, encoder: Path, data: Path, kind: str = "text-classification") -> Path:
    text = RUN.replace("ENCODER", json.dumps(str(encoder))).replace("text-classification", kind)
    file = json.dumps(str(data))
    path = folder / "of-the-test.yaml"
    path.write_text(text.replace("DATA/sections.csv", file))
    return path


def _command(*arguments: str) -> None:
    """The command in this process. Raises RefusedByCommandError with its status and what it wrote to stderr."""
    import contextlib
    import io

    from manyheads.cli import main

    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status: Any = main(list(arguments))
        out.flush()
    if status:
        raise RefusedByCommandError(status, err.getvalue())
