"""Upload of a model folder to a Hub repository.

Decided here: the folder, its hashes, the name and the token are checked before anything is sent. All files arrive in one
commit, so an interrupted upload leaves the repository as it was. Only the manifest and the files that it names are sent;
files of an earlier model that this one does not have are deleted by the same commit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.bundle import (
    ADAPTERS,
    BRANCHES,
    ENCODER,
    HEADS,
    MANIFEST,
    STORES,
    is_exported,
    read_manifest,
    verify,
    verify_exported,
)
from manyheads.bundle.exported import GRAPH, GRAPH_DATA
from manyheads.bundle.manifest import CARD
from manyheads.errors import HubError, ManyheadsError, UsageError
from manyheads.nn.resolve_encoder import looks_like_path
from manyheads.text.untrusted_files import leaves_folder

if TYPE_CHECKING:
    from huggingface_hub import HfApi

OWNED = (f"{ENCODER}/*", f"{ADAPTERS}/*", f"{STORES}/*", HEADS, BRANCHES, GRAPH, GRAPH_DATA)
"""Files in a repository that belong to the model in it."""
MESSAGE = "Upload a manyheads model"
LONGEST_REASON = 300
"""Characters of the client's error in one of ours."""


def push_folder(
    folder: Path,
    repo: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    message: str | None = None,
) -> str:
    """Upload a model folder, or an ONNX export, to a Hub repository, which is created if needed; returns its URL.

    `repo`: `owner/name`, or `name` for the token's own account. `private`: visibility of a new repository (default: as the
    account sets). `token`: by default that of `hf auth login` or HF_TOKEN. `revision`: a branch, created if needed (default:
    main). `message`: of the commit.

    Raises BundleError for a folder that is not a whole model, UsageError for a name, token or repository that cannot be used,
    and HubError if the Hub cannot be reached or the upload fails; the repository is then as before.

    >>> push_folder(Path("runs/demo"), "not a name")
    Traceback (most recent call last):
        ...
    manyheads.errors.UsageError: 'not a name' is not the name of a Hub repository; write owner/name, in letters, digits, ...
    """
    names = files_to_push(folder)
    check_repo(repo)
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(token=token, library_name="manyheads")
    with _readable_errors(repo, "the Hub cannot be reached, or refuses; nothing was pushed"):
        owner = api.whoami()["name"]
        repo = repo if "/" in repo else f"{owner}/{repo}"
        url = api.create_repo(repo, private=private, exist_ok=True)
        if private and not api.model_info(repo).private:
            raise UsageError(f"{repo} exists already and is public; make it private on the Hub, or push without `private`")
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        stale = _stale_files(api, repo, revision, names)
    operations: list[Any] = [CommitOperationAdd(name, folder / name) for name in names]
    operations += [CommitOperationDelete(name) for name in stale]
    with _readable_errors(repo, "the upload did not finish; run the same command again"):
        api.create_commit(repo, operations, commit_message=message or MESSAGE, revision=revision)
    return f"{url}/tree/{revision}" if revision else str(url)


def files_to_push(folder: Path) -> list[str]:
    """Names of the files of a model, the manifest last, each verified.

    Raises BundleError for a damaged folder, and UsageError for a model that lacks the weights of its encoder.

    >>> files_to_push(Path("runs/demo"))[-3:]
    ['encoder/tokenizer.json', 'encoder/tokenizer_config.json', 'manyheads.json']
    """
    manifest = read_manifest(folder)
    if is_exported(manifest):
        verify_exported(folder, manifest)
    else:
        base = verify(folder, manifest).base
        if base is not None and (looks_like_path(base.name) or (folder / base.name).exists()):
            raise UsageError(f"{folder} has only adapters, and their encoder is a folder on this machine ({base.name}); "
                             "train with lora.save: merged or apart, which save the encoder too")  # fmt: skip
    card = folder / CARD
    if leaves_folder(folder, card):
        raise UsageError(f"{card} is a link to a file outside the model folder; put the file itself there")
    return [*(name for name in manifest["files"] if name != CARD or card.is_file()), MANIFEST]


def check_repo(repo: str) -> None:
    """Raise UsageError unless a Hub repository can have this name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise UsageError(f"'{repo}' is not the name of a Hub repository; write owner/name, in letters, digits, '-', '_' "
                         "and '.'") from None  # fmt: skip


def _stale_files(api: HfApi, repo: str, revision: str | None, names: list[str]) -> list[str]:
    """Files of another model in the repository, which would be read along with this one's."""
    found = api.list_repo_files(repo, revision=revision)
    return [name for name in found if name not in names and any(fnmatch(name, pattern) for pattern in OWNED)]


@contextmanager
def _readable_errors(repo: str, failure: str) -> Iterator[None]:
    """The Hub client's errors as one sentence: about the token, the rights, the network, or else `failure`."""
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    try:
        yield
    except ManyheadsError:
        raise
    except LocalTokenNotFoundError:
        raise UsageError("there is no Hub token on this machine; run `hf auth login`, or set HF_TOKEN") from None
    except OfflineModeIsEnabled:
        raise UsageError("HF_HUB_OFFLINE is set, so nothing can be pushed; unset it") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == 401:
            raise UsageError("the Hub does not accept the token; log in again with `hf auth login`, or correct "
                             "HF_TOKEN") from None  # fmt: skip
        if status == 403:
            raise UsageError(f"the token may not write to {repo}; give it write permission, or choose another "
                             "repository") from None  # fmt: skip
        raise HubError(f"{repo}: {failure} ({_reason(error)})") from None
    except ValueError as error:
        raise UsageError(f"the Hub refuses the model, and nothing was pushed: {_reason(error)}") from None
    except Exception as error:  # the client has many classes for a lost connection
        raise HubError(f"{repo}: {failure} ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__
