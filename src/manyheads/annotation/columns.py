"""The names of columns in files that `manyheads pick` reads: given with the command, or those of the model's run file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from manyheads.annotation.identity import TEXTS, Reading
from manyheads.bundle import RUN
from manyheads.config.data_section import SourceData
from manyheads.config.files import load_run

if TYPE_CHECKING:
    from manyheads.data.column_guess import Mapped
    from manyheads.data.requests import Renames
    from manyheads.inference import LoadedModel


def readings_of(model: LoadedModel, names: Sequence[str], columns: Mapping[str, str]) -> list[Reading]:
    """The ways to read a labelled file: with `columns`, or else as the run file reads each split, and with our own names."""
    kinds = {name: type(model.tasks[name]) for name in names}
    if columns:
        expected = {kind: {ours for some in kind.columns for ours in some} for kind in kinds.values()}
        return [
            (kind, {ours: theirs for ours, theirs in columns.items() if ours in expected[kind]}) for kind in expected
        ]
    found = [(kinds[name], mapping) for name in names for mapping in _columns_of_run(model, name)]
    own: list[Reading] = [(kind, {}) for kind in dict.fromkeys(kinds.values())]
    return [*found, *own]


def renames_of(model: LoadedModel, names: Sequence[str], columns: Mapping[str, str]) -> Renames:
    """The names of the columns that hold the texts of unlabelled rows."""
    mappings: list[Mapped] = [mapping for name in names for mapping in _columns_of_run(model, name)]
    pairs = [pair for mapping in ([columns] if columns else mappings) for pair in mapping.items()]
    return list(dict.fromkeys((ours, theirs) for ours, theirs in pairs if ours in TEXTS and isinstance(theirs, str)))


def _columns_of_run(model: LoadedModel, name: str) -> list[Mapped]:
    """The `columns` of each split of a task in the model's run file, where there is one."""
    path = model.bundle.folder / RUN
    section = load_run(path).run.tasks.get(name) if path.is_file() else None
    data = None if section is None else section.data
    splits = () if data is None else (data.train, data.validation, data.test)
    found: list[Mapped] = [split.columns for split in splits if isinstance(split, SourceData) and split.columns]
    return [mapping for place, mapping in enumerate(found) if mapping not in found[:place]]
