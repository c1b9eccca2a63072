"""A model folder that is ready to answer: read, verified, and on a device."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.bundle import Bundle, ExportedBundle, is_exported, load_bundle, load_exported, read_manifest
from manyheads.devices import AUTO, is_cuda, pass_tokens, torch_device
from manyheads.errors import UsageError
from manyheads.hub.download import model_folder
from manyheads.onnx_backend import OnnxBackend
from manyheads.predict import Backend, Precision, Predictor, TorchBackend
from manyheads.process import enable_small_onednn_cache

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.base import Task


class LoadedModel:
    """A model folder and the predictor that runs it, on torch or ONNX Runtime."""

    def __init__(
        self,
        bundle: Bundle | ExportedBundle,
        *,
        device: torch.device | None = None,
        batch_tokens: int | None = None,
        precision: Precision = "auto",
    ) -> None:
        """`batch_tokens`: tokens per encoder pass; None: by the device. `precision` is fixed for exports."""
        self.bundle = bundle
        self._precision = precision
        backend: Backend
        if isinstance(bundle, ExportedBundle):
            backend = bundle.backend
        else:
            import torch

            backend = TorchBackend(bundle.model, device or torch.device("cpu"), precision)
        self.predictor = Predictor(backend, bundle.tasks, bundle.tokenizer, max_length=bundle.max_length,
                                   batch_tokens=batch_tokens or pass_tokens(self._device_of(backend)))  # fmt: skip

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
        return self._device_of(self.predictor.backend)

    @staticmethod
    def _device_of(backend: Backend) -> str:
        return str(backend.device) if isinstance(backend, TorchBackend | OnnxBackend) else "cpu"

    def move(self, device: str) -> None:
        """Move the weights to another device. Raises UsageError if there is none, and for weights rounded to bf16."""
        if isinstance(self.bundle, ExportedBundle):
            chosen = _export_device(self.bundle.folder, device)
            if chosen != self.device:
                raise UsageError(f"{self.bundle.folder} is an ONNX export, whose graph stays where it was loaded; load it "
                                 f"again with device='{device}'")  # fmt: skip
            return
        target, backend = torch_device(device), self.torch_backend("other devices")
        if target == backend.device:
            return
        if backend.rounded:
            raise UsageError("the weights were rounded to bf16 for the CPU, so the model cannot move; load it again with "
                             f"device='{device}'")  # fmt: skip
        self.predictor.backend = TorchBackend(self.bundle.model, target, self._precision)

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
    batch_tokens: int | None = None,
    precision: Precision = "auto",
) -> LoadedModel:
    """Load a model from a folder or by Hub id; `device` None is the CPU, `batch_tokens` None: by the device.

    Raises BundleError, and UsageError for an unavailable device, or if torch is required but not installed.
    """
    folder = model_folder(name, revision)
    if is_exported(read_manifest(folder)):
        chosen_provider = _export_device(folder, device or "cpu")
        if precision not in ("auto", "float32"):
            raise UsageError(f"{folder} is an ONNX export, whose precision is fixed, so it cannot run in "
                             f"{precision}; load the original model, or `manyheads export --quantize int8`")  # fmt: skip
        return LoadedModel(load_exported(folder, device=chosen_provider), batch_tokens=batch_tokens)
    if precision == "bf16":
        enable_small_onednn_cache()
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UsageError(f"{folder} holds a PyTorch model, and torch is not installed; pip install torch, or convert the "
                         "model with `manyheads export --to onnx` on a machine that has torch") from None  # fmt: skip
    from manyheads.nn.pretrained import load_for_answers

    chosen = torch_device(device) if device else None
    bundle = load_bundle(folder, chosen, read_encoder=load_for_answers)
    return LoadedModel(bundle, device=chosen, batch_tokens=batch_tokens, precision=precision)


def _export_device(folder: Path, device: str) -> str:
    """Where a graph runs: CUDA if it is asked for, else the CPU. Raises UsageError for another device."""
    if device in ("cpu", AUTO):
        return "cpu"
    if not is_cuda(device):
        raise UsageError(f"{folder} is an ONNX export, which runs on the CPU or on CUDA, not on '{device}'; "
                         "load the original model")  # fmt: skip
    return device
