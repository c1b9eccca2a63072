"""What each verb of the command runs and prints. Each imports what it needs when it runs, so that `--help` is fast."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.arguments import RAY_WORKERS
from manyheads.devices import AUTO
from manyheads.durable import writing_bytes
from manyheads.errors import UsageError

if TYPE_CHECKING:
    from manyheads.inference import LoadedModel
    from manyheads.jobs.workers import WorkerSpec

REPEATED_SIGNAL_S = 5.0
"""Launchers of several processes forward a signal that the terminal has already sent to all of them."""


def _demo(options: argparse.Namespace) -> int:
    from manyheads.demo import run_demo
    from manyheads.training.progress import Console

    for line in run_demo(options.output, Console(sys.stderr), _own_command(), alone=options.alone):
        print(line, flush=True)
    return 0


def _own_command() -> str:
    """How to call this command again: by its name if the shell finds it, else by its path, as in `make demo`."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "manyheads" and shutil.which(called.name) is None else "manyheads"


def _init(options: argparse.Namespace) -> int:
    from manyheads.init.command import InitRequest, init
    from manyheads.init.examples import write_example

    if options.example is not None:
        if options.files:
            raise UsageError("--example brings its own data; remove the files, or --example")
        print(f"run file: {write_example(options.example, options.output, _note)}")
        return 0
    if not options.files:
        raise UsageError("init needs data files or folders, or --example biomedical, support or search")
    output = Path("run.yaml") if options.output is None else options.output
    to_stdout = str(output) == "-"
    text = init(InitRequest(options.files, None if to_stdout else output, options.force), _note)
    print(text if to_stdout else f"run file: {output}", end="" if to_stdout else "\n")
    return 0


def _schema(options: argparse.Namespace) -> int:
    from manyheads.init.command import schema_text

    print(schema_text(), end="")
    return 0


def _completion(options: argparse.Namespace) -> int:
    from manyheads.completion import script

    print(script(options.shell, VERBS), end="")
    return 0


def _validate(options: argparse.Namespace) -> int:
    from manyheads.start import validate

    report = validate(options.run, options.overrides)
    for line in report.lines():
        print(line)
    _write_json(options.json, report.to_json())
    if report.errors:
        count = len(report.errors)
        raise UsageError(f"{count} error{'s' if count > 1 else ''} in the data, listed above")
    return 0


def _train(options: argparse.Namespace) -> int:
    from manyheads.training.stop import StopSignals

    several = os.environ.get("WORLD_SIZE", "1") != "1"
    with StopSignals(together_s=REPEATED_SIGNAL_S if several else 0.0) as stop:
        from manyheads.start import train_run
        from manyheads.training.distributed.launch import join
        from manyheads.training.progress import Console

        team = join(os.environ)
        output, scores = train_run(
            options.run, options.output, _overrides(options), Console(sys.stderr), resume=options.resume, stop=stop, team=team
        )
        team.leave()
        if team.leads:
            _print_scores(scores)
            print(f"model folder: {output}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from manyheads.start import evaluate_model

    model = _load(options)
    scores = evaluate_model(model, data=options.data, split=options.split, names=options.tasks, say=_note)
    _print_scores(scores)
    if options.against is None:
        _write_json(options.json, scores)
        return 0
    from manyheads.heads.against import compare_models, lines, to_json, verdict
    from manyheads.inference import load_model

    other = load_model(options.against, device=options.device, precision=options.precision)
    found = compare_models(
        model, other, data=options.data, split=options.split, names=options.tasks, margin=options.margin
    )
    for line in lines(found):
        print(line)
    _write_json(options.json, {**scores, "_against": to_json(found, options.split)})
    return 1 if any(verdict(judgement) == "worse" for judgement in found.values()) else 0


def _predict(options: argparse.Namespace) -> int:
    from manyheads.answering import Request, predict_all

    def load() -> LoadedModel:
        model = _load(options)
        tasks = options.tasks or []
        if options.input == "-" and len(tasks) > 1 and tasks[-1] not in model.tasks:
            raise UsageError(f"the model has no task {tasks[-1]!r:.80}, and nothing to read is given; if this is the text or "
                             "the file, give it before --task")  # fmt: skip
        return model

    request = Request(
        options.input, options.output, options.tasks, options.keep, options.min_score, options.to, options.labels
    )
    failed = predict_all(request, load, _note)
    if failed:
        _note(f"{failed} row{'s' if failed > 1 else ''} could not be read; their answers are error messages")
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


def _convert(options: argparse.Namespace) -> int:
    from manyheads.convert.run import Conversion, convert

    conversion = Conversion(options.input, options.output, options.to, options.input_format, options.type, options.task,
                            dict(options.columns))  # fmt: skip
    print(convert(conversion, _note))
    return 0


def _pick(options: argparse.Namespace) -> int:
    from manyheads.annotation.pick import Wanted
    from manyheads.annotation.pick_command import PickRequest, pick, picked_lines
    from manyheads.inference import load_model

    wanted = Wanted(options.count, options.by, options.tasks, options.labelled, options.seed, dict(options.columns))
    request = PickRequest(options.models, options.rows, options.output, wanted, options.to)
    found = pick(request, partial(load_model, device=options.device, batch_tokens=options.batch_tokens,
                                  precision=options.precision), _note)  # fmt: skip
    for line in picked_lines(found):
        _note(line)
    return 1 if found.bad else 0


def _review(options: argparse.Namespace) -> int:
    from manyheads.annotation.review_command import PAGE, ReviewRequest, review

    request = ReviewRequest(options.data, options.output, options.tasks, options.splits, options.own_encoder)
    for found in review(request, lambda: _load(options), _note):
        print(f"{found.task.name}: {found.suspected:,} suspected labels among {len(found.findings):,}")
    print(f"report: {options.output / PAGE}")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from manyheads.training.stop import StopSignals

    with StopSignals() as stop:
        from manyheads.compare.command import REPORT, CompareOptions, compare
        from manyheads.compare.result import lines
        from manyheads.compare.statistics import Settings
        from manyheads.training.progress import Console

        settings = Settings(margin=options.margin)
        subsets = {"pairs": options.pairs, "leave-one-out": options.leave_one_out}
        comparison = CompareOptions(
            options.run, options.output, options.seeds, _overrides(options), settings,
            tuple(name for name, wanted in subsets.items() if wanted), options.try_remedy, _workers(options),
            options.singles,
        )  # fmt: skip
        result = compare(comparison, Console(sys.stderr), stop)
    for line in lines(result):
        print(line)
    print(f"report: {options.output / REPORT}")
    hurt = [name for name, task in result["tasks"].items() if task["verdict"] == "hurts"]
    return 1 if options.fail_if_hurts and hurt else 0


def _tune(options: argparse.Namespace) -> int:
    from manyheads.training.stop import StopSignals

    with StopSignals() as stop:
        try:
            from manyheads.tune.command import REPORT, TuneOptions, tune
        except ModuleNotFoundError as error:
            raise UsageError(f'tune needs {error.name}; pip install "path/to/manyheads[tune]"') from None
        from manyheads.training.progress import Console
        from manyheads.tune.result import MODEL, RUN, lines

        search = TuneOptions(options.run, options.output, options.trials, options.timeout, _overrides(options),
                             tuple(options.keys), _workers(options))  # fmt: skip
        result = tune(search, Console(sys.stderr), stop)
    for line in lines(result):
        print(line)
    _print_scores(result["scores"])
    for what, name in (("run file", RUN), ("model folder", MODEL), ("report", REPORT)):
        print(f"{what}: {options.output / name}")
    return 0


def _overrides(options: argparse.Namespace) -> tuple[str, ...]:
    """The changes of --set, and --device as one of them. Raises UsageError for a device that cannot train, or two of them."""
    from manyheads.devices import TRAINING_DEVICES

    given, device = tuple(options.overrides), options.device
    if device is None:
        return given
    if device not in TRAINING_DEVICES:
        raise UsageError(f"--device {device}: training takes auto, cpu or cuda; to choose among GPUs, set "
                         "CUDA_VISIBLE_DEVICES to the number of one")  # fmt: skip
    for override in given:
        key, _, value = override.partition("=")
        if key.strip() == "training.device" and value.strip() != device:
            raise UsageError(f"--device {device} and --set {override} contradict each other; remove one of them")
    return (*given, f"training.device={device}")


def _workers(options: argparse.Namespace) -> WorkerSpec:
    """The processes that train; without --workers, one per CUDA device."""
    from manyheads.jobs.ray_cluster import check_address
    from manyheads.jobs.workers import RayOptions, WorkerSpec

    if options.engine == "ray":
        check_address(options.address)
        return WorkerSpec(options.workers or RAY_WORKERS, RayOptions(options.address, options.device or AUTO))
    if options.address is not None:
        raise UsageError("--address requires --engine ray; add it, or remove --address")
    if options.workers is not None or options.device == "cpu":
        return WorkerSpec(options.workers or 1)
    import torch

    return WorkerSpec(max(1, torch.cuda.device_count()))


def _add(options: argparse.Namespace) -> int:
    return _train_heads(options, None)


def _retrain(options: argparse.Namespace) -> int:
    return _train_heads(options, options.task)


def _train_heads(options: argparse.Namespace, task: str | None) -> int:
    from manyheads.training.stop import StopSignals

    with StopSignals() as stop:
        from manyheads.heads.add import Addition, add, retrain
        from manyheads.heads.forms import Form
        from manyheads.training.progress import Console

        form = None if options.own == "auto" else Form.parse(options.own)
        addition = Addition(options.model, options.run, options.output, _overrides(options), form)
        progress = Console(sys.stderr)
        lines = add(addition, progress, stop) if task is None else retrain(addition, task, progress, stop)
        for line in lines:
            print(line)
    return _written(options.output)


def _drop(options: argparse.Namespace) -> int:
    from manyheads.heads.command import drop

    drop(options.model, options.tasks or [], options.output, _note)
    return _written(options.output)


def _rename(options: argparse.Namespace) -> int:
    from manyheads.heads.command import rename

    rename(options.model, options.old, options.new, options.output, _note)
    return _written(options.output)


def _merge(options: argparse.Namespace) -> int:
    from manyheads.heads.command import merge

    merge(options.models, options.output, _note)
    return _written(options.output)


def _written(folder: Path) -> int:
    print(f"model folder: {folder}")
    return 0


def _serve(options: argparse.Namespace) -> int:
    try:
        from manyheads.serve.server import Address, Resources, serve
    except ModuleNotFoundError as error:
        raise UsageError(f'serve needs {error.name}; pip install "path/to/manyheads[serve]"') from None
    from manyheads.devices import CUDA_PASS_TOKENS, takes_cuda
    from manyheads.serve.keys import Keys
    from manyheads.serve.limits import Limits

    on_cuda = CUDA_PASS_TOKENS if takes_cuda(options.device) else None
    given = {"batch_tokens": options.batch_tokens or on_cuda, "queue_tokens": options.queue_tokens,
             "deadline_s": options.deadline, "min_score": options.min_score}  # fmt: skip
    limits = Limits(**{key: value for key, value in given.items() if value is not None})
    keys = Keys.load(options.api_keys, os.environ.get("MANYHEADS_API_KEYS"))
    address = Address(options.host, options.port, options.origins, options.root_path, options.batches)
    resources = Resources(options.workers, options.precision, options.memory, options.device)
    serve(options.models, address, keys, limits, resources, telemetry=options.telemetry)
    return 0


def _bulk(options: argparse.Namespace) -> int:
    if options.to not in (None, "parquet"):
        raise UsageError(f"bulk writes parquet, which can be continued part by part; for {options.to} use "
                         f"`manyheads predict MODEL INPUT -o OUTPUT --to {options.to}`, a file at a time")  # fmt: skip
    if options.engine != "ray" and (options.workers or options.address):
        given = "--workers" if options.workers else "--address"
        raise UsageError(f"{given} requires --engine ray; add it, or remove {given}")
    from manyheads.bulk.run import Job, RayActors, run_bulk
    from manyheads.data.formats.messages import counted

    job = Job(options.model, options.input, options.output, options.tasks, options.rows_per_part, options.batch_tokens,
              options.precision, options.keep, options.device)  # fmt: skip
    actors = RayActors(options.workers or RAY_WORKERS, options.address) if options.engine == "ray" else None
    try:
        report = run_bulk(job, actors, _note)
    except ModuleNotFoundError as error:
        raise UsageError(f'--engine ray needs {error.name}; pip install "path/to/manyheads[bulk]"') from None
    bad = f", {counted(report.bad, 'bad row')} in *.errors.jsonl" if report.bad else ""
    print(f"{counted(report.rows, 'row')} answered in {options.output}{bad}")
    return 1 if report.bad else 0


def _export(options: argparse.Namespace) -> int:
    if options.allow_drop and options.to == "onnx" and not options.quantize:
        raise UsageError("--allow-drop requires --quantize int8; add it, or remove --allow-drop")
    from manyheads.export import ExportRequest, export_model

    request = ExportRequest(
        options.to, options.output, options.task, options.quantize, allow_drop=options.allow_drop, data=options.data
    )
    print(f"exported: {export_model(options.model, request, _note)}")
    return 0


def _push(options: argparse.Namespace) -> int:
    from manyheads.hub.download import model_folder
    from manyheads.hub.push import check_repo, files_to_push, push_folder

    folder = model_folder(options.model)
    if options.dry_run:
        check_repo(options.repo)
        sizes = {name: (folder / name).stat().st_size for name in files_to_push(folder)}
        for name, size in sizes.items():
            print(f"{size:>13,}  {name}")
        print(f"{len(sizes)} files of {sum(sizes.values()) / 1e6:.1f} MB for {options.repo}; nothing was sent")
        return 0
    url = push_folder(
        folder, options.repo, private=options.private or None, revision=options.revision, message=options.message
    )
    print(f"pushed: {url}")
    return 0


def _info(options: argparse.Namespace) -> int:
    from manyheads.describe import description_lines, model_description
    from manyheads.hub.download import model_folder

    description = model_description(model_folder(options.model))
    for line in description_lines(description):
        print(line)
    _write_json(options.json, description)
    return 0


def _load(options: argparse.Namespace) -> LoadedModel:
    from manyheads.inference import load_model

    return load_model(
        options.model, device=options.device, batch_tokens=options.batch_tokens, precision=options.precision
    )


def _print_scores(scores: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    from manyheads.evaluate import score_rows, warning_lines

    rows = score_rows(scores)
    if not rows:
        return
    widths = [max(len(str(row[i])) for row in rows) for i in range(3)]
    for name, split, metric, value in rows:
        print(f"{name:{widths[0]}}  {split:{widths[1]}}  {metric:{widths[2]}}  {value:.4f}")
    for line in warning_lines(scores):  # a combined score of fewer tasks is as the data has it
        _note(f"{'note' if line.startswith('combined (') else 'warning'}: {line}")


def _write_json(path: Path | None, value: Any) -> None:
    if path is not None:
        with writing_bytes(path) as file:
            file.write((json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def _note(line: str) -> None:
    print(line, file=sys.stderr)


VERBS = {
    "init": _init, "schema": _schema, "completion": _completion,
    "demo": _demo, "validate": _validate, "train": _train, "evaluate": _evaluate, "predict": _predict, "score": _score,
    "convert": _convert,
    "serve": _serve, "bulk": _bulk, "compare": _compare, "tune": _tune, "add": _add, "retrain": _retrain, "drop": _drop,
    "rename": _rename, "merge": _merge, "export": _export, "push": _push, "info": _info,
    "pick": _pick, "review": _review,
}  # fmt: skip
