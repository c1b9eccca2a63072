"""`load` and `Model`: a trained model for users of Python. The work is done by `manyheads.inference` and its neighbours."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.api.answering import Answering
from manyheads.bundle import METRICS, REPORT, Bundle, ExportedBundle, copy_model
from manyheads.errors import UsageError
from manyheads.inference import LoadedModel, load_model
from manyheads.predict import Precision

if TYPE_CHECKING:
    import torch

    from manyheads.evaluate import Scores
    from manyheads.inference.padded_model import PaddedModel


class Model(Answering):
    """A loaded model, run by torch or by ONNX Runtime. Usually created by `load`.

    >>> import manyheads as mh
    >>> model = mh.load("runs/demo")
    >>> model.classify(["No patient died."])[0].keys()
    dict_keys(['label', 'score', 'scores'])
    """

    def __init__(
        self,
        bundle: Bundle | ExportedBundle | LoadedModel,
        *,
        device: torch.device | None = None,
        batch_tokens: int | None = None,
        precision: Precision = "auto",
    ) -> None:
        """`batch_tokens`: tokens per encoder pass; None: by the device. `precision` is fixed for exports."""
        if not isinstance(bundle, LoadedModel):
            bundle = LoadedModel(bundle, device=device, batch_tokens=batch_tokens, precision=precision)
        super().__init__(bundle)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, revision: str | None = None, device: str | None = None, precision: Precision = "auto"
    ) -> Model:
        """The same as `load`, under the name that users of transformers know.

        >>> import manyheads as mh
        >>> mh.Model.from_pretrained("runs/demo").device
        'cpu'
        """
        return load(name, revision=revision, device=device, precision=precision)

    @property
    def bundle(self) -> Bundle | ExportedBundle:
        """The folder that was read: its manifest and hash, tasks and tokenizer.

        >>> import manyheads as mh
        >>> len(mh.load("runs/demo").bundle.hash)
        64
        """
        return self._loaded.bundle

    @property
    def folder(self) -> Path:
        """The model folder.

        >>> import manyheads as mh
        >>> mh.load("runs/demo").folder
        PosixPath('runs/demo')
        """
        return self.bundle.folder

    @cached_property
    def metrics(self) -> Scores:
        """Scores from training, `{task: {split: {metric: value}}}`, as fractions; `_all` has `combined`.

        >>> import manyheads as mh
        >>> sorted(mh.load("runs/demo").metrics["entities"])
        ['test', 'validation']
        """
        scores: Scores = json.loads((self.folder / METRICS).read_text(encoding="utf-8"))
        return scores

    @property
    def report(self) -> Path | None:
        """The HTML report of the training; None if the folder has none.

        >>> import manyheads as mh
        >>> mh.load("runs/demo").report
        PosixPath('runs/demo/report.html')
        """
        path = self.folder / REPORT
        return path if path.is_file() else None

    def __repr__(self) -> str:
        from manyheads.api.summary import summary_text

        return summary_text(self._loaded, self.metrics)

    def _repr_html_(self) -> str:
        from manyheads.api.summary import summary_html

        return summary_html(self._loaded, self.metrics)

    def evaluate(
        self, data: Any = None, *, split: str = "test", tasks: str | Iterable[str] | None = None
    ) -> Scores:
        """Scores on labelled data, `{task: {split: {metric: value}}}`, as `manyheads evaluate --json` writes them.

        `data`: the path of a run file, or the data of each task, `{task: rows}` or `{task: {split: rows}}`, where rows are a
        path, a list of dictionaries, a DataFrame, an Arrow table or a `datasets.Dataset`. By default the data that the model
        was made from. `split`: `test`, `validation` or `train`. Notes and warnings go to the logger `manyheads`.

        Raises UsageError if there is no data for any of the tasks, ConfigError and DataError.

        >>> import manyheads as mh
        >>> model = mh.load("runs/demo")
        >>> scores = model.evaluate({"section": [{"text": "No patient died.", "label": "RESULTS"}]})
        >>> scores["section"]["test"]["accuracy"] in (0.0, 1.0)
        True
        """
        from manyheads.api.evaluation import scores_on

        return scores_on(self._loaded, data, split, tasks)

    def save(self, folder: str | Path) -> Path:
        """Copy the model folder to a new one, check every hash of the copy, and return it.

        Weights that were changed through `torch_module` are written as they are now, without scores and report, which were
        those of the old weights. Raises UsageError for a folder that is not empty and for weights that cannot be saved, and
        BundleError if the model's own folder has been damaged.

        >>> import manyheads as mh
        >>> mh.load(mh.load("runs/demo").save("runs/copy")).folder
        PosixPath('runs/copy')
        """
        path = Path(folder).expanduser()
        if self._changed_weights():
            from manyheads.inference.changed_weights import save_changed

            assert isinstance(self.bundle, Bundle), "exports have no torch module"
            save_changed(self.bundle, path)
        else:
            copy_model(self.bundle, path, [REPORT])
        return path

    def _changed_weights(self) -> list[str]:
        """Names of weights that were changed through `torch_module`. Raises UsageError and BundleError."""
        if "torch_module" not in self.__dict__ or not isinstance(self.bundle, Bundle):
            return []
        from manyheads.inference.changed_weights import changed_weights

        return changed_weights(self.bundle, self.torch_module)

    def push_to_hub(
        self,
        repo: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        message: str | None = None,
    ) -> str:
        """Upload the model folder to the Hub repository `owner/name`, which is created if needed, and return its URL.

        `revision`: a branch. `token`: by default the one that `hf auth login` stored. Raises UsageError if weights were
        changed through `torch_module`: `save` the model first, and upload the copy.

        >>> import manyheads as mh
        >>> url = mh.load("runs/demo").push_to_hub("me/my-model")  # doctest: +SKIP
        """
        from manyheads.hub.push import push_folder

        if self._changed_weights():
            raise UsageError(f"the weights were changed since {self.folder} was loaded; save the model, and upload the copy: "
                             "mh.load(model.save(FOLDER)).push_to_hub(...)")  # fmt: skip
        return push_folder(self.folder, repo, private=private, token=token, revision=revision, message=message)

    @property
    def device(self) -> str:
        """The device it runs on, such as `cpu` or `cuda:0`.

        >>> import manyheads as mh
        >>> mh.load("runs/demo", device="cpu").device
        'cpu'
        """
        return self._loaded.device

    def to(self, device: str) -> Model:
        """Move the model to a device (`cpu`, `cuda`, `cuda:1`, `mps`, or `auto`) and return it.

        Raises UsageError if there is no such device.

        >>> import manyheads as mh
        >>> mh.load("runs/demo").to("cpu").device
        'cpu'
        """
        self._loaded.move(device)
        if "torch_module" in self.__dict__:
            self.torch_module.to(self.device)
        return self

    @cached_property
    def torch_module(self) -> PaddedModel:
        """The model as a `torch.nn.Module` on padded batches, with gradients, for custom training or analysis.

        `module(input_ids, attention_mask, token_type_ids)` takes what the tokenizer in `folder / "encoder"` makes and
        returns `{task: {output: tensor}}`. It shares the parameters of this model: what trains it changes these answers.
        Raises UsageError for exports, and for weights rounded to bf16.

        >>> import manyheads as mh
        >>> import torch
        >>> module = mh.load("runs/demo").torch_module
        >>> outputs = module(torch.tensor([[2, 9, 8, 3]]))
        >>> outputs["section"]["logits_SK"].sum().backward()
        """
        from manyheads.inference.padded_model import PaddedModel

        backend = self._loaded.torch_backend("torch module")
        if backend.rounded:
            raise UsageError("the weights were rounded to bf16 for the CPU, and have no gradients; load the model again with "
                             "precision='float32'")  # fmt: skip
        return PaddedModel(backend.model, self.tasks)


def load(
    name: str | Path,
    *,
    revision: str | None = None,
    device: str | None = None,
    batch_tokens: int | None = None,
    precision: Precision = "auto",
) -> Model:
    """Load a model from a folder or by Hub id.

    `revision`: branch, tag or commit of a Hub repository. `device`: `cpu` (default), `cuda`, `cuda:1`, `mps`, or `auto`: a
    GPU if there is one. `batch_tokens`: tokens per encoder pass (default: 4,096, or 16,384 on CUDA). `precision`: of the
    encoder; `auto` is float32 on a CPU and bf16 on CUDA. Folders written by `export --to onnx` run in ONNX Runtime, without
    torch, on the CPU or on CUDA.

    Raises BundleError, and UsageError for an unavailable device, or if torch is required but not installed.

    >>> import manyheads as mh
    >>> model = mh.load("runs/demo", batch_tokens=2048)
    >>> len(model.predict("Aspirin lowered fever."))
    1
    """
    return Model(load_model(name, revision=revision, device=device, batch_tokens=batch_tokens, precision=precision))
