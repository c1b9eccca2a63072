"""`manyheads export`: check the request and run the exporter of its target."""

from __future__ import annotations

from pathlib import Path

from manyheads.bundle import Bundle, is_exported, load_bundle, read_manifest
from manyheads.errors import UsageError
from manyheads.export.folder import check_output
from manyheads.export.request import ExportRequest, Log
from manyheads.hub.download import model_folder


def export_model(model: str | Path, request: ExportRequest, log: Log) -> Path:
    """Export a model folder or hub id; the folder of the export.

    Raises UsageError for what cannot be exported or answers differently from the model, and BundleError.

    >>> export_model("runs/demo", ExportRequest("sentence-transformers", Path("vectors")), print)
    parity: ... windows of ... tokens of the model's validation data; largest difference ... (similarity/vector)
    PosixPath('vectors')
    """
    if request.target != "onnx":
        for given, option in (
            (request.quantize, "--quantize"),
            (request.data, "--data"),
            (request.allow_drop, "--allow-drop"),
        ):
            if given:
                raise UsageError(f"{option} is for --to onnx; leave it out with --to {request.target}")
    check_output(request.output)
    folder = model_folder(model)
    if is_exported(read_manifest(folder)):
        raise UsageError(f"{folder} is an export already; export the model that it was made from")
    bundle = load_bundle(folder)
    if request.task is not None and request.task not in bundle.tasks:
        raise UsageError(f"the model has no task '{request.task}'; its tasks are {', '.join(bundle.tasks)}")
    if request.target == "onnx":
        from manyheads.export.onnx import export_onnx

        export_onnx(bundle, request, log)
    elif request.target == "transformers":
        from manyheads.export.transformers import export_transformers

        export_transformers(bundle, _head(bundle, request), request.output, log)
    else:
        from manyheads.export.sentence_transformers import export_sentence_transformers

        export_sentence_transformers(bundle, _head(bundle, request), request.output, log)
    return request.output


def _head(bundle: Bundle, request: ExportRequest) -> str:
    """The one head to export."""
    if request.task is not None:
        return request.task
    vectors = request.target == "sentence-transformers"
    fitting = [name for name, task in bundle.tasks.items() if (task.answer_form == "vector") == vectors]
    if not fitting:
        what = "a head for sentence embeddings" if vectors else "a head with labels, numbers or spans"
        other = "onnx" if vectors else "sentence-transformers"
        raise UsageError(f"--to {request.target} exports {what}, and the model has none (its tasks: "
                         f"{', '.join(bundle.tasks)}); use --to {other}")  # fmt: skip
    if len(fitting) > 1:
        raise UsageError(f"--to {request.target} exports one head, and the model has several ({', '.join(fitting)}); choose "
                         "one with --task")  # fmt: skip
    return fitting[0]
