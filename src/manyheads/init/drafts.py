"""Sources to tasks: which files are the splits of one data set, what the task is called, and what was assumed.

Files belong together if they are in one folder, have one name apart from the split, and can be read by one task type. A file
without training data joins the only other data set of its folder that has some, if labels agree (`emerging.dev.conll` and
`wnut17train.conll`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from manyheads.data.column_guess import names_in
from manyheads.data.formats.csv import NUMBER
from manyheads.errors import DataError
from manyheads.init.recognition import Reading, Recognised
from manyheads.init.sources import Source
from manyheads.init.split_names import is_shard
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import AnswerForm

SPLITS = ("train", "validation", "test")
NAMES: Mapping[AnswerForm, str] = {
    "spans": "entities", "classes": "label", "passages": "answers", "vector": "similarity", "tags": "tags",
    "numbers": "value", "relevance": "ranking",
}  # fmt: skip
"""Names of tasks where neither file nor folder has a telling one."""
PLAIN = frozenset({"data", "dataset", "datasets", "corpus", "corpora", "files", "raw", "src", "input", "export", "exports",
                   "tmp", "temp", "qrels", "downloads", "all", "full"})  # fmt: skip
"""Names of files and folders that tell nothing."""
NEAR = 0.35
"""Difference of ranks within which another task type is named: numbers of stars are classes, or one number."""
AGREEING = 0.5
"""Share of the labels of the smaller set that two splits of one data set have in common, at least."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The data of one split: one source, or the shards of one."""

    sources: tuple[Source, ...]
    reading: Reading


@dataclass(slots=True)
class Draft:
    """A task to be."""

    name: str
    kind: str
    splits: dict[str, Entry]
    others: tuple[str, ...] = ()
    """Other task types that can read the training data, the likeliest first."""
    checks: list[str] = field(default_factory=list)
    """What to check, as sentences."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Splits that were found and cannot be used, with the reason."""
    fraction: float | None = None
    """`validation_fraction`, where the default does not fit."""

    @property
    def train(self) -> Entry:
        """The training data."""
        return self.splits["train"]


@dataclass(slots=True)
class _Group:
    """Splits of one data set."""

    folder: Path
    stem: str
    kind: str
    target: str | None
    further: bool
    members: dict[str | None, list[tuple[Recognised, Reading]]]
    """By split; None: the name does not say."""

    @property
    def labels(self) -> set[str]:
        """Labels of all splits."""
        return {label for found in self.members.values() for _, reading in found for label in reading.labels}


def drafts_of(recognised: Iterable[Recognised]) -> list[Draft]:
    """The tasks. Raises DataError if two files are the same split of one data set."""
    groups = _joined(_groups(recognised))
    drafts: list[Draft] = []
    for group in groups:
        alone = sum(other.folder == group.folder for other in groups) == 1
        drafts.append(_draft(group, _unused(_name(group, alone), group, drafts)))
    return drafts


def _groups(recognised: Iterable[Recognised]) -> list[_Group]:
    """Sources of one folder, name and type. The type is that of the training data, where the others can be read by it."""
    by_name: dict[tuple[Path, str, str | None], list[Recognised]] = {}
    for one in recognised:
        by_name.setdefault((one.source.folder, one.source.stem, one.target), []).append(one)
    groups: dict[tuple[Path, str, str | None, str], _Group] = {}
    for (folder, stem, target), found in by_name.items():
        first = next((one for one in found if one.source.split == "train"), found[0])
        kind = first.readings[0].kind
        for one in found:
            reading = one.reading(kind) or one.readings[0]
            group = groups.setdefault(
                (folder, stem, target, reading.kind), _Group(folder, stem, reading.kind, target, one.further, {})
            )
            group.members.setdefault(one.source.split, []).append((one, reading))
    return list(groups.values())


def _joined(groups: list[_Group]) -> list[_Group]:
    """Groups of one folder and type with splits that complete one another are one."""
    found = list(groups)
    for group in groups:
        if None in group.members or "train" in group.members:
            continue
        fitting = [
            other for other in found if other is not group and _complete(other, group)
            and ("train" in other.members or None not in other.members)
        ]  # fmt: skip
        with_train = [other for other in fitting if "train" in other.members]
        chosen = with_train if len(with_train) == 1 else fitting if len(fitting) == 1 else []
        if chosen:
            chosen[0].members |= group.members
            chosen[0].stem = _common(chosen[0].stem, group.stem)
            found.remove(group)
    return found


def _complete(one: _Group, other: _Group) -> bool:
    same = (one.folder, one.kind, one.target) == (other.folder, other.kind, other.target)
    if not same or not set(one.members).isdisjoint(other.members):
        return False
    smaller = min(len(one.labels), len(other.labels))
    return not smaller or len(one.labels & other.labels) >= AGREEING * smaller


def _common(one: str, other: str) -> str:
    """A name for data sets whose files have different names: what they begin with."""
    shared = [first for first, second in zip(one.split("-"), other.split("-"), strict=False) if first == second]
    return "-".join(shared)


def _name(group: _Group, alone: bool) -> str:
    """The target's name, or the folder's if it has no other data set, or the files', or one for the kind of answers."""
    if group.target is not None:
        return (_plain(group.target) or _usual_name(group)) if group.further else group.target
    folder = group.folder.resolve()
    candidates = [group.stem]
    if alone:
        candidates.insert(len(candidates) if folder == Path.cwd() else 0, folder.name)
    found = [plain for name in candidates if (plain := _plain(name)) and plain not in PLAIN]
    return found[0] if found else _usual_name(group)


def _usual_name(group: _Group) -> str:
    """By the kind of answers; for labels, the name of their column."""
    usual = NAMES.get(TASK_TYPES[group.kind].answer_form, "task")
    reading = next(iter(group.members.values()))[0][1]
    labels = [theirs for ours, theirs in reading.columns.items()
              if ours.startswith(usual) and isinstance(theirs, str) and not theirs.isdecimal()]  # fmt: skip
    return _plain(labels[0]) if labels and _plain(labels[0]) else usual


def _plain(name: str) -> str:
    """A name that a task can have."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).lstrip("-0123456789")[:40].rstrip("-")


def _unused(name: str, group: _Group, drafts: Sequence[Draft]) -> str:
    used = {draft.name for draft in drafts}
    folder = _plain(group.folder.resolve().name)
    choices = [
        name,
        f"{name}-{folder}" if folder else name,
        *(f"{name}-{number}" for number in range(2, len(used) + 3)),
    ]
    return next(choice for choice in choices if choice not in used)


def _draft(group: _Group, name: str) -> Draft:
    checks: list[str] = []
    members = dict(group.members)
    if None in members and "train" in members:
        files = _listed([*members[None], *members["train"]])
        raise DataError(f"{files} are both training data of one data set by their names; give one of them, or name the split "
                        "of each in its file name")  # fmt: skip
    if None in members:
        members["train"] = members.pop(None)
        if len(members) == 1:
            checks.append("no split in the file name: all rows are for training")
    elif "train" not in members:
        split = "validation" if "validation" in members else "test"
        members["train"] = members.pop(split)
        checks.append(f"no training file: {_listed(members['train'])} is trained on, although its name says {split}")
    if group.further:
        checks.append(f"a second task of the same texts, because of their {group.target}; remove it if that is no label")
    splits = {}
    for split in SPLITS:
        if split in members:
            splits[split] = _entry(split, members[split])
    train = splits["train"].reading
    readings = members["train"][0][0].readings
    others = tuple(one.kind for one in readings if one.kind != train.kind and one.rank > train.rank - NEAR)
    return Draft(name, group.kind, splits, others, [*checks, *_assumed(splits)])


def _entry(split: str, found: list[tuple[Recognised, Reading]]) -> Entry:
    sources = [one.source for one, _ in found]
    if len(found) > 1 and not all(is_shard(source.path.name) for source in sources):
        raise DataError(f"{_listed(found)} are both {split} data of one data set by their names; give one of them, or move "
                        "each data set into a folder of its own")  # fmt: skip
    return Entry(tuple(sources), found[0][1])


def _listed(found: Sequence[tuple[Recognised, Reading]]) -> str:
    return " and ".join(str(one.source.path) for one, _ in found)


def _assumed(splits: Mapping[str, Entry]) -> list[str]:
    """What the readings of the splits take for granted, each once."""
    found: dict[str, None] = {}
    for entry in splits.values():
        reading = entry.reading
        if reading.guess is not None:
            numbered = any(name.isdecimal() for name in names_in(reading.columns))
            basis = "values, as there is no header" if numbered else "names and values"
            found[f"the columns, {str(reading.guess).replace(NUMBER, '')}: guessed from {basis}"] = None
            if reading.guess.rivals:
                found[f"the label: {', '.join(reading.guess.rivals)} could hold it as well"] = None
    return list(found)
