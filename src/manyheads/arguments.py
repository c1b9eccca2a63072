"""The arguments of the command: verbs, options and their help."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import manyheads
from manyheads.argument_parser import Once, Parser, column, margin, port, positive, positive_number, score_value, seeds

Verb = Callable[[argparse.Namespace], int]
"""Runs a verb and returns its exit status."""
RAY_WORKERS = 2
"""Default number of Ray actors."""


def parser(run: Mapping[str, Verb]) -> Parser:
    """All verbs and their arguments; the parsed `verb` is the function to run, `name` its name.

    >>> parser(dict.fromkeys(COMMANDS)).parse_args(["train", "run.yaml", "--set", "training.epochs=1"]).overrides
    ['training.epochs=1']
    """
    top = Parser(prog="manyheads", description="Train, evaluate and serve several NLP tasks on one shared text encoder.")
    top.add_argument("--version", action="version", version=f"manyheads {manyheads.__version__}")
    shared = Parser(add_help=False)
    shared.add_argument("--debug", action="store_true", help="print tracebacks of errors")
    verbs = top.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    for name, (summary, add_arguments) in COMMANDS.items():
        made = verbs.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", parents=[shared])
        made.set_defaults(verb=run[name], name=name)
        add_arguments(made)
    return top


def _demo(made: Parser) -> None:
    made.add_argument("-o", "--output", type=Path, default=Path("runs/demo"), metavar="DIR",
                      help="model folder (default: runs/demo)")  # fmt: skip
    made.add_argument("--alone", action="store_true", help="also train each head alone, to compare (about as long again); "
                      "uses the model in DIR if it is there")  # fmt: skip


def _init(made: Parser) -> None:
    add = made.add_argument
    add("files", nargs="*", type=Path, metavar="FILE", help="data files of any known format, or folders of them")
    add("-o", "--output", type=Path, metavar="RUN.yaml", help="run file to write (default: run.yaml); '-': standard output")
    add("--example", choices=["biomedical", "support", "search"],
        help="write a small project with data of its own into a new folder instead (default: the example's name; "
             "-o DIR)")  # fmt: skip
    add("--force", action="store_true", help="replace RUN.yaml if it exists")


def _schema(made: Parser) -> None:
    """No arguments."""


def _completion(made: Parser) -> None:
    made.add_argument("shell", choices=["bash", "zsh"], help="bash or zsh")


def _validate(made: Parser) -> None:
    _run_file(made)
    _json(made)


def _train(made: Parser) -> None:
    _run_file(made)
    made.add_argument("-o", "--output", type=Path, metavar="DIR", help="model folder (default: `output` of the run file)")
    made.add_argument("--resume", action="store_true", help="continue an interrupted run from its last checkpoint")
    _training_device(made)


def _evaluate(made: Parser) -> None:
    _model(made)
    made.add_argument("--data", type=Path, metavar="RUN.yaml", help="run file that names the data (default: the model's own)")
    made.add_argument("--split", default="test", choices=["train", "validation", "test"],
                      help="split to score (default: test)")  # fmt: skip
    made.add_argument("--against", metavar="OTHER", help="also compare with another model, task by task; exit with status 1 "
                      "if MODEL is worse on any")  # fmt: skip
    made.add_argument("--margin", type=margin, default=0.01, metavar="X", help="with --against: smaller differences are "
                      "irrelevant (default: 0.01, or 1 point)")  # fmt: skip
    _tasks(made)
    _json(made)
    _runtime(made)


def _predict(made: Parser) -> None:
    _model(made)
    made.add_argument("input", nargs="?", default="-", metavar="INPUT", help="a text, or a file: jsonl, csv, tsv, parquet, "
                      "or txt with one text per line; '-' (default): jsonl or texts on standard input")  # fmt: skip
    made.add_argument("-o", "--output", type=Path, metavar="OUTPUT", help="output file: .jsonl, .json, .csv, .tsv, "
                      ".parquet, or one of the formats of --to (default: jsonl on standard output)")  # fmt: skip
    _output_format(made)
    _keep(made)
    _min_score(made, "")
    made.add_argument("--labels", type=Path, metavar="FILE", help="labels to choose among, for a task with by_name: YAML or "
                      "JSON, a list of labels or a mapping of labels to descriptions")  # fmt: skip
    _tasks(made)
    _runtime(made)


def _score(made: Parser) -> None:
    add = made.add_argument
    kind = add("type", metavar="TYPE")
    made.late = lambda: _list_task_types(kind)
    add("gold", type=Path, metavar="GOLD", help="file with gold labels")
    add("predictions", type=Path, metavar="PREDICTIONS",
        help="predictions of any system, as rows of `manyheads predict` or in the format of GOLD")  # fmt: skip
    add("--task", action=Once, metavar="NAME",
        help="task to score, if PREDICTIONS has rows of `manyheads predict` with several tasks")  # fmt: skip
    _json(made)


def _convert(made: Parser) -> None:
    add = made.add_argument
    add("input", type=Path, metavar="INPUT", help="a data file in any format that is read, or a folder of brat files")
    add("-o", "--output", type=Path, required=True, metavar="OUTPUT", help="output file, or folder for brat; must not exist")
    _output_format(made)
    add("--from", action=Once, metavar="FORMAT", dest="input_format", help="input format (default: detected)")
    kind = add("--type", action=Once, metavar="TYPE")
    made.late = lambda: _list_task_types(kind, ", for data that several could read")
    add("--task", action=Once, metavar="NAME", help="task, for rows with the labels or answers of several")
    add("--columns", nargs="+", action="extend", type=column, default=[], metavar="OURS=THEIRS",
        help="columns of INPUT that have other names, such as label=topic")  # fmt: skip


def _pick(made: Parser) -> None:
    add = made.add_argument
    add("models", nargs="+", metavar="MODEL", help="model folder or Hub id; of several, such as seeds of one "
        "run, rows that they disagree about are preferred")  # fmt: skip
    add("rows", metavar="ROWS", help="unlabelled rows: jsonl, csv, tsv, parquet, or txt with one text per line; '-': "
        "jsonl or texts on standard input")  # fmt: skip
    add("-n", type=positive, default=100, metavar="N", dest="count", help="number of rows to pick (default: 100)")
    add("-o", "--output", type=Path, required=True, metavar="FILE",
        help="output file, with the model's answers as a first annotation")  # fmt: skip
    _output_format(made)
    add("--by", default="mixed", metavar="STRATEGY", help="mixed (default: uncertain, and unlike one another), margin, "
        "entropy, confidence, disagreement, diversity, gradient or random")  # fmt: skip
    add("--labelled", nargs="+", action="extend", type=Path, default=[], metavar="FILE",
        help="labelled files whose rows are not picked again")  # fmt: skip
    add("--columns", nargs="+", action="extend", type=column, default=[], metavar="OURS=THEIRS",
        help="columns of ROWS and of labelled files that have other names, such as text=body label=topic (default: as in the "
             "model's run file)")  # fmt: skip
    add("--seed", type=int, default=0, metavar="N", help="seed of random choices (default: 0)")
    _tasks(made)
    _runtime(made)


def _review(made: Parser) -> None:
    add = made.add_argument
    _model(made)
    add("data", nargs="?", type=Path, metavar="RUN.yaml", help="run file that names the data (default: the model's own)")
    add("-o", "--output", type=Path, required=True, metavar="DIR",
        help="new folder for suspects.jsonl, suspects.csv and review.html")  # fmt: skip
    add("--split", nargs="+", action="extend", choices=["train", "validation", "test"], metavar="SPLIT", dest="splits",
        help="splits to review: train, validation, test (default: all)")  # fmt: skip
    add("--own-encoder", action="store_true", help="judge by the model's own encoder, for data that it was not trained on "
        "(default: by the encoder that it was trained from)")  # fmt: skip
    _tasks(made)
    _runtime(made)


def _serve(made: Parser) -> None:
    add = made.add_argument
    add("models", nargs="+", metavar="MODEL", help="model folder or Hub id, or NAME=MODEL; several are served below "
        "/models/NAME")  # fmt: skip
    add("--host", default="127.0.0.1", metavar="NAME", help="address to bind (default: 127.0.0.1)")
    add("--port", type=port, default=8000, metavar="N", help="port to bind (default: 8000); 0: any free port")
    add("--workers", type=positive, metavar="N",
        help="worker processes of each model, each with a copy of it (default: one for each GPU; without one 2, or 1 on a "
             "single core; 1 with several models)")  # fmt: skip
    add("--memory", type=positive_number, metavar="GB", help="memory for several models; models that are not used make room "
        "(default: 0.8 of the memory of the machine or container)")  # fmt: skip
    add("--api-keys", type=Path, metavar="FILE", help="file of API keys, one per line; requests must send one "
        "(or set MANYHEADS_API_KEYS)")  # fmt: skip
    add("--allow-origin", action="append", default=[], metavar="ORIGIN", dest="origins",
        help="allow browser requests from pages of ORIGIN, such as https://HOST, or '*' for all; "
             "may be repeated")  # fmt: skip
    add("--root-path", default="", metavar="PATH", help="path prefix that a proxy in front strips")
    add("--batch-tokens", type=positive, metavar="N", help="maximum tokens per batch (default: 1024, or 16,384 on CUDA)")
    add("--queue-tokens", type=positive, metavar="N", help="maximum tokens of waiting requests (default: 1,000,000)")
    _device(made)
    _precision(made)
    _min_score(made, "; requests may override it")
    add("--batches", type=Path, metavar="DIR", help="folder for files of the batch API, kept for a day (default: no batch "
        "API); a server that is started again continues its batches")  # fmt: skip
    add("--telemetry", action="store_true", help="send OpenTelemetry traces over OTLP, as configured by OTEL_* variables")
    add("--deadline", type=positive, metavar="S",
        help="seconds within which to answer (default: 30); requests that would take longer are rejected")  # fmt: skip


def _bulk(made: Parser) -> None:
    add = made.add_argument
    _model(made)
    add("input", type=Path, metavar="INPUT", help="a file or folder of jsonl, csv, tsv or parquet")
    add("output", type=Path, metavar="OUTPUT", help="output folder; give it again to continue")
    add("--to", action=Once, metavar="FORMAT", help="parquet, the one format that can be continued part by part")
    add("--engine", choices=["local", "ray"], default="local",
        help="this process, or actors on a Ray cluster (default: local)")  # fmt: skip
    add("--workers", type=positive, metavar="N", help=f"number of Ray actors (default: {RAY_WORKERS})")
    _ray_address(made)
    _tasks(made)
    _keep(made)
    add("--rows-per-part", type=positive, default=10_000, metavar="N", help="rows per output file (default: 10,000)")
    _batch_tokens(made)
    _device(made)
    _precision(made)


def _compare(made: Parser) -> None:
    add = made.add_argument
    _run_file(made)
    add("-o", "--output", type=Path, required=True, metavar="DIR",
        help="folder for compare.json, report.html and all runs; give it again to continue")  # fmt: skip
    add("--seeds", type=seeds, default=tuple(range(6)), metavar="N,N,...", help="seeds of the runs (default: 0,1,2,3,4,5)")
    add("--singles", choices=("best", "twin", "both"), default="best",
        help="compare with single-task models tuned on their own (best, the default), trained on the same "
             "examples as the shared run (twin), or both")  # fmt: skip
    add("--margin", type=margin, default=0.01, metavar="X",
        help="equivalence margin; smaller differences are irrelevant (default: 0.01, or 1 point)")  # fmt: skip
    add("--pairs", action="store_true", help="also train every pair of tasks")
    add("--leave-one-out", action="store_true", help="also train all tasks but one, for each task")
    add("--try-remedy", action="store_true",
        help="also try private top layers, as few as needed, for tasks that sharing hurts")  # fmt: skip
    _workers(made, "runs")
    _training_device(made)
    add("--fail-if-hurts", action="store_true", help="exit with status 1 if sharing hurts a task")


def _tune(made: Parser) -> None:
    add = made.add_argument
    _run_file(made)
    add("-o", "--output", type=Path, required=True, metavar="DIR",
        help="folder for the best run.yaml, its model and report.html; give it again to continue")  # fmt: skip
    add("--trials", type=positive, default=20, metavar="N", help="total number of trials (default: 20)")
    add("--timeout", type=positive, metavar="S",
        help="stop the trials after S seconds and train the best finished one")  # fmt: skip
    add("--keys", nargs="+", action="extend", default=[], metavar="NAME",
        help="tune only these settings, even if the run file sets them: learning_rate, head_learning_rate, "
             "epochs (or steps), private_tops, weights")  # fmt: skip
    _workers(made, "trials")
    _training_device(made)


def _add(made: Parser) -> None:
    _model(made)
    _run_file(made)
    _new_model(made)
    _owns(made)
    _training_device(made)


def _retrain(made: Parser) -> None:
    _model(made)
    _run_file(made)
    made.add_argument("--task", action=Once, required=True, metavar="NAME", help="task to train again")
    _new_model(made)
    _owns(made)
    _training_device(made)


def _drop(made: Parser) -> None:
    _model(made)
    made.add_argument("--task", nargs="+", action="extend", required=True, metavar="NAME", dest="tasks", help="tasks to drop")
    _new_model(made)


def _rename(made: Parser) -> None:
    _model(made)
    made.add_argument("old", metavar="OLD", help="name of a task")
    made.add_argument("new", metavar="NEW", help="its new name")
    _new_model(made)


def _merge(made: Parser) -> None:
    made.add_argument("models", nargs="+", metavar="MODEL", help="model folders or Hub ids with the same encoder")
    _new_model(made)


def _new_model(made: Parser) -> None:
    made.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the new model")


def _owns(made: Parser) -> None:
    made.add_argument("--own", default="auto", metavar="WHAT", help="what the task may train: head, top:N (the N upper "
                      "layers as well), lora, or auto (default): the cheapest of these that is within a point of the task "
                      "trained alone")  # fmt: skip


def _export(made: Parser) -> None:
    add = made.add_argument
    _model(made)
    add("--to", required=True, choices=["onnx", "transformers", "sentence-transformers"], help="output format")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="output folder")
    add("--task", action=Once, metavar="NAME",
        help="task to export (default: all with onnx, otherwise the only one that fits)")  # fmt: skip
    add("--quantize", choices=["int8"], help="store weights in 8 bits; fails if a task loses over 0.5 points")
    add("--allow-drop", action="store_true", help="accept any loss of --quantize")
    add("--data", type=Path, metavar="RUN.yaml",
        help="run file with the validation data for --quantize (default: the model's own)")  # fmt: skip


def _push(made: Parser) -> None:
    add = made.add_argument
    _model(made)
    add("repo", metavar="REPO", help="Hub repository, owner/name; created if needed")
    add("--private", action="store_true", help="make a new repository private")
    add("--revision", action=Once, metavar="BRANCH", help="branch to push to, created if needed (default: main)")
    add("--message", action=Once, metavar="TEXT", help="commit message")
    add("--dry-run", action="store_true", help="check the model and list its files, without sending anything")


def _info(made: Parser) -> None:
    _model(made)
    _json(made)


COMMANDS: Mapping[str, tuple[str, Callable[[Parser], None]]] = {
    "demo": ("train four tasks on the bundled corpus and show their answers, in about 5 minutes", _demo),
    "init": ("write a run file from data files, or an example project", _init),
    "validate": ("check a run file and its data without training", _validate),
    "train": ("train all tasks of a run file on one encoder", _train),
    "evaluate": ("score a model on labelled data", _evaluate),
    "predict": ("run a model on a text, a file or standard input", _predict),
    "convert": ("convert data files between formats, such as brat, BioC, CoNLL and those of annotation tools", _convert),
    "score": ("score the predictions of any system against gold labels", _score),
    "pick": ("pick the rows to label next, with the model's answers as a first annotation", _pick),
    "review": ("list the gold labels that are most likely wrong", _review),
    "serve": ("serve a model over HTTP, with a playground in the browser", _serve),
    "bulk": ("run a model on a folder of files, with Parquet output; can be resumed", _bulk),
    "compare": ("test whether sharing an encoder helps each task, against single-task models", _compare),
    "tune": ("search for better hyperparameters with trials on validation data", _tune),
    "add": ("add tasks to a model; all other tasks answer exactly as before", _add),
    "retrain": ("train one task of a model again; all other tasks answer exactly as before", _retrain),
    "drop": ("remove tasks from a model", _drop),
    "rename": ("rename a task of a model", _rename),
    "merge": ("merge models with the same encoder into one", _merge),
    "export": ("export a model to ONNX, transformers or sentence-transformers", _export),
    "push": ("upload a model, with its model card, to the Hugging Face Hub", _push),
    "info": ("show tasks, labels, scores, sizes and hashes of a model", _info),
    "schema": ("print the JSON Schema of run files, for completion and checks in editors", _schema),
    "completion": ("print a completion script for a shell", _completion),
}
"""By verb: its summary, and a function that adds its arguments."""


def _model(made: Parser) -> None:
    made.add_argument("model", metavar="MODEL", help="model folder or Hub id")


def _training_device(made: Parser) -> None:
    made.add_argument("--device", action=Once, metavar="NAME", help="cpu, cuda, or auto: a GPU if there is one (default: "
                      "`training.device` of the run file, which is auto unless set)")  # fmt: skip


def _run_file(made: Parser) -> None:
    made.add_argument("run", type=Path, metavar="RUN.yaml", help="run file")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                      help="override a key of the run file, such as training.epochs=1; may be repeated")  # fmt: skip


def _tasks(made: Parser) -> None:
    made.add_argument("--task", nargs="+", action="extend", metavar="NAME", dest="tasks", help="tasks (default: all)")


def _json(made: Parser) -> None:
    made.add_argument("--json", type=Path, metavar="FILE", help="also write the result to FILE as JSON")


def _workers(made: Parser, what: str) -> None:
    made.add_argument("--workers", type=positive, metavar="N", help=f"number of {what} in parallel (default: one per CUDA "
                      f"device, or 1; {RAY_WORKERS} with Ray)")  # fmt: skip
    made.add_argument("--engine", choices=["local", "ray"], default="local",
                      help="processes on this machine, or a Ray cluster (default: local)")  # fmt: skip
    _ray_address(made)


def _ray_address(made: Parser) -> None:
    made.add_argument("--address", metavar="HOST:PORT", help="address of a Ray cluster (default: start Ray on this machine)")


def _keep(made: Parser) -> None:
    made.add_argument("--keep", action="store_true", help="also write the other columns of the input")


def _min_score(made: Parser, note: str) -> None:
    made.add_argument("--min-score", type=score_value, metavar="X",
                      help=f"leave out spans, answers and labels with a score below X, 0 to 1{note}")  # fmt: skip


def _runtime(made: Parser) -> None:
    _batch_tokens(made)
    _device(made)
    _precision(made)


def _device(made: Parser) -> None:
    made.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda, cuda:1, mps, or auto (default): a GPU if "
                      "there is one")  # fmt: skip


def _batch_tokens(made: Parser) -> None:
    made.add_argument("--batch-tokens", type=positive, metavar="N",
                      help="maximum tokens per batch, without padding (default: 4096, or 16,384 on CUDA)")  # fmt: skip


def _precision(made: Parser) -> None:
    made.add_argument("--precision", choices=["auto", "float32", "bf16"], default="auto",
                      help="precision of the encoder (default: auto, which is bf16 on CUDA and float32 elsewhere); bf16 is "
                           "faster on CPUs with AMX")  # fmt: skip


def _output_format(made: Parser) -> None:
    made.add_argument("--to", action=Once, metavar="FORMAT", help="output format, such as jsonl, csv, standoff, conll, brat, "
                      "pubtator, bioc-xml, bioc-json, label-studio, doccano, prodigy, docbin or squad (default: by the "
                      "ending of OUTPUT)")  # fmt: skip


def _list_task_types(kind: argparse.Action, note: str = "") -> None:
    """List the task types, including those of other packages, in the help."""
    from manyheads.tasks import TASK_TYPES

    *most, last = TASK_TYPES
    kind.help = f"task type{note}: {', '.join(most)} or {last}"
