"""The output folder of a run, and the run file that is saved in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from manyheads.config.files import RunFile, as_given
from manyheads.config.own_files import path_settings
from manyheads.config.teachers import is_folder
from manyheads.data.python_rows import MARK
from manyheads.errors import UsageError
from manyheads.nn.resolve_encoder import holds_encoder


def output_folder(file: RunFile, override: Path | None) -> Path:
    """The folder that a run writes to."""
    return override if override is not None else file.display_path(file.run.output)


def unfinished_output(file: RunFile, override: Path | None) -> Path:
    """The output folder. Raises UsageError if it holds a finished model."""
    from manyheads.bundle import is_finished

    folder = output_folder(file, override)
    if is_finished(folder):
        raise UsageError(f"{folder} already holds a finished model; choose another output folder, or delete it first")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; the output must be a folder")
    return folder


def portable_run(file: RunFile, folder: Path) -> str:
    """The run file as YAML for the model folder: with overrides applied and paths relative to that folder."""
    values = as_given(file.run)
    values["output"] = "."

    def relative(path: Any) -> Any:
        if isinstance(path, list):
            return [relative(part) for part in path]
        if isinstance(path, Mapping):
            return {**path, "path": relative(path["path"])}
        if path.startswith(("hf:", MARK)):
            return path
        return os.path.relpath(file.resolve(path), folder.resolve())

    for section in values.get("training", {}).get("teachers", {}).values():
        for key in section:
            if key in ("file", "unlabelled") or (key == "model" and is_folder(file, section[key])):
                section[key] = relative(section[key])
    for section in values["tasks"].values():
        if "data" in section:
            section["data"] = {split: relative(path) for split, path in section["data"].items()}
        section.update({key: relative(section[key]) for key in path_settings(section) if section.get(key)})
    start = values.get("training", {}).get("init_from")
    local = file.resolve(start or file.run.encoder.name)
    if start:
        values["training"]["init_from"] = os.path.relpath(local, folder.resolve()) if local.exists() else start
        values.pop("encoder", None)
        values["encoder"] = {"max_length": file.run.encoder.max_length}
    elif holds_encoder(local):
        values.setdefault("encoder", {})["name"] = os.path.relpath(local, folder.resolve())
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
