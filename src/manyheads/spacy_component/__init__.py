"""manyheads as a component of spaCy: `nlp.add_pipe("manyheads", config={"model": "runs/demo"})`.

spaCy finds it by the entry point group `spacy_factories`; only spaCy imports this room.

    component.py    batches, processes, saving          annotate.py     answers as ents, spans, cats, vectors
    storage.py      the model of a saved pipeline       extensions.py   `doc._` and `span._`
    scoring.py      what `nlp.evaluate` reports

Decided here: importing this loads little, because spaCy imports every component that is installed with its first pipeline,
whether or not it is used.
"""

# Without `from __future__ import annotations`: spaCy checks the config against the annotations, and needs types.

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Optional

from spacy.language import Language
from spacy.util import registry

from manyheads.spacy_component.annotate import Alignment
from manyheads.spacy_component.extensions import Relation, add_extensions, add_vector_hooks

if TYPE_CHECKING:
    from manyheads.spacy_component.component import ManyHeads

__all__ = ["Relation", "add_vector_hooks", "make_component", "make_scorer"]

SCORER = "manyheads.scorer.v1"

add_extensions()


@registry.scorers(SCORER)  # type: ignore[untyped-decorator]  # spaCy has no types
def make_scorer() -> Callable[..., dict[str, Any]]:
    """The scorer of the component: `ents_f`, `spans_TASK_f`, `cats_score`, ..., as spaCy's own components report them."""
    from manyheads.spacy_component.scoring import score

    return score


@Language.factory(  # type: ignore[untyped-decorator]  # spaCy has no types
    "manyheads",
    assigns=[
        "doc.ents", "doc.spans", "doc.cats", "doc.vector", "doc.user_hooks", "doc._.manyheads", "doc._.relations",
        "token.ent_iob", "token.ent_type", "token.ent_kb_id",
        "span._.manyheads", "span._.score", "span._.attributes", "span._.candidates",
    ],
    default_config={"scorer": {"@scorers": SCORER}},
)  # fmt: skip
def make_component(  # noqa: PLR0913 - spaCy passes each setting by its name
    nlp: Any,
    name: str,
    *,
    model: str,
    tasks: list[str] | None = None,
    device: str | None = None,
    precision: Literal["auto", "float32", "bf16"] = "auto",
    min_score: float | None = None,
    alignment_mode: Alignment = "expand",
    overwrite_ents: bool = False,
    store: Literal["copy", "path"] = "copy",
    scorer: Optional[Callable] = None,  # type: ignore[type-arg]  # noqa: UP045 - as spaCy's config reads it
) -> "ManyHeads":
    """The component, with its model.

    `model`: a model folder or a Hub id. `tasks`: by default all. `device`, `precision`: as for `manyheads.load`. `min_score`:
    leave out spans, answers and multi-label classes with a lower score. `alignment_mode`: what becomes of a span that ends
    inside a token, as in `Doc.char_span`. `overwrite_ents`: entities replace those that they overlap in `doc.ents`.
    `store`: what a saved pipeline holds, a copy of the model or its path and hash. `scorer`: what `nlp.evaluate` reports;
    None: nothing.

    Raises BundleError and UsageError as `manyheads.load` does, and UsageError for tasks that the model does not have.
    """
    from manyheads.spacy_component.component import ManyHeads, Settings

    settings = Settings(
        model=model, tasks=tasks, device=device, precision=precision, min_score=min_score,
        alignment_mode=alignment_mode, overwrite_ents=overwrite_ents, store=store,
    )  # fmt: skip
    component = ManyHeads(name, settings, scorer)
    # spaCy has read the list of components only for a pipeline that it reloads: its saved model comes with `from_disk`.
    component.reloaded = name in getattr(nlp, "_meta", {}).get("components", ())
    if not component.reloaded:
        component.loaded()
    return component
