"""A model folder that is ready to answer: read, verified, and on a device."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.bundle import Bundle, ExportedBundle, is_exported, load_bundle, load_exported, read_manifest
from manyheads.errors import UsageError
from manyheads.hub.download import model_folder
from manyheads.predict import Backend, Precision, Predictor, TorchBackend
from manyheads.process import enable_small_onednn_cache

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.base import Task

AUTO = "auto"
"""The device that is chosen by what the machine has."""


class LoadedModel:
    """A model folder and the predictor that runs it, on torch or ONNX Runtime."""

    def __init__(
        self,
        bundle: Bundle | ExportedBundle,
        *,
        device: torch.device | None = None,
        batch_tokens: int = 4096,
        precision: Precision = "auto",
    ) -> None:
        """`batch_tokens`: tokens per encoder pass; more is not always faster. `precision` is fixed for exports."""
        self.bundle = bundle
        self._precision = precision
        backend: Backend
        if isinstance(bundle, ExportedBundle):
            backend = bundle.backend
        else:
            import torch

            backend = TorchBackend(bundle.model, device or torch.device("cpu"), precision)
        self.predictor = Predictor(
            backend, bundle.tasks, bundle.tokenizer, max_length=bundle.max_length, batch_tokens=batch_tokens
        )

    @property
    def tasks(self) -> Mapping[str, Task[Any]]:
        """The model's tasks by name, as they answer."""
        return self.predictor.tasks

    def choose_among(self, labels: Any, tasks: Collection[str] | None) -> None:
        """Answer with these labels in place of those of a task, one of `tasks` if given (`questions.choosing_among`)."""
        from manyheads.inference.questions import choosing_among

        name = next(iter(tasks)) if tasks is not None and len(tasks) == 1 else None
        self.predictor = choosing_among(self.predictor, name, labels)[1]

    @property
    def device(self) -> str:
        """Where it runs: `cpu`, `cuda:0`, `mps`."""
        backend = self.predictor.backend
        return str(backend.device) if isinstance(backend, TorchBackend) else "cpu"

    def move(self, device: str) -> None:
        """Move the weights to another device. Raises UsageError if there is none, and for weights rounded to bf16."""
        if isinstance(self.bundle, ExportedBundle):
            _check_export_device(self.bundle.folder, device)
            return
        chosen, backend = torch_device(device), self.torch_backend("other devices")
        if chosen == backend.device:
            return
        if backend.rounded:
            raise UsageError("the weights were rounded to bf16 for the CPU, so the model cannot move; load it again with "
                             f"device='{device}'")  # fmt: skip
        self.predictor.backend = TorchBackend(self.bundle.model, chosen, self._precision)

    def torch_backend(self, what: str) -> TorchBackend:
        """The backend with the torch model. Raises UsageError for an export, of which `what` cannot be had."""
        backend = self.predictor.backend
        if not isinstance(backend, TorchBackend):
            raise UsageError(f"{self.bundle.folder} is an ONNX export, which has no {what}; load the original model")
        return backend


def load_model(
    name: str | Path,
    *,
    revision: str | None = None,
    device: str | None = None,
    batch_tokens: int = 4096,
    precision: Precision = "auto",
) -> LoadedModel:
    """Load a model from a folder or by Hub id; `device` None is the CPU.

    Raises BundleError, and UsageError for an unavailable device, or if torch is required but not installed.
    """
    folder = model_folder(name, revision)
    if is_exported(read_manifest(folder)):
        _check_export_device(folder, device or "cpu")
        if precision not in ("auto", "float32"):
            raise UsageError(f"{folder} is an ONNX export, whose precision is fixed, so it cannot run in "
                             f"{precision}; load the original model, or `manyheads export --quantize int8`")  # fmt: skip
        return LoadedModel(load_exported(folder), batch_tokens=batch_tokens)
    if precision == "bf16":
        enable_small_onednn_cache()
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UsageError(f"{folder} holds a PyTorch model, and torch is not installed; pip install torch, or convert the "
                         "model with `manyheads export --to onnx` on a machine that has torch") from None  # fmt: skip
    chosen = torch_device(device) if device else None
    return LoadedModel(load_bundle(folder, chosen), device=chosen, batch_tokens=batch_tokens, precision=precision)


def torch_device(name: str) -> torch.device:
    """The device of this name; `auto`: a GPU (CUDA, MPS) if there is one, else the CPU. Raises UsageError."""
    import torch

    available = ["cpu"]
    if (accelerator := torch.accelerator.current_accelerator(check_available=True)) is not None:
        available += [accelerator.type, *(f"{accelerator.type}:{i}" for i in range(torch.accelerator.device_count()))]
    if name == AUTO:
        return torch.device(available[min(1, len(available) - 1)])
    if name not in available:
        raise UsageError(f"there is no device '{name}'; this machine has {', '.join(available)}")
    return torch.device(name)


def _check_export_device(folder: Path, device: str) -> None:
    if device not in ("cpu", AUTO):
        raise UsageError(f"{folder} is an ONNX export, which runs on the CPU, not on '{device}'; "
                         "load the original model")  # fmt: skip
