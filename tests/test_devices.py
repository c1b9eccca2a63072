"""Devices by name, with a fake machine: two GPUs are claimed, and the CPU stands in for both."""

# ruff: noqa: F401, F811  fixtures are imported
from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import manyheads as mh
from exporting import Exports, exports
from manyheads import devices
from manyheads.arguments import COMMANDS, parser
from manyheads.bulk.run import _gpus_per_actor
from manyheads.bundle import manifest_hash, read_manifest
from manyheads.cli import main
from manyheads.errors import UsageError
from manyheads.jobs.ray_cluster import resources_per_worker
from manyheads.jobs.workers import WorkerSpec
from manyheads.nn.transfer import in_one_transfer, to_arrays
from manyheads.onnx_backend import OnnxBackend
from manyheads.serve import worker
from manyheads.serve.keys import Keys
from manyheads.serve.limits import Limits
from manyheads.serve.server import Access, Resources, _models
from manyheads.serve.worker import TRIAL_ROWS, WorkerSettings
from manyheads.serve.worker_pool import WorkerPool
from manyheads.verbs import _overrides, _workers
from toys import SENTENCES

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Makes torch and the driver report an accelerator, and some number of them."""

    def claim(kind: str | None, count: int = 1) -> None:
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: kind and torch.device(kind))
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)
        monkeypatch.setattr(devices, "cuda_devices", lambda: count if kind == "cuda" else 0)

    claim(None)
    return claim


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The devices that models are loaded on, while they are in fact on the CPU."""
    asked: list[str | None] = []

    def stand_in(name: str) -> torch.device:
        asked.append(name)
        return torch.device("cpu")

    monkeypatch.setattr("manyheads.inference.loaded.torch_device", stand_in)
    return asked


def test_auto_is_a_gpu_where_there_is_one(machine: Machine) -> None:
    assert devices.torch_device("auto") == torch.device("cpu")
    machine("cuda", 2)
    assert devices.torch_device("auto") == torch.device("cuda")
    assert devices.torch_device("cuda:1") == torch.device("cuda", 1)
    machine("mps")
    assert devices.torch_device("auto") == devices.torch_device("mps") == torch.device("mps")


@pytest.mark.parametrize(
    ("kind", "count", "name", "found"),
    [
        (None, 0, "cuda", "cpu"), (None, 0, "mps", "cpu"), ("cuda", 2, "cuda:2", "cpu, cuda, cuda:0, cuda:1"),
        ("cuda", 1, "mps", "cpu, cuda, cuda:0"), ("mps", 1, "cuda", "cpu, mps, mps:0"), ("cuda", 1, "gpu", "cpu, cuda, cuda:0"),
    ],
)  # fmt: skip
def test_a_device_that_is_not_there_is_named_beside_those_that_are(
    kind: str | None, count: int, name: str, found: str, machine: Machine
) -> None:
    machine(kind, count)
    with pytest.raises(UsageError) as caught:
        devices.torch_device(name)
    assert str(caught.value) == f"there is no device '{name}'; this machine has {found}"


@pytest.mark.parametrize("verb", ["predict", "evaluate", "serve", "bulk", "pick", "review"])
def test_every_verb_that_answers_takes_a_device_and_chooses_one_by_itself(verb: str) -> None:
    more = {"bulk": ["in", "out"], "pick": ["rows", "-o", "f"], "review": ["-o", "d"]}.get(verb, [])
    read = parser(dict.fromkeys(COMMANDS, lambda _: 0)).parse_args
    assert read([verb, "model", *more]).device == "auto"
    assert read([verb, "model", *more, "--device", "cuda:1"]).device == "cuda:1"


@pytest.mark.parametrize("verb", ["predict", "evaluate", "bulk", "pick", "review"])
def test_a_verb_refuses_a_missing_device_with_the_same_words(
    verb: str, young_model: Path, machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (rows := tmp_path / "rows.jsonl").write_text(json.dumps({"text": "Ada"}) + "\n")
    out = str(tmp_path / "out")
    more = {"bulk": [str(rows), out], "predict": [str(rows)], "pick": [str(rows), "-o", out], "review": ["-o", out]}
    assert main([verb, str(young_model), *more.get(verb, []), "--device", "cuda"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "error: there is no device 'cuda'; this machine has cpu"


TRAINS = {"train": ["r"], "compare": ["r", "-o", "d"], "tune": ["r", "-o", "d"], "add": ["m", "r", "-o", "d"],
          "retrain": ["m", "r", "-o", "d", "--task", "t"]}  # fmt: skip


@pytest.mark.parametrize("verb", TRAINS)
def test_every_verb_that_trains_takes_a_device_in_place_of_the_run_files(verb: str) -> None:
    read = parser(dict.fromkeys(COMMANDS, lambda _: 0)).parse_args
    assert _overrides(read([verb, *TRAINS[verb], "--set", "training.seed=1"])) == ("training.seed=1",)
    for name in ("auto", "cpu", "cuda"):
        assert _overrides(read([verb, *TRAINS[verb], "--device", name])) == (f"training.device={name}",)
    same = read([verb, *TRAINS[verb], "--device", "cpu", "--set", "training.device=cpu"])
    assert set(_overrides(same)) == {"training.device=cpu"}


@pytest.mark.parametrize("verb", TRAINS)
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["cuda:1"], "--device cuda:1: training takes auto, cpu or cuda; to choose among GPUs, set CUDA_VISIBLE_DEVICES"),
        (["mps"], "--device mps: training takes auto, cpu or cuda"),
        (["cpu", "--set", "training.device=cuda"], "--device cpu and --set training.device=cuda contradict each other"),
    ],
)
def test_a_device_that_cannot_train_or_contradicts_another_is_refused_before_anything_is_read(
    verb: str, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, *TRAINS[verb], "--device", *more]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["train", "compare", "tune"])
def test_training_on_cuda_is_refused_where_there_is_none(
    verb: str, project: Path, machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, str(project), "-o", str(tmp_path / "out"), "--device", "cuda"]) == 2
    assert "no CUDA device is available; use auto or cpu" in capsys.readouterr().err


def test_a_model_trained_with_a_device_notes_it_in_its_run_file(project: Path, tmp_path: Path) -> None:
    project.write_text(project.read_text().replace("  device: cpu\n", "  device: cuda\n"))
    out = tmp_path / "out"
    assert main(["train", str(project), "-o", str(out), "--device", "cpu", "--set", "training.steps=1"]) == 0
    assert yaml.safe_load((out / "run.yaml").read_text())["training"]["device"] == "cpu"


@pytest.mark.parametrize(
    ("device", "gpus", "given"), [("auto", 2, 1), ("auto", 1, 0), ("cpu", 2, 0), ("cuda", 2, 1), ("cuda", 1, None)]
)
def test_a_worker_of_a_cluster_gets_a_gpu_as_the_device_asks(device: str, gpus: int, given: int | None) -> None:
    cluster = SimpleNamespace(cluster_resources=lambda: {"CPU": 8.0, "GPU": float(gpus)})
    if given is not None:
        assert resources_per_worker(cluster, 2, device) == (4, given)
        return
    with pytest.raises(UsageError, match="no GPU for each of 2 workers; start fewer, or use the device cpu"):
        resources_per_worker(cluster, 2, device)


def test_on_the_cpu_one_run_trains_at_a_time_however_many_gpus_there_are(machine: Machine) -> None:
    machine("cuda", 4)
    read = parser(dict.fromkeys(COMMANDS, lambda _: 0)).parse_args
    assert _workers(read(["compare", *TRAINS["compare"], "--device", "cpu"])) == WorkerSpec(1)
    assert _workers(read(["compare", *TRAINS["compare"], "--device", "cpu", "--workers", "3"])) == WorkerSpec(3)


def test_passes_are_larger_on_cuda_unless_their_size_is_given(young_model: Path, machine: Machine) -> None:
    assert [devices.pass_tokens(name) for name in ("cpu", "mps", "cuda", "cuda:1")] == [4096, 4096, 16_384, 16_384]
    assert mh.load(young_model, device="auto")._loaded.predictor.batch_tokens == 4096
    assert mh.load(young_model, batch_tokens=512)._loaded.predictor.batch_tokens == 512


def hosts(folders: list[Path], **resources: Any) -> list[WorkerSettings]:
    return [
        host.workers
        for host in _models(
            [str(one) for one in folders],
            Limits(),
            Resources(**resources),
            Access(Keys([])),
        ).hosts
    ]


@pytest.mark.parametrize(
    ("kind", "count", "device", "workers"),
    [
        ("cuda", 3, "auto", 3),
        ("cuda", 3, "cuda", 3),
        ("cuda", 3, "cuda:1", 1),
        ("cuda", 3, "cpu", 2),
        (None, 0, "auto", 2),
    ],
)
def test_a_server_has_a_worker_for_each_gpu(
    kind: str | None,
    count: int,
    device: str,
    workers: int,
    young_model: Path,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine(kind, count)
    monkeypatch.setattr("manyheads.serve.server.usable_cores", lambda: 6)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    (found,) = hosts([young_model], device=device)
    assert (found.workers, found.threads, found.device) == (workers, 6 // workers, device)
    assert hosts([young_model], device=device, workers=5)[0].workers == 5


def test_several_models_share_the_gpus_in_turn(young_model: Path, machine: Machine, tmp_path: Path) -> None:
    machine("cuda", 2)
    copies = [mh.load(young_model).save(tmp_path / name) for name in "abc"]
    settings = hosts([Path(one) for one in copies])
    assert [devices.device_of_worker(one.device, one.number) for one in settings] == ["cuda:0", "cuda:1", "cuda:0"]


def test_workers_take_the_gpus_in_turn(young_model: Path, machine: Machine, placed: list[str | None]) -> None:
    machine("cuda", 2)
    model = manifest_hash(read_manifest(young_model))
    for number in range(3):
        answer = worker.load_model(WorkerSettings(str(young_model), model, 3, 1, 16_384, "float32", "auto", number))
    assert placed == ["cuda:0", "cuda:1", "cuda:0"]
    assert "tasks" in next(iter(answer([({"text": SENTENCES[0]}, None, None)])))
    worker.load_model(WorkerSettings(str(young_model), model, 1, 1, 1024, "float32", "cuda:1", 2))
    assert placed[-1] == "cuda:1"
    machine(None)
    worker.load_model(WorkerSettings(str(young_model), model, 1, 1, 1024, "float32", "auto", 2))
    assert placed[-1] == "auto"


def test_each_process_of_a_pool_knows_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    class Process:
        def __init__(self, *, args: tuple[Any, WorkerSettings], **_: Any) -> None:
            started.append(args[1].number)

        def start(self) -> None:
            pass

    pipe = SimpleNamespace(close=lambda: None)
    context = SimpleNamespace(Pipe=lambda: (pipe, pipe), Process=Process)
    monkeypatch.setattr("multiprocessing.get_context", lambda _: context)
    pool = WorkerPool(WorkerSettings("", "", 2, 1, 1024, number=4), None, None)  # type: ignore[arg-type]
    for i in range(2):
        pool._start_process(i)
    assert started == [4, 5]


def test_the_speed_of_a_worker_with_large_passes_is_measured_on_more_rows() -> None:
    sizes: list[int] = []
    worker.measure_rate(lambda requests: sizes.append(len(requests)) or [])  # type: ignore[func-returns-value]
    assert set(sizes) == {TRIAL_ROWS}


def test_serve_takes_larger_passes_on_cuda(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, young_model: Path
) -> None:
    served: list[tuple[int, Any]] = []
    monkeypatch.setattr("manyheads.serve.server.serve",
                        lambda models, address, keys, limits, resources, **_: served.append((limits.batch_tokens, resources.device)))  # fmt: skip
    for arguments in ([], ["--device", "cpu"], ["--device", "cuda:1"], ["--batch-tokens", "99", "--device", "cuda"]):
        assert main(["serve", str(young_model), *arguments]) == 0
    machine("cuda")
    assert main(["serve", str(young_model)]) == 0
    assert served == [(1024, "auto"), (1024, "cpu"), (16_384, "cuda:1"), (99, "cuda"), (16_384, "auto")]


@pytest.mark.parametrize(
    ("device", "available", "exported", "gpus"),
    [
        ("auto", 1, False, 1),
        ("auto", 0, False, 0),
        ("cpu", 1, False, 0),
        ("cuda", 1, False, 1),
        ("auto", 1, True, 0),
        ("cuda", 1, True, 1),
    ],
)
def test_an_actor_gets_a_gpu_of_the_cluster(device: str, available: int, exported: bool, gpus: int) -> None:
    assert _gpus_per_actor(device, available, 2, exported=exported) == gpus


def test_actors_that_cannot_have_the_device_are_refused() -> None:
    with pytest.raises(UsageError, match="Ray deals out the GPUs of its cluster, so the device cannot be 'cuda:1'"):
        _gpus_per_actor("cuda:1", 1, 2, exported=False)
    with pytest.raises(UsageError, match="has no GPU for each of 4 actors; start fewer, or use the device cpu"):
        _gpus_per_actor("cuda", 0, 4, exported=False)


def test_one_transfer_brings_the_same_arrays_as_many() -> None:
    outputs = {
        "a": {"x_TK": torch.randn(5, 3), "y_SD": torch.randn(2, 4).bfloat16()},
        "b": {"constant_KK": torch.randn(2, 2, 2), "scalar": torch.tensor(3.0), "none_TK": torch.zeros(0, 3)},
        "c": {},
    }
    many, one = to_arrays(outputs, torch.device("cpu")), in_one_transfer(outputs)
    assert many.keys() == one.keys()
    for name, arrays in many.items():
        assert arrays.keys() == one[name].keys()
        for key, array in arrays.items():
            assert one[name][key].dtype == np.float32
            np.testing.assert_array_equal(one[name][key], array)
    assert in_one_transfer({"c": {}}) == {"c": {}}


def test_a_graph_on_cuda_needs_a_runtime_that_has_it(exports: Exports) -> None:
    _, export, _ = exports("hard")
    with pytest.raises(
        UsageError, match=r"runs on 'cuda' with the package onnxruntime-gpu, and onnxruntime \d\S* is installed"
    ):
        mh.load(export, device="cuda")
    assert mh.load(export, device="auto").device == "cpu"


def test_a_graph_gets_the_provider_and_the_number_of_its_device(
    exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    _, export, _ = exports("hard")
    bundle, asked = mh.load(export).bundle, []
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    real = onnxruntime.InferenceSession

    def session(path: str, options: Any, *, providers: list[Any], **more: Any) -> Any:
        asked.append((providers, more["disabled_optimizers"]))
        made = real(path, options, providers=["CPUExecutionProvider"], **more)
        monkeypatch.setattr(made, "get_providers", lambda: answered)
        return made

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    answered = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    backend = OnnxBackend(export / "model.onnx", bundle.tasks, 0, device="cuda:1")
    assert asked == [([("CUDAExecutionProvider", {"device_id": 1}), "CPUExecutionProvider"], [])]
    assert backend.device == "cuda:1"
    assert mh.load(export, device="cuda")._loaded.predictor.batch_tokens == 16_384
    answered = ["CPUExecutionProvider"]
    with pytest.raises(UsageError, match="onnxruntime-gpu cannot use the device 'cuda:1'; install the CUDA and cuDNN"):
        OnnxBackend(export / "model.onnx", bundle.tasks, 0, device="cuda:1")


def test_a_loaded_graph_does_not_move(exports: Exports) -> None:
    model = mh.load(exports("hard")[1])
    with pytest.raises(UsageError, match="whose graph stays where it was loaded; load it again with device='cuda'"):
        model.to("cuda")


@pytest.mark.parametrize(("status", "count", "found"), [(0, 2, 2), (100, 2, 0)])
def test_the_driver_counts_its_devices(status: int, count: int, found: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(pointer: Any) -> int:
        pointer._obj.value = count
        return 0

    driver = SimpleNamespace(cuInit=lambda _: status, cuDeviceGetCount=fill)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    assert devices.cuda_devices() == found


def test_a_machine_without_a_driver_has_no_cuda_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert devices.cuda_devices() == 0
    assert devices.gpus_of("cuda") == 0
    assert devices.gpus_of("mps") == devices.gpus_of("cuda:1") == 1
