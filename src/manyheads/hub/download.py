"""The local folder of a model that is named by a folder or by a Hub id."""

from __future__ import annotations

from pathlib import Path

from manyheads.bundle import ENCODER, MANIFEST, model_suggestions
from manyheads.errors import BundleError, UsageError
from manyheads.nn.resolve_encoder import looks_like_path

WANTED = (MANIFEST, "*.json", "*.safetensors", "*.onnx", "*.onnx.data", "*.md", "*.yaml", f"{ENCODER}/*")
"""Files to download; nothing that could be run."""
TIMEOUT_S = 10


def model_folder(name: str | Path, revision: str | None = None) -> Path:
    """The folder of a model: a local one, or the local copy of a Hub repository at a branch, tag or commit.

    The Hub is used only for names `owner/name` that are not a local path. If it cannot be reached, the copy of an earlier
    download is used. Raises BundleError with similar names, and UsageError for a revision of a local folder.

    >>> model_folder("runs/demo")
    PosixPath('runs/demo')
    """
    folder = Path(name).expanduser()
    if folder.exists() or isinstance(name, Path) or name.count("/") != 1 or looks_like_path(name):
        if revision is not None:
            raise UsageError(f"{name} is a local folder, which has no revision '{revision}'; leave the revision out, or give "
                             "the id of a Hub repository")  # fmt: skip
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(WANTED), etag_timeout=TIMEOUT_S))
    except RevisionNotFoundError:
        raise BundleError(f"the Hub has no revision '{revision}' of {name}; give a branch, a tag or a commit") from None
    except Exception as error:  # the Hub client has many errors that all mean "not found"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BundleError(f"no model '{name}': there is no such folder, and the Hub has none ({reason})"
                          f"{model_suggestions(folder, MANIFEST)}") from None  # fmt: skip
