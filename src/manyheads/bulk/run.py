"""The parts of an input that are not done yet, answered by this process or by actors of Ray."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from manyheads.api import find_model, load
from manyheads.bulk.parts import InputFile, Part, PartReader, files_of, parts_of, path_of
from manyheads.bulk.work import Answers, Done, answer_part, done_part
from manyheads.crew.cluster import cluster, shares
from manyheads.durable import UNFINISHED, replace_file
from manyheads.errors import UsageError
from manyheads.outputs.columns import schema_of
from manyheads.outputs.kept import joined_types, types_of
from manyheads.process import set_up, use_threads

if TYPE_CHECKING:
    from manyheads.api import Model
    from manyheads.predict import Precision

MANIFEST = "manifest.json"
LOCK = ".lock"
FORMAT = 2
"""Of the manifest. 1 knew input files by their first and last megabyte."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done, and how."""

    model: str
    source: Path
    output: Path
    tasks: Sequence[str] | None = None
    rows_per_part: int = 10_000
    batch_tokens: int = 4096
    precision: Precision = "auto"
    keep: bool = False
    """Also the other columns of the input."""


@dataclass(frozen=True, slots=True)
class Crew:
    """Actors of Ray."""

    workers: int
    address: str | None = None
    """Of a cluster; None: a Ray of one's own on this machine, on loopback and without a dashboard."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a job came to."""

    parts: int
    rows: int
    bad: int
    kept: int
    """Parts that were done before."""


def run_bulk(job: Job, crew: Crew | None, say: Callable[[str], None]) -> Report:
    """Answer all rows of a job, those of an earlier run of the same job left out. `crew` None: in this process.

    Raises UsageError when the output is or holds something else than this job's, or another process is at it; DataError
    for the input.
    """
    _check_apart(job)
    files = files_of(job.source)
    try:
        job.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{job.output} cannot be a folder ({error.strerror}); give another name") from None
    try:
        with FileLock(job.output / LOCK, timeout=0):
            return _run(job, files, crew, say)
    except Timeout:
        raise UsageError(
            f"another process writes into {job.output}; wait until it ends, or give another folder"
        ) from None


def _run(job: Job, files: Sequence[InputFile], crew: Crew | None, say: Callable[[str], None]) -> Report:
    model = load(find_model(job.model), batch_tokens=job.batch_tokens, precision=job.precision)
    names = model.predictor.chosen(job.tasks)
    facts = {
        "format": FORMAT, "model_hash": model.bundle.hash, "tasks": names, "rows_per_part": job.rows_per_part,
        "precision": job.precision, "keep": job.keep, "files": [file.to_json() for file in files],
    }  # fmt: skip
    _check_same(job.output / MANIFEST, facts)
    kept = joined_types(types_of(path_of(job.source, file.name)) for file in files) if job.keep else None
    schema = schema_of([model.tasks[name] for name in names], kept)
    parts = _parts(job, files, facts)
    for left in job.output.glob(f"*{UNFINISHED}"):
        left.unlink()
    before = {part.index: done for part in parts if (done := done_part(job.output, part)) is not None}
    todo = [part for part in parts if part.index not in before]
    rows = sum(part.stop - part.first for part in parts)
    say(f"{rows:,} rows in {len(parts):,} parts" + (f", {len(before):,} of them done before" if before else ""))
    finished = dict(before)
    for done in _answered(job, crew, model, Answers(names, schema, job.keep), todo):
        finished[done.index] = done
        say(f"part {len(finished):,}/{len(parts):,}  {sum(one.rows for one in finished.values()):,} rows answered")
    ordered = [finished[part.index] for part in parts]
    report = Report(len(parts), sum(done.rows for done in ordered), sum(done.bad for done in ordered), len(before))
    whole = {**facts, "parts": [asdict(part) for part in parts], "done": [done.to_json() for done in ordered],
             "finished": True, "rows": report.rows, "bad": report.bad}  # fmt: skip
    replace_file(job.output / MANIFEST, json.dumps(whole, indent=1) + "\n")
    return report


def _answered(job: Job, crew: Crew | None, model: Model, wanted: Answers, parts: Sequence[Part]) -> Iterable[Done]:
    if crew is not None and parts:
        return _by_ray(job, crew, wanted, parts)
    reader = PartReader(job.source)
    return (answer_part(model.predictor, wanted, reader, part, job.output) for part in parts)


def _by_ray(job: Job, crew: Crew, wanted: Answers, parts: Sequence[Part]) -> Iterator[Done]:
    """By actors that hold the model, a part at a time. The folders must be seen by all machines of the cluster."""
    import logging

    with cluster(crew.address) as ray:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        cores, gpus = shares(ray, crew.workers)
        items = [{"part": json.dumps(asdict(part))} for part in parts]
        data = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            Answering, fn_constructor_args=(job, wanted, cores, bool(gpus)), batch_size=1, num_cpus=cores, num_gpus=gpus,
            compute=ray.data.ActorPoolStrategy(size=crew.workers),
        )  # fmt: skip
        for row in data.iter_rows():
            yield Done(**json.loads(row["done"]))


class Answering:
    """An actor: holds the model, answers parts."""

    def __init__(self, job: Job, wanted: Answers, threads: int, gpu: bool) -> None:
        set_up()
        use_threads(threads)
        device = "cuda" if gpu else "cpu"
        self.job = job
        self.wanted = wanted
        self.reader = PartReader(job.source)
        self.predictor = load(
            find_model(job.model), batch_tokens=job.batch_tokens, device=device, precision=job.precision
        ).predictor

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """The parts of a batch, answered and written."""
        parts = [Part(**json.loads(text)) for text in batch["part"]]
        done = [answer_part(self.predictor, self.wanted, self.reader, part, self.job.output) for part in parts]
        return {"done": [json.dumps(one.to_json()) for one in done]}


def _parts(job: Job, files: Sequence[InputFile], facts: dict[str, Any]) -> list[Part]:
    """The parts, counted once and then read from the manifest."""
    path = job.output / MANIFEST
    if path.exists():
        return [Part(**part) for part in json.loads(path.read_text(encoding="utf-8"))["parts"]]
    parts = list(parts_of(job.source, files, job.rows_per_part))
    replace_file(
        path, json.dumps({**facts, "parts": [asdict(part) for part in parts], "finished": False}, indent=1) + "\n"
    )
    return parts


def _check_apart(job: Job) -> None:
    """Raise UsageError when input and output lie in one another, or the output holds what is not of a job."""
    source, output = job.source.resolve(), job.output.resolve()
    if source == output or source in output.parents or output in source.parents:
        raise UsageError(
            f"{job.output} and the input {job.source} lie in one another, so that answers would become input; "
            "give a folder apart"
        )
    if not output.is_dir() or (output / MANIFEST).exists():
        return
    own = (UNFINISHED, LOCK)  # of a job that was stopped before it had a manifest
    strange = sorted(path.name for path in output.iterdir() if not path.name.endswith(own))
    if strange:
        raise UsageError(f"{job.output} holds {strange[0][:80]} but no {MANIFEST} of a job; give an empty folder")


def _check_same(path: Path, facts: dict[str, Any]) -> None:
    """Raise UsageError when a manifest is of another job, or of none."""
    if not path.exists():
        return
    try:
        seen = json.loads(path.read_text(encoding="utf-8"))
        seen = {"keep": False, **seen}  # as it was before it could be chosen
        changed = [key for key in facts if seen.get(key) != facts[key]]
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} cannot be read ({error}); give an empty folder") from None
    if len(changed) >= len(facts) - 1:
        raise UsageError(f"{path} is not the manifest of a job; give an empty folder")
    if changed:
        raise UsageError(f"{path.parent} holds another job: {', '.join(changed)} differ; give an empty folder")
