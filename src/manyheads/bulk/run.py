"""Answers the missing parts of a job, in this process or by Ray actors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from manyheads.bulk.manifest import FORMAT, LOCK, check_folders, check_same_job, read_parts, write_manifest
from manyheads.bulk.parts import InputFile, Part, PartReader, input_path, list_files, split_parts
from manyheads.bulk.results import Columns, PartResult, answer_part, read_result
from manyheads.bundle import ExportedBundle
from manyheads.data.formats.messages import counted
from manyheads.devices import AUTO, CUDA
from manyheads.durable import UNFINISHED
from manyheads.errors import UsageError
from manyheads.hub.download import model_folder
from manyheads.inference import load_model
from manyheads.jobs.ray_cluster import connect, resources_per_worker
from manyheads.outputs.columns import schema_of
from manyheads.outputs.passthrough import column_types, merged_column_types
from manyheads.process import set_up, use_threads

if TYPE_CHECKING:
    from manyheads.inference import LoadedModel
    from manyheads.predict import Precision


@dataclass(frozen=True, slots=True)
class Job:
    """What to answer, and how."""

    model: str
    source: Path
    output: Path
    tasks: Sequence[str] | None = None
    rows_per_part: int = 10_000
    batch_tokens: int | None = None
    """None: by the device."""
    precision: Precision = "auto"
    keep: bool = False
    """With the other columns of the input."""
    device: str = "cpu"
    """By name; actors get a GPU each from Ray."""


@dataclass(frozen=True, slots=True)
class RayActors:
    """Actors that answer a job."""

    workers: int
    address: str | None = None
    """Of a cluster; None: a local Ray on this machine, on loopback and without a dashboard."""


@dataclass(frozen=True, slots=True)
class Report:
    """Counts of a finished job."""

    parts: int
    rows: int
    bad: int
    reused: int
    """Parts that were finished before."""


def run_bulk(job: Job, actors: RayActors | None, report_progress: Callable[[str], None]) -> Report:
    """Answer all rows of a job, continuing an earlier run of it. `actors` None: in this process.

    Raises UsageError if the output belongs to something else or another process is writing to it; DataError for the input.
    """
    check_folders(job.source, job.output)
    files = list_files(job.source)
    try:
        job.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{job.output} cannot be a folder ({error.strerror}); give another name") from None
    try:
        with FileLock(job.output / LOCK, timeout=0):
            return _run(job, files, actors, report_progress)
    except Timeout:
        raise UsageError(
            f"another process writes into {job.output}; wait until it ends, or give another folder"
        ) from None


def _run(
    job: Job, files: Sequence[InputFile], actors: RayActors | None, report_progress: Callable[[str], None]
) -> Report:
    device = job.device if actors is None else "cpu"  # here it only says what its answers look like
    model = load_model(model_folder(job.model), batch_tokens=job.batch_tokens, device=device, precision=job.precision)
    tasks = model.predictor.check_tasks(job.tasks)
    facts = {
        "format": FORMAT, "model_hash": model.bundle.hash, "tasks": tasks, "rows_per_part": job.rows_per_part,
        "precision": job.precision, "keep": job.keep, "files": [asdict(file) for file in files],
    }  # fmt: skip
    check_same_job(job.output, facts)
    kept = merged_column_types(column_types(input_path(job.source, file.name)) for file in files) if job.keep else None
    columns = Columns(tasks, schema_of([model.tasks[name] for name in tasks], kept), job.keep)
    parts = read_parts(job.output)
    if parts is None:
        parts = list(split_parts(job.source, files, job.rows_per_part))
        write_manifest(job.output, facts, parts, finished=False)
    for leftover in job.output.glob(f"*{UNFINISHED}"):
        leftover.unlink()
    results = {part.index: result for part in parts if (result := read_result(job.output, part)) is not None}
    reused, rows = len(results), sum(part.stop - part.first for part in parts)
    before = f", {reused:,} of them finished before" if reused else ""
    report_progress(f"{counted(rows, 'row')} in {counted(len(parts), 'part')}{before}")
    for result in _answer(job, actors, model, columns, [part for part in parts if part.index not in results]):
        results[result.index] = result
        answered = sum(one.rows for one in results.values())
        report_progress(f"part {len(results):,}/{len(parts):,}  {counted(answered, 'row')} answered so far")
    ordered = [results[part.index] for part in parts]
    report = Report(len(parts), sum(one.rows for one in ordered), sum(one.bad for one in ordered), reused)
    write_manifest(job.output, facts, parts, done=[asdict(one) for one in ordered], finished=True, rows=report.rows,
                   bad=report.bad)  # fmt: skip
    return report


def _answer(
    job: Job, actors: RayActors | None, model: LoadedModel, columns: Columns, parts: Sequence[Part]
) -> Iterable[PartResult]:
    if actors is not None and parts:
        return _answer_with_ray(job, actors, columns, parts, exported=isinstance(model.bundle, ExportedBundle))
    reader = PartReader(job.source)
    return (answer_part(model.predictor, columns, reader, part, job.output) for part in parts)


def _gpus_per_actor(device: str, available: int, workers: int, *, exported: bool) -> int:
    """GPUs of each actor, of `available` for each. Raises UsageError for a device that Ray cannot give."""
    if device not in (AUTO, "cpu", CUDA):
        raise UsageError(f"Ray deals out the GPUs of its cluster, so the device cannot be '{device}'; give auto, cuda or cpu")
    if device == CUDA and not available:
        raise UsageError(f"the Ray cluster has no GPU for each of {workers} actors; start fewer, or use the device cpu")
    return available if device == CUDA or (device == AUTO and not exported) else 0


def _answer_with_ray(
    job: Job, actors: RayActors, columns: Columns, parts: Sequence[Part], *, exported: bool
) -> Iterator[PartResult]:
    """Each actor holds the model and answers one part at a time. All machines of the cluster must see the folders."""
    import logging

    with connect(actors.address) as ray:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False
        cores, gpus = resources_per_worker(ray, actors.workers)
        gpus = _gpus_per_actor(job.device, gpus, actors.workers, exported=exported)
        items = [{"part": json.dumps(asdict(part))} for part in parts]
        data = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            PartActor, fn_constructor_args=(job, columns, cores, bool(gpus)), batch_size=1, num_cpus=cores, num_gpus=gpus,
            compute=ray.data.ActorPoolStrategy(size=actors.workers),
        )  # fmt: skip
        for row in data.iter_rows():
            yield PartResult(**json.loads(row["result"]))


class PartActor:
    """A Ray actor that holds the model and answers parts."""

    def __init__(self, job: Job, columns: Columns, threads: int, gpu: bool) -> None:
        set_up()
        use_threads(threads)
        device = "cuda" if gpu else "cpu"
        self.job = job
        self.columns = columns
        self.reader = PartReader(job.source)
        self.predictor = load_model(
            model_folder(job.model), batch_tokens=job.batch_tokens, device=device, precision=job.precision
        ).predictor

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Answer and write the parts of a batch."""
        parts = [Part(**json.loads(text)) for text in batch["part"]]
        results = [answer_part(self.predictor, self.columns, self.reader, part, self.job.output) for part in parts]
        return {"result": [json.dumps(asdict(result)) for result in results]}
