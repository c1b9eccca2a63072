"""The command as a process: arguments, signals, error messages and exit statuses.

Only this module and `verbs.py` print, exit, or read environment variables.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import NoReturn

from manyheads import arguments
from manyheads.argument_parser import Parser
from manyheads.errors import ManyheadsError, StoppedError
from manyheads.process import (
    exit_if_distributed,
    restart_without_small_caches,
    set_up,
    skip_final_collection,
    wait_without_spinning,
)
from manyheads.verbs import VERBS

INTERRUPTED = 1
STOPPED = {
    "bulk": "finished parts are kept; run the same command again to continue",
    "export": "nothing was exported",
    "convert": "no output was written",
    **dict.fromkeys(("pick", "predict"), "no output file was written; run the same command again"),
    "push": "the upload did not finish; run the same command again",
    **dict.fromkeys(("evaluate", "info", "init", "review", "score", "validate"), "no file was written"),
}
"""Message of a verb that was stopped by Ctrl-C or SIGTERM. Other verbs, which train or serve, handle signals themselves."""


def command() -> int:
    """Run the command as its own process; returns the exit status."""
    wait_without_spinning()
    restart_without_small_caches()
    set_up()
    try:
        status = main()
        exit_if_distributed(status)
        return status
    finally:
        skip_final_collection()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parser().parse_args(argv)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if options.name != "push" or not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    verb: Callable[[argparse.Namespace], int] = options.verb
    try:
        with _terminable() if options.name in STOPPED else nullcontext():
            return verb(options)
    except ManyheadsError as error:
        return _failed(options, error, _with_hint(options, error), error.exit_status)
    except KeyboardInterrupt as error:
        message = f"stopped by {_signal_of(error)}; {STOPPED.get(options.name, 'no model was saved')}"
        return _failed(options, error, message, StoppedError.exit_status if options.name == "bulk" else INTERRUPTED)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  the reader is gone; keep the interpreter from writing at exit
        return 1
    except OSError as error:
        return _failed(options, error, f"{error.filename or 'a file'}: {error.strerror or error}", 1)
    except Exception as error:
        message = f"unexpected {type(error).__name__}: {error}; use --debug for a traceback"
        return _failed(options, error, message, 1)


class _Terminated(KeyboardInterrupt):
    """SIGTERM. Has its own constructor so that codecs do not raise a copy with another message."""

    def __init__(self) -> None:
        super().__init__(signal.SIGTERM.name)


def _signal_of(error: KeyboardInterrupt) -> str:
    return signal.SIGTERM.name if isinstance(error, _Terminated) else "Ctrl-C"


@contextmanager
def _terminable() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C: partial output is removed, and a message says what is kept."""

    def stop(number: int, frame: object) -> NoReturn:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():  # only the main thread can handle signals
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except SystemExit as error:  # Ray handles SIGTERM itself and exits
        if error.code != signal.SIGTERM:
            raise
        raise _Terminated from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _with_hint(options: argparse.Namespace, error: ManyheadsError) -> str:
    """The message, with what to do next. Verbs without --resume continue when they are run again."""
    if not error.hint:
        return str(error)
    return f"{error}: {error.hint if hasattr(options, 'resume') else 'run the same command again to continue'}"


def _failed(options: argparse.Namespace, error: BaseException, message: str, status: int) -> int:
    if options.debug:
        import traceback

        traceback.print_exception(error)
    if status == StoppedError.exit_status and os.environ.get("RANK", "0") != "0":
        return status  # the leading process reports it
    print(f"error: {message}", file=sys.stderr)
    return status


def parser() -> Parser:
    """The argument parser with all verbs."""
    return arguments.parser(VERBS)
