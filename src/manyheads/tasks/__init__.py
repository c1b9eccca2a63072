"""Task types: those of manyheads, those of installed packages, and those registered by hand.

A package declares its types in the entry point group `manyheads.tasks`, under the `type` of the run file:

    [project.entry-points."manyheads.tasks"]
    ordinal-regression = "my_package.ordinal:OrdinalRegression"

A model folder records which package a type came from, but names from a file never import anything: only a type that is
installed under an entry point, or registered by the program itself, can be built.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from manyheads.errors import BundleError, UsageError
from manyheads.tasks.base import Task
from manyheads.tasks.entity_linking import EntityLinking
from manyheads.tasks.question_answering import QuestionAnswering
from manyheads.tasks.relations import Relations
from manyheads.tasks.sentence_embedding import MultiVectorEmbedding, SentenceEmbedding, SparseEmbedding
from manyheads.tasks.settings import with_tuples
from manyheads.tasks.span_classification import SpanClassification
from manyheads.tasks.text_classification import ClassificationByName, SentenceClassification, TextClassification
from manyheads.tasks.text_ranking import TextRanking
from manyheads.tasks.text_regression import TextRegression
from manyheads.tasks.token_classification import EntitiesByName, TokenClassification
from manyheads.tasks.token_tagging import TokenTagging

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "manyheads.tasks"
"""The group of entry points."""


class TaskTypes(Mapping[str, type[Task[Any]]]):
    """Task types by their `type` in a run file. Those of other packages are imported on first use.

    >>> sorted(TASK_TYPES)[:2]
    ['entity-linking', 'question-answering']
    """

    def __init__(self, *own: Any) -> None:
        self._known: dict[str, type[Task[Any]]] = {cls.kind: cls for cls in own if not cls.chosen_by}
        self._variants: list[type[Task[Any]]] = [cls for cls in own if cls.chosen_by]
        self._own = frozenset(self._known)
        self._installed: dict[str, EntryPoint] | None = None

    def __getitem__(self, kind: str) -> type[Task[Any]]:
        """Raises KeyError for an unknown type, UsageError for an installed one that cannot be imported or is not a task."""
        if kind not in self._known:
            self._known[kind] = _loaded(self._entries()[kind])
        return self._known[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._known, *self._entries()]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, kind: object) -> bool:
        return kind in self._known or kind in self._entries()

    def classes(self, kind: str) -> list[type[Task[Any]]]:
        """All classes of a type: its own, then those that settings choose (`Task.chosen_by`). Raises as `[kind]` does."""
        return [self[kind], *(cls for cls in self._variants if cls.kind == kind)]

    def class_of(self, kind: str, settings: Mapping[str, Any]) -> type[Task[Any]]:
        """The class of a type for these settings. Raises as `[kind]` does."""
        own, *variants = self.classes(kind)
        return next((cls for cls in variants if cls.chosen_by.items() <= settings.items()), own)

    def register(self, cls: type[Task[Any]]) -> type[Task[Any]]:
        """Add a type for the rest of the process, as in a notebook. Raises UsageError for a name in use."""
        known = self._known.get(cls.kind)
        if cls.kind in self._own or (known is not None and known.__qualname__ != cls.__qualname__):
            raise UsageError(f"task type {cls.kind!r} already exists ({known and known.__module__}); use another name")
        self._known[cls.kind] = cls
        return cls

    def package(self, kind: str) -> tuple[str, str] | None:
        """Name and version of the package of a type; None for types of manyheads, and those registered by hand."""
        entry = None if kind in self._own else self._entries().get(kind)
        return (entry.dist.name, entry.dist.version) if entry is not None and entry.dist is not None else None

    def _entries(self) -> dict[str, EntryPoint]:
        if self._installed is None:
            from importlib.metadata import entry_points

            self._installed = {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in self._own}
        return self._installed


def _loaded(entry: EntryPoint) -> type[Task[Any]]:
    package = entry.dist.name if entry.dist is not None else "a package"
    try:
        cls = entry.load()
    except Exception as error:  # an import can raise anything
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"task type {entry.name!r} of {package} cannot be imported ({reason}); fix or remove it") from error
    if not isinstance(cls, type) or not issubclass(cls, Task) or cls.kind != entry.name:
        raise UsageError(f"task type {entry.name!r} of {package} is {cls!r:.80}, not a Task whose kind is that name")
    return cls


TASK_TYPES = TaskTypes(
    TokenClassification, EntitiesByName, TextClassification, SentenceClassification, ClassificationByName, QuestionAnswering,
    SentenceEmbedding, SparseEmbedding, MultiVectorEmbedding, TextRegression, TokenTagging, SpanClassification,
    Relations, EntityLinking, TextRanking,
)  # fmt: skip
register = TASK_TYPES.register


def describe(task: Task[Any]) -> dict[str, Any]:
    """A task as JSON: its `type`, the package of a type from elsewhere, and its settings."""
    package = TASK_TYPES.package(task.kind)
    origin = {} if package is None else {"package": {"name": package[0], "version": package[1]}}
    return {"type": task.kind, **origin, **task.describe()}


def restore(description: Mapping[str, Any]) -> Task[Any]:
    """Build a task from its description. Raises BundleError for a type or setting of another version."""
    settings = dict(description)
    kind, package = settings.pop("type", None), settings.pop("package", None)
    if kind not in TASK_TYPES:
        raise BundleError(unknown_type(kind, package))
    try:
        return TASK_TYPES.class_of(kind, settings)(**with_tuples(settings))
    except TypeError as error:
        raise BundleError(f"task {settings.get('name')!r}: {error}") from None


def unknown_type(kind: object, package: object = None) -> str:
    """Message for a type that is not available, with what to install."""
    if isinstance(package, Mapping) and isinstance(package.get("name"), str):
        name, version = package["name"], package.get("version")
        return f"task type {kind!r:.80} comes with {name:.80} {version!s:.40}, which is not installed; pip install {name:.80}"
    return f"task type {kind!r:.80} is not known to this version; it knows {', '.join(TASK_TYPES)}"
