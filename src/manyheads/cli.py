"""The command: verbs, messages and exit statuses. The only place that prints, exits, or reads environment variables.

Each verb imports what it needs when it runs, so `--help` answers at once.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import manyheads
from manyheads import arguments
from manyheads.arguments import ACTORS, Parser
from manyheads.durable import writing
from manyheads.errors import ManyheadsError, StoppedError, UsageError
from manyheads.process import (
    leave_at_once,
    leave_lightly,
    restart_without_small_caches,
    set_up,
    wait_without_spinning,
)

if TYPE_CHECKING:
    from manyheads.crew.hands import Crew

INTERRUPTED = 1
STOPPED = {
    "bulk": "what is done is kept: the same command goes on from there",
    "export": "nothing was exported",
    "predict": "no -o file was written; start it again for all answers",
    **dict.fromkeys(("evaluate", "info", "score", "validate"), "no file was written"),
}
"""What a verb says of its work when it is stopped by Ctrl-C or SIGTERM. Verbs that are not here train or serve, and listen to
signals themselves."""
AGAIN_S = 5.0
"""Whoever launches several processes passes a signal on that they have had from the terminal already."""


def command() -> int:
    """The command as a process of its own; the exit status."""
    wait_without_spinning()
    restart_without_small_caches()
    set_up()
    try:
        status = main()
        leave_at_once(status)
        return status
    finally:
        leave_lightly()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    options = parser().parse_args(argv)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    verb: Callable[[argparse.Namespace], int] = options.verb
    try:
        with _terminable() if options.name in STOPPED else nullcontext():
            return verb(options)
    except ManyheadsError as error:
        return _failed(options, error, str(error), error.exit_status)
    except KeyboardInterrupt as error:
        message = f"stopped by {_signal_of(error)}; {STOPPED.get(options.name, 'no model was saved')}"
        return _failed(options, error, message, StoppedError.exit_status if options.name == "bulk" else INTERRUPTED)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  the reader has gone: nothing more to say, also at exit
        return 1
    except OSError as error:
        return _failed(options, error, f"{error.filename or 'a file'}: {error.strerror or error}", 1)
    except Exception as error:
        message = f"unexpected {type(error).__name__}: {error}; --debug shows where"
        return _failed(options, error, message, 1)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, with the constructor of its own that keeps codecs from raising a copy with another message."""

    def __init__(self) -> None:
        super().__init__(signal.SIGTERM.name)


def _signal_of(error: KeyboardInterrupt) -> str:
    return signal.SIGTERM.name if isinstance(error, _Terminated) else "Ctrl-C"


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends a verb as Ctrl-C does: what is half written is removed, and a message says what is kept."""

    def stop(number: int, frame: object) -> NoReturn:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():  # which alone may listen
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except SystemExit as error:  # Ray's answer to SIGTERM, which it listens to itself
        if error.code != signal.SIGTERM:
            raise
        raise _Terminated from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _failed(options: argparse.Namespace, error: BaseException, message: str, status: int) -> int:
    if options.debug:
        import traceback

        traceback.print_exception(error)
    if status == StoppedError.exit_status and os.environ.get("RANK", "0") != "0":
        return status  # the process that leads says so for all
    print(f"error: {message}", file=sys.stderr)
    return status


def _demo(options: argparse.Namespace) -> int:
    from manyheads.demo import run_demo
    from manyheads.training.progress import Console

    for line in run_demo(options.output, Console(sys.stderr)):
        print(line, flush=True)
    return 0


def _validate(options: argparse.Namespace) -> int:
    from manyheads.start import validate

    report = validate(options.run, options.overrides)
    for line in report.lines():
        print(line)
    _write_json(options.json, report.to_json())
    if report.errors:
        raise UsageError(
            f"{len(report.errors)} problem{'s' if len(report.errors) > 1 else ''} in the data, listed above"
        )
    return 0


def _train(options: argparse.Namespace) -> int:
    from manyheads.training.stop import StopSignals

    several = os.environ.get("WORLD_SIZE", "1") != "1"
    with StopSignals(together_s=AGAIN_S if several else 0.0) as stop:
        from manyheads.start import train_run
        from manyheads.training.progress import Console
        from manyheads.training.team import join

        team = join(os.environ)
        output, scores = train_run(
            options.run,
            options.output,
            options.overrides,
            Console(sys.stderr),
            resume=options.resume,
            stop=stop,
            team=team,
        )
        team.leave()
        if team.leads:
            _print_scores(scores)
            print(f"model folder: {output}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from manyheads.start import evaluate_model

    scores = evaluate_model(_load(options), data=options.data, split=options.split, names=options.tasks, say=_note)
    _print_scores(scores)
    _write_json(options.json, scores)
    return 0


def _predict(options: argparse.Namespace) -> int:
    from manyheads.answering import Asked, answer_all

    asked = Asked(options.input, options.output, options.tasks, options.keep, options.min_score)
    failed = answer_all(asked, lambda: _load(options), _note)
    if failed:
        _note(f"{failed} row{'s' if failed > 1 else ''} could not be read and got an error in place of answers")
    return 1 if failed else 0


def _score(options: argparse.Namespace) -> int:
    from manyheads.scoring import score_files

    scores = score_files(options.type, options.gold, options.predictions, options.task)
    for note in scores.notes:
        _note(note)
    width = max(map(len, scores.metrics), default=0)
    for name, value in scores.metrics.items():
        print(f"{name:{width}}  {value:.6f}")
    _write_json(options.json, scores.metrics)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from manyheads.training.stop import StopSignals

    with StopSignals() as stop:
        from manyheads.compare.command import REPORT, Asked, compare
        from manyheads.compare.result import lines
        from manyheads.compare.statistics import Settings
        from manyheads.training.progress import Console

        try:
            settings = Settings(margin=options.margin)
        except ValueError as error:
            raise UsageError(f"--margin: {error}") from None
        subsets = [
            name for name, given in (("pairs", options.pairs), ("leave-one-out", options.leave_one_out)) if given
        ]
        asked = Asked(
            options.run, options.output, options.seeds, tuple(options.overrides), settings, tuple(subsets),
            options.try_remedy, _crew(options), options.singles,
        )  # fmt: skip
        result = compare(asked, Console(sys.stderr), stop)
    for line in lines(result):
        print(line)
    print(f"report: {options.output / REPORT}")
    hurt = [name for name, task in result["tasks"].items() if task["verdict"] == "hurts"]
    return 1 if options.fail_if_hurts and hurt else 0


def _tune(options: argparse.Namespace) -> int:
    from manyheads.training.stop import StopSignals

    with StopSignals() as stop:
        try:
            from manyheads.tune.command import REPORT, Asked, tune
        except ModuleNotFoundError as error:
            raise UsageError(f'tune needs {error.name}; pip install "manyheads[tune]"') from None
        from manyheads.training.progress import Console
        from manyheads.tune.result import MODEL, RUN, lines

        asked = Asked(options.run, options.output, options.trials, options.timeout, tuple(options.overrides),
                      tuple(options.keys), _crew(options))  # fmt: skip
        result = tune(asked, Console(sys.stderr), stop)
    for line in lines(result):
        print(line)
    _print_scores(result["scores"])
    for what, name in (("run file", RUN), ("model folder", MODEL), ("report", REPORT)):
        print(f"{what}: {options.output / name}")
    return 0


def _crew(options: argparse.Namespace) -> Crew:
    """Who trains: without --workers a process for each CUDA device, or so many actors of Ray."""
    from manyheads.crew.cluster import check_address
    from manyheads.crew.hands import Crew

    if options.engine == "ray":
        check_address(options.address)
        return Crew(ACTORS if options.workers is None else options.workers, ray=True, address=options.address)
    if options.address is not None:
        raise UsageError("--address is for --engine ray; give that too, or leave --address out")
    if options.workers is not None:
        return Crew(options.workers)
    import torch

    return Crew(max(1, torch.cuda.device_count()))


def _serve(options: argparse.Namespace) -> int:
    try:
        from manyheads.serve.start import Address, serve
    except ModuleNotFoundError as error:
        raise UsageError(f'the server needs {error.name}; pip install "manyheads[serve]"') from None
    from manyheads.serve.keys import Keys
    from manyheads.serve.limits import Limits

    given = {"batch_tokens": options.batch_tokens, "queue_tokens": options.queue_tokens, "deadline_s": options.deadline,
             "min_score": options.min_score}  # fmt: skip
    limits = Limits(**{key: value for key, value in given.items() if value is not None})
    keys = Keys.of(options.api_keys, os.environ.get("MANYHEADS_API_KEYS"))
    address = Address(options.host, options.port, options.origins, options.root_path)
    serve(options.model, address, keys, limits, options.workers,
          precision=options.precision, telemetry=options.telemetry)  # fmt: skip
    return 0


def _bulk(options: argparse.Namespace) -> int:
    if options.engine != "ray" and (options.workers or options.address):
        given = "--workers" if options.workers else "--address"
        raise UsageError(f"{given} is for --engine ray; give that too, or leave {given} out")
    from manyheads.bulk.run import Crew, Job, run_bulk

    job = Job(options.model, options.input, options.output, options.tasks, options.rows_per_part, options.batch_tokens,
              options.precision, options.keep)  # fmt: skip
    crew = Crew(options.workers or ACTORS, options.address) if options.engine == "ray" else None
    try:
        report = run_bulk(job, crew, _note)
    except ModuleNotFoundError as error:
        raise UsageError(f'--engine ray needs {error.name}; pip install "manyheads[bulk]"') from None
    print(
        f"{report.rows:,} rows answered in {options.output}"
        + (f", {report.bad:,} bad rows in *.errors.jsonl" if report.bad else "")
    )
    return 1 if report.bad else 0


def _export(options: argparse.Namespace) -> int:
    if options.allow_drop and options.to == "onnx" and not options.quantize:
        raise UsageError("--allow-drop is for --quantize int8; give that too, or leave --allow-drop out")
    from manyheads.export import Export, export_model

    wanted = Export(
        options.to, options.output, options.task, options.quantize, allow_drop=options.allow_drop, data=options.data
    )
    print(f"exported: {export_model(options.model, wanted, _note)}")
    return 0


def _info(options: argparse.Namespace) -> int:
    from manyheads.api import find_model
    from manyheads.describe import description_lines, model_description

    description = model_description(find_model(options.model))
    for line in description_lines(description):
        print(line)
    _write_json(options.json, description)
    return 0


def _load(options: argparse.Namespace) -> Any:
    return manyheads.load(
        options.model, device=options.device, batch_tokens=options.batch_tokens, precision=options.precision
    )


def _print_scores(scores: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    from manyheads.evaluate import figures, warning_lines

    rows = figures(scores)
    if not rows:
        return
    widths = [max(len(str(row[i])) for row in rows) for i in range(3)]
    for name, split, metric, value in rows:
        print(f"{name:{widths[0]}}  {split:{widths[1]}}  {metric:{widths[2]}}  {value:.4f}")
    for line in warning_lines(scores):
        _note(f"warning: {line}")


def _write_json(path: Path | None, value: Any) -> None:
    if path is not None:
        with writing(path) as write:
            write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _note(line: str) -> None:
    print(line, file=sys.stderr)


VERBS = {
    "demo": _demo, "validate": _validate, "train": _train, "evaluate": _evaluate, "predict": _predict, "score": _score,
    "serve": _serve, "bulk": _bulk, "compare": _compare, "tune": _tune, "export": _export, "info": _info,
}  # fmt: skip


def parser() -> Parser:
    """All verbs and their arguments."""
    return arguments.parser(VERBS)
