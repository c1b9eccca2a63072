"""The command's arguments: verbs, options, and what is wrong with those given."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import manyheads
from manyheads.errors import UsageError

Verb = Callable[[argparse.Namespace], int]
"""What a verb does; its exit status."""
ACTORS = 2
"""Of Ray."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one sentence."""

    late: Callable[[], None] | None = None
    """Completes the help when it is asked for, with what takes an import."""

    def format_help(self) -> str:
        """The help, completed."""
        if self.late is not None:
            self.late()
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Exit status 2."""
        self.exit(UsageError.exit_status, f"error: {message}; see {self.prog} --help\n")


class Once(argparse.Action):
    """An option with one value: a second one would take the place of the first without a word."""

    def __call__(
        self, parser: argparse.ArgumentParser, options: argparse.Namespace, value: Any, option: str | None = None
    ) -> None:
        """Exit status 2 for a second value."""
        before = getattr(options, self.dest)
        if before is not None:
            parser.error(f"{option} is given twice, {before} and {value}; it takes one")
        setattr(options, self.dest, value)


def parser(run: Mapping[str, Verb]) -> Parser:
    """All verbs and their arguments; `verb` of what is parsed is the one to run, `name` its name."""
    top = Parser(prog="manyheads", description="One text encoder, many heads.")
    top.add_argument("--version", action="version", version=f"manyheads {manyheads.__version__}")
    shared = Parser(add_help=False)
    shared.add_argument("--debug", action="store_true", help="show tracebacks")
    verbs = top.add_subparsers(title="verbs", metavar="VERB", required=True, parser_class=Parser)

    def verb(name: str, help_text: str) -> Parser:
        made = verbs.add_parser(name, help=help_text, description=help_text, parents=[shared])
        made.set_defaults(verb=run[name], name=name)
        return made

    demo = verb("demo", "train four heads on the bundled corpus and show what they do (about 5 minutes)")
    demo.add_argument("--output", type=Path, default=Path("runs/demo"), metavar="DIR", help="model folder (runs/demo)")

    validate = verb("validate", "read all data of a run file and report on it; train nothing")
    validate.add_argument("run", type=Path, metavar="RUN.yaml")
    validate.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    validate.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON too")

    train = verb("train", "train all tasks of a run file on one encoder")
    train.add_argument("run", type=Path, metavar="RUN.yaml")
    train.add_argument("--output", type=Path, metavar="DIR", help="model folder (`output` of the run file)")
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                       help="change a key of the run file, as in training.epochs=1")  # fmt: skip
    train.add_argument("--resume", action="store_true", help="go on with a run that was interrupted")

    evaluate = verb("evaluate", "score a model on labelled data")
    evaluate.add_argument("model", metavar="MODEL")
    evaluate.add_argument(
        "--data", type=Path, metavar="RUN.yaml", help="run file that names the data (the model's own)"
    )
    evaluate.add_argument("--split", default="test", choices=["train", "validation", "test"])
    evaluate.add_argument("--task", nargs="+", action="extend", metavar="NAME", dest="tasks")
    evaluate.add_argument("--json", type=Path, metavar="FILE")
    _runtime(evaluate)

    predict = verb("predict", "answer a text, rows of a file, or those of standard input")
    predict.add_argument("model", metavar="MODEL")
    predict.add_argument("input", nargs="?", default="-", metavar="INPUT", help="a text or a file (jsonl, csv, tsv, parquet, "
                         "or txt with one text a line); '-' (default): jsonl or texts from standard input")  # fmt: skip
    predict.add_argument("-o", "--output", type=Path, metavar="OUTPUT", help="a file that ends in .jsonl, .json, .csv, "
                         ".tsv or .parquet (jsonl on standard output)")  # fmt: skip
    _keeping(predict)
    _sure(predict, "")
    predict.add_argument("--task", nargs="+", action="extend", metavar="NAME", dest="tasks")
    _runtime(predict)

    score = verb("score", "score any system's answers against gold data")
    kind = score.add_argument("type", metavar="TYPE")
    score.late = lambda: _name_types(kind)
    score.add_argument("gold", type=Path, metavar="GOLD")
    score.add_argument("predictions", type=Path, metavar="PREDICTIONS")
    score.add_argument("--task", action=Once, metavar="NAME", help="which task of manyheads prediction rows")
    score.add_argument("--json", type=Path, metavar="FILE")

    _serving(verb("serve", "answer over HTTP: all tasks, one queue, and a page to try the model on"))

    _bulking(verb("bulk", "answer a folder of files into Parquet; goes on where it was stopped"))

    _comparing(verb("compare", "does sharing help each task? the shared run against each task alone"))

    _tuning(verb("tune", "better settings than the recipe's, by trials scored on validation data"))

    _exporting(verb("export", "write a model as an ONNX graph, or a head of it as other tools know it"))

    info = verb("info", "what a model folder holds: tasks, labels, scores, sizes, hashes")
    info.add_argument("model", metavar="MODEL")
    info.add_argument("--json", type=Path, metavar="FILE")
    return top


def _comparing(made: argparse.ArgumentParser) -> None:
    made.add_argument("run", type=Path, metavar="RUN.yaml")
    made.add_argument("-o", "--output", type=Path, required=True, metavar="DIR",
                      help="compare.json, report.html and all runs; the same command goes on there")  # fmt: skip
    made.add_argument("--seeds", type=_seeds, default=tuple(range(6)), metavar="N,N,...", help="0,1,2,3,4,5")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    made.add_argument("--singles", choices=("best", "twin", "both"), default="best",
                      help="single models at their own best, twins at equal examples, or both (best)")  # fmt: skip
    made.add_argument("--margin", type=float, default=0.01, metavar="X",
                      help="differences within it do not matter (0.01: 1 point)")  # fmt: skip
    made.add_argument("--pairs", action="store_true", help="also every two tasks together")
    made.add_argument("--leave-one-out", action="store_true", help="also all tasks but one")
    made.add_argument("--try-remedy", action="store_true",
                      help="also give tasks that fall behind layers of their own, as few as will do")  # fmt: skip
    _crewed(made, "runs")
    made.add_argument("--fail-if-hurts", action="store_true", help="exit status 1 if sharing hurts a task")


def _tuning(made: argparse.ArgumentParser) -> None:
    made.add_argument("run", type=Path, metavar="RUN.yaml")
    made.add_argument("-o", "--output", type=Path, required=True, metavar="DIR",
                      help="run.yaml and model of the best trial, report.html; the same command goes on")  # fmt: skip
    made.add_argument("--trials", type=_positive, default=20, metavar="N", help="in all (20)")
    made.add_argument("--timeout", type=_positive, metavar="S", help="seconds after which trials end; the best of those "
                      "that are finished is trained then")  # fmt: skip
    made.add_argument("--keys", nargs="+", action="extend", default=[], metavar="NAME",
                      help="tune just these: learning_rate, head_learning_rate, epochs (or steps), private_tops, weights; "
                           "also where the run file sets them")  # fmt: skip
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    _crewed(made, "trials")


def _crewed(made: argparse.ArgumentParser, what: str) -> None:
    made.add_argument("--workers", type=_positive, metavar="N",
                      help=f"{what} at a time (one for each CUDA device, or 1; {ACTORS} with Ray)")  # fmt: skip
    made.add_argument("--engine", choices=["local", "ray"], default="local", help="processes here, or on a Ray cluster")
    made.add_argument("--address", metavar="HOST:PORT", help="of a Ray cluster; else Ray runs on this machine alone")


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers; write 0,1,2") from None


def _serving(made: argparse.ArgumentParser) -> None:
    made.add_argument("model", metavar="MODEL")
    made.add_argument("--host", default="127.0.0.1", metavar="NAME", help="address to listen on (127.0.0.1)")
    made.add_argument("--port", type=_port, default=8000, metavar="N", help="8000; 0 for any that is free")
    made.add_argument(
        "--workers", type=_positive, metavar="N", help="processes that hold the model (2, or 1 on one core)"
    )
    made.add_argument("--api-keys", type=Path, metavar="FILE",
                       help="a key a line, which every request must give; also MANYHEADS_API_KEYS")  # fmt: skip
    made.add_argument("--allow-origin", action="append", default=[], metavar="ORIGIN", dest="origins",
                      help="let pages of https://HOST ask from browsers; may be repeated, '*' for all")  # fmt: skip
    made.add_argument("--root-path", default="", metavar="PATH", help="the path below which a proxy serves this")
    made.add_argument("--batch-tokens", type=_positive, metavar="N", help="tokens of a pass (1024)")
    made.add_argument("--queue-tokens", type=_positive, metavar="N", help="tokens that may wait (1,000,000)")
    _precise(made)
    _sure(made, ", where a request does not say")
    made.add_argument(
        "--telemetry", action="store_true", help="send traces over OTLP, as OpenTelemetry's variables say"
    )
    made.add_argument("--deadline", type=_positive, metavar="S",
                      help="seconds from a request to its answer (30); what cannot have one by then is refused")  # fmt: skip


def _bulking(made: argparse.ArgumentParser) -> None:
    made.add_argument("model", metavar="MODEL")
    made.add_argument("input", type=Path, metavar="INPUT", help="a file or folder of jsonl, csv, tsv or parquet")
    made.add_argument("output", type=Path, metavar="OUTPUT", help="a folder; the same again to go on")
    made.add_argument("--engine", choices=["local", "ray"], default="local")
    made.add_argument("--workers", type=_positive, metavar="N", help=f"actors of Ray ({ACTORS})")
    made.add_argument("--address", metavar="HOST:PORT", help="of a Ray cluster; else Ray runs on this machine alone")
    made.add_argument("--task", nargs="+", action="extend", metavar="NAME", dest="tasks")
    _keeping(made)
    made.add_argument(
        "--rows-per-part", type=_positive, default=10_000, metavar="N", help="rows of an output file (10,000)"
    )
    made.add_argument("--batch-tokens", type=_positive, default=4096, metavar="N", help="real tokens a pass (4096)")
    _precise(made)


def _exporting(made: argparse.ArgumentParser) -> None:
    made.add_argument("model", metavar="MODEL")
    made.add_argument("--to", required=True, choices=["onnx", "transformers", "sentence-transformers"])
    made.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    made.add_argument(
        "--task", action=Once, metavar="NAME", help="one head (onnx: all of them; else the only one that fits)"
    )
    made.add_argument("--quantize", choices=["int8"], help="weights in 8 bits, if no head loses more than 0.5 point")
    made.add_argument("--allow-drop", action="store_true", help="accept any loss of --quantize")
    made.add_argument("--data", type=Path, metavar="RUN.yaml", help="run file whose validation data --quantize is scored "
                      "on (the model's own)")  # fmt: skip


def _keeping(made: argparse.ArgumentParser) -> None:
    made.add_argument("--keep", action="store_true", help="also write the input's own columns, beside the answers")


def _sure(made: argparse.ArgumentParser, when: str) -> None:
    made.add_argument("--min-score", type=_score, metavar="X",
                      help=f"leave out spans, answers and labels whose score is lower, 0 to 1{when}")  # fmt: skip


def _runtime(made: argparse.ArgumentParser) -> None:
    made.add_argument("--batch-tokens", type=_positive, default=4096, metavar="N", help="real tokens a pass (4096)")
    made.add_argument("--device", default="cpu", metavar="NAME", help="cpu (default) or cuda")
    _precise(made)


def _precise(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--precision", choices=["auto", "float32", "bf16"], default="auto",
        help="of the encoder's products (auto: bf16 on CUDA, else float32); bf16 is faster on a CPU that has AMX",
    )  # fmt: skip


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, seen {text!r}")
    return value


def _name_types(kind: argparse.Action) -> None:
    """Help that names the task types, of other packages too."""
    from manyheads.tasks import TASK_TYPES

    *most, last = TASK_TYPES
    kind.help = f"{', '.join(most)} or {last}"


def _score(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, seen {text!r}")
    return value


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 65535, seen {text!r}")
    return int(text)
