"""MLflow: a run with parameters, tags, metrics and the logged model.

Decided here:
- Metrics are sent in batches by a thread, so that training waits for no server.
- The first request has few retries: with MLflow's own, a training waited four minutes for a server that was down, and then
  went on without it all the same. Once the server has answered, MLflow's hold, so that a record survives a restart of it.
- When a run is resumed, the server is asked what it holds: a batch on its way to it may have been lost.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from manyheads.training.trackers.base import (
    NOTHING,
    PROJECT,
    Mark,
    Result,
    Resumed,
    RunFacts,
    Status,
    notes_to_stderr,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

FIRST_RETRIES, FIRST_TIMEOUT_S = 2, 10
"""Of the first request: a server that refuses costs 5 s, one that never answers (or that is just starting) 35 s."""
SEND_EVERY_S = 2.0
BATCH = 1000
"""Most metrics of a request; MLflow's limit."""
PARAMS = 100
"""Most parameters of a request; MLflow's limit."""
LONGEST, LONGEST_NAME = 500, 250
"""Characters of the value of a parameter, and of a name."""
OF_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
MODEL = "model"
"""Name of the logged model: `runs:/RUN/model`."""
NO_STEP = -1
"""The step of the model: MLflow would record the metrics of a real one again."""
STEPS, EVALUATIONS = "rate", "validation/combined"
"""The metrics that every step and every evaluation has."""


class MLflow:
    """A run on the server that MLFLOW_TRACKING_URI or `mlflow.set_tracking_uri` names.

    It is never MLflow's active run: that would be ended, with all retries, when the process exits.
    """

    key: str

    def start(self, facts: RunFacts, resumed: Resumed) -> Mark:
        """Create a run, as a child of the active one if there is one, or continue a run.

        Raises ConnectionError if the server does not answer, and what MLflow raises.
        """
        from mlflow import MlflowClient

        self._client = MlflowClient()
        _check_answers(self._client)
        self._waiting: list[Metric] = []
        self._sending: Future[None] | None = None
        self._sent_s = time.monotonic()
        if resumed.key is None:
            self.key = _new_run(self._client, facts)
        else:
            self.key = resumed.key
            self._client.update_run(self.key, status="RUNNING")
        self._pool = ThreadPoolExecutor(1, "mlflow-metrics")
        return NOTHING if resumed.key is None else last_recorded(self._client, self.key)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Raises what went wrong in the last batch."""
        self._waiting += _metrics(step, values)
        if time.monotonic() - self._sent_s >= SEND_EVERY_S:
            self.sync()

    def sync(self) -> None:
        """Send what is waiting, unless the batch before is still on its way."""
        if self._sending is not None:
            if not self._sending.done():
                return
            self._sending.result()
        waiting, self._waiting, self._sent_s = self._waiting, [], time.monotonic()
        self._sending = self._pool.submit(self._send, waiting)

    def _send(self, metrics: Sequence[Metric]) -> None:
        for part in _parts(metrics, BATCH):
            self._client.log_batch(self.key, metrics=part)

    def finish(self, status: Status, result: Result | None) -> None:
        """Send the rest, log the model folder as an MLflow model with the final scores, and end the run."""
        try:
            if self._sending is not None:
                self._sending.result()
            self._send(self._waiting)
            if result is not None:
                model = None if result.model is None else _log_model(self._client, self.key, result.model)
                self._send(_metrics(result.step, result.scores, model))
        finally:
            self._pool.shutdown(wait=False)
            self._client.set_terminated(self.key, OF_STATUS[status])


def _check_answers(client: MlflowClient) -> None:
    """Ask the server for an experiment, with few retries. Raises ConnectionError with the reason if it cannot be reached."""
    from mlflow.exceptions import MlflowException

    try:
        with few_retries():
            client.get_experiment_by_name(PROJECT)
    except MlflowException as error:
        if (reason := _network_reason(error)) is None:
            raise
        server = urlsplit(client.tracking_uri).netloc.rpartition("@")[2] or "its server"
        raise ConnectionError(f"{server} does not answer: {reason}; check MLFLOW_TRACKING_URI") from error


@contextmanager
def few_retries() -> Iterator[None]:
    """Few retries and a short timeout for MLflow's requests, unless its environment variables name others."""
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT

    wanted = {MLFLOW_HTTP_REQUEST_MAX_RETRIES: FIRST_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT: FIRST_TIMEOUT_S}
    ours = {variable: value for variable, value in wanted.items() if not variable.is_set()}
    for variable, value in ours.items():
        variable.set(value)
    try:
        yield
    finally:
        for variable in ours:
            variable.unset()


def _network_reason(error: BaseException) -> str | None:
    """The system's reason at the bottom of an error, such as `Connection refused`; None if the network was not to blame."""
    found, one = None, error.__cause__ or error.__context__
    while one is not None:
        if isinstance(one, OSError) and (one.errno is not None or isinstance(one, TimeoutError)):
            found = one.strerror or str(one)
        one = one.__cause__ or one.__context__
    return found


def last_recorded(client: MlflowClient, run_id: str) -> Mark:
    """The last step or evaluation that a run holds."""
    held = [(point.timestamp, (point.step, kind)) for kind, name in enumerate((EVALUATIONS, STEPS))
            for point in client.get_metric_history(run_id, name)]  # fmt: skip
    return max(held)[1] if held else NOTHING


def _new_run(client: MlflowClient, facts: RunFacts) -> str:
    """The id of a run with everything that is known of it so far."""
    import mlflow
    from mlflow.entities import Param
    from mlflow.tracking.context.registry import resolve_tags

    own = {**facts.facts, **({} if facts.group is None else {"group": facts.group})}
    tags = {f"manyheads.{name}": value for name, value in own.items()}
    if (active := mlflow.active_run()) is not None:
        tags["mlflow.parentRunId"] = active.info.run_id
    run = client.create_run(_experiment(client), tags=resolve_tags(tags), run_name=facts.name).info.run_id
    params = {_name(key): _shown(value) for key, value in facts.settings.items()}
    for part in _parts([Param(key, value) for key, value in params.items()], PARAMS):
        client.log_batch(run, params=part)
    client.log_text(run, facts.run_file, "run.yaml")
    client.log_dict(run, dict(facts.settings), "settings.json")
    return str(run)


def _experiment(client: MlflowClient) -> str:
    """The experiment of the active run, of the environment variables (which `set_experiment` sets too), or `manyheads`."""
    import mlflow
    from mlflow.environment_variables import MLFLOW_EXPERIMENT_ID, MLFLOW_EXPERIMENT_NAME

    if (active := mlflow.active_run()) is not None:
        return str(active.info.experiment_id)
    name, number = MLFLOW_EXPERIMENT_NAME.get_raw(), MLFLOW_EXPERIMENT_ID.get_raw()
    if name is None and number:
        return str(number)
    found = client.get_experiment_by_name(name or PROJECT)
    return str(client.create_experiment(name or PROJECT) if found is None else found.experiment_id)


def _metrics(step: int, values: Mapping[str, float], model: str | None = None) -> list[Metric]:
    from mlflow.entities import Metric

    now_ms = int(time.time() * 1000)
    return [Metric(_name(name), float(value), now_ms, step, model_id=model) for name, value in values.items()]


def _log_model(client: MlflowClient, run: str, folder: Path) -> str:
    """The model folder as an MLflow model, and its report as a file of the run. Returns the id of the model."""
    from manyheads.bundle import REPORT, manifest_hash, read_manifest
    from manyheads.mlflow_model import log_folder

    client.set_tag(run, "manyheads.model_hash", manifest_hash(read_manifest(folder)))
    if (folder / REPORT).is_file():
        client.log_artifact(run, str(folder / REPORT))
    with notes_to_stderr():
        return str(log_folder(folder, MODEL, run_id=run, step=NO_STEP).model_id)


def _name(name: str) -> str:
    """A name that MLflow takes: settings may have labels as keys."""
    return re.sub(r"[^\w./ :-]", "_", name)[:LONGEST_NAME]


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _parts(values: Sequence[Any], size: int) -> list[list[Any]]:
    return [list(values[start : start + size]) for start in range(0, len(values), size)]
