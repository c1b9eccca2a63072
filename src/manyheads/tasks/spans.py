"""Tasks about the entities that another task finds: their attributes, their relations.

Rows have `text` and `entities`, each with a label, an optional `id` and `attributes`; and `relations` between them:

    {"text": "No fever after Orbanol.",
     "entities": [{"id": "T1", "start": 3, "end": 8, "label": "Disease", "attributes": {"negated": true}},
                  {"id": "T2", "start": 15, "end": 22, "label": "Chemical"}],
     "relations": [{"head": "T2", "tail": "T1", "label": "treats"}]}

Decided here:
- A head gives numbers to tokens, and a span has the means of those of its words, each read in the window that owns it. So one
  pass serves all spans, numpy computes their scores, and windows of a long text need nothing special.
- Training reads gold spans and, in equal parts, the spans that the entity task finds in their place at that step, where these
  begin or end elsewhere (`found_spans`).
- Answers are about the spans that the entity task found in the same pass; the score is computed
  for gold spans, which is what this head alone is responsible for, and for found ones.
- Words are those of `text.units`, whatever the tokenizer. A discontinuous span has the words from its start to its end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from manyheads.errors import RowError
from manyheads.tasks.base import Array, EncoderInput, Encodings, Item, Output, Row, Task, text_of
from manyheads.tasks.settings import Doc, Dropout, Stride
from manyheads.tasks.words import owned_rows
from manyheads.text.entities import located
from manyheads.text.pack import Source
from manyheads.text.spans import CharSpan
from manyheads.text.units import units
from manyheads.text.values import first_given, key_of

if TYPE_CHECKING:
    import torch

    from manyheads.text.pack import Encoding


@dataclass(frozen=True, slots=True)
class GoldSpan:
    """An entity of a row."""

    start: int
    end: int
    label: str
    attributes: Mapping[str, Any]
    links: tuple[str, ...] = ()
    """Identifiers in a knowledge base."""

    @property
    def span(self) -> CharSpan:
        """Offsets and label."""
        return self.start, self.end, self.label


@dataclass(frozen=True, slots=True)
class GoldRelation:
    """A relation of a row. Between concepts, it holds for all their mentions."""

    heads: tuple[int, ...]
    """Places of its head among the entities."""
    tails: tuple[int, ...]
    label: str
    concepts: tuple[str, str] | None = None
    """Identifiers of head and tail, if the row relates concepts."""


@dataclass(frozen=True, slots=True)
class SpanExample:
    """A text with its entities, and the relations between them."""

    text: str
    spans: tuple[GoldSpan, ...]
    relations: tuple[GoldRelation, ...] = ()
    document: str = ""


@dataclass(frozen=True, kw_only=True)
class SpanTask(Task[SpanExample]):
    """A task about the entities of another task."""

    columns: ClassVar[tuple[tuple[str, ...], ...]] = (("text", "entities"),)
    cluster_noun: ClassVar[str] = "documents"
    example_noun: ClassVar[str] = "texts"

    entry_keys: ClassVar[frozenset[str]]
    """Keys that each object of an answer has, by which answers in a file are known."""

    of: Annotated[str, Doc("the task whose entities this one is about")]
    dropout: Dropout = 0.1
    stride: Stride = 64

    @property
    def depends_on(self) -> str | None:
        """`of`."""
        return self.of

    def renamed(self, names: Mapping[str, str]) -> SpanTask:
        """With the new name of the entity task."""
        return replace(self, name=names.get(self.name, self.name), of=names.get(self.of, self.of))

    def read(self, row: Row) -> SpanExample:
        """`text`, `entities`, optional `relations` and `document`."""
        return read_spans(row)

    def row_of_target(self, row: Row, target: Any) -> Row:
        """`targets: {NAME: {"entities": [...], "relations": [...]}}`, or the list of entities alone."""
        given = target if isinstance(target, Mapping) else {"entities": target}
        return {"text": text_of(row), **given, "document": first_given(row.get("document"), row.get("id"))}

    def cluster(self, example: SpanExample) -> str:
        """The document."""
        return example.document

    def sources_of_example(self, example: SpanExample) -> Sequence[EncoderInput]:
        """The text."""
        return [EncoderInput(Source(example.text, stride=self.stride))]

    def scored_inputs(self, example: SpanExample) -> Sequence[EncoderInput]:
        """The text with its gold entities, and with those that the other task finds."""
        source = Source(example.text, stride=self.stride)
        return [EncoderInput(source, spans=tuple(one.span for one in example.spans)), EncoderInput(source)]

    def source_of_row(self, row: Row) -> EncoderInput | None:
        """`text`, or `tokens`."""
        return EncoderInput(Source(text_of(row), stride=self.stride))


    @classmethod
    def matches_entry(cls, entry: Any) -> bool | None:
        """A list of objects with the `entry_keys`."""
        first = entry[0] if isinstance(entry, list) and entry else None
        return None if entry == [] else isinstance(first, Mapping) and cls.entry_keys <= set(first)

    @classmethod
    def row_of_entry(cls, row: Row, entry: Any) -> Row:
        """An entry under `targets`; or one under `tasks` as `answer`, beside the entities it is about. Raises RowError."""
        if isinstance(entry, Mapping):
            return dict(entry)
        others = row["tasks"].values() if isinstance(row.get("tasks"), Mapping) else ()
        found = [other for other in others if isinstance(other, list) and other and is_span(other[0])]
        if len(found) > 1:
            raise RowError("has the entities of several tasks under 'tasks'; keep those that the answers are about")
        return {"entities": found[0] if found else [], "answer": entry}


@dataclass(frozen=True, slots=True)
class SpanWords:
    """The words of N spans of several texts. All W words with a token are laid end to end."""

    row_W: Array
    """The token of each word, in the tokens of all windows of all texts."""
    first_N: Array
    """First word of each span."""
    stop_N: Array
    """One past its last word; equal to `first_N` for a span without a token."""
    text_N: Array
    """The text of each span."""
    bounds: Array
    """Words before each text, and all words."""
    end_W: Array
    """Where each word ends in its text."""

    @property
    def texts(self) -> tuple[Array, Array]:
        """First word of the text of each span, and one past its last."""
        return self.bounds[self.text_N], self.bounds[self.text_N + 1]


def neighbours(first_N: Any, stop_N: Any, begin_N: Any, end_N: Any, *, words: int) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Bounds of up to so many words before and after spans, within `begin` and `end`. Arrays, or tensors."""
    return ((first_N - words).clip(min=begin_N), first_N), (stop_N, (stop_N + words).clip(max=end_N))


def locate_spans(
    texts: Sequence[str], spans: Sequence[Sequence[CharSpan]], windows: Sequence[Sequence[Encoding]]
) -> SpanWords:
    """The words of spans, given as offsets, in the windows of their texts."""
    rows, firsts, stops, owners, ends, bounds, tokens = [], [], [], [], [], [0], 0
    for i, (text, mine, encodings) in enumerate(zip(texts, spans, windows, strict=True)):
        offsets_W2 = units(text)
        row_W = owned_rows(offsets_W2, encodings)
        kept = row_W >= 0
        offsets_W2 = offsets_W2[kept]
        edges_N2 = np.array([span[:2] for span in mine], np.int64).reshape(-1, 2)
        first_N = np.searchsorted(offsets_W2[:, 1], edges_N2[:, 0], side="right")
        stop_N = np.maximum(np.searchsorted(offsets_W2[:, 0], edges_N2[:, 1], side="left"), first_N)
        rows.append(row_W[kept] + tokens)
        firsts.append(first_N + bounds[-1])
        stops.append(stop_N + bounds[-1])
        owners.append(np.full(len(mine), i))
        ends.append(offsets_W2[:, 1])
        bounds.append(bounds[-1] + len(offsets_W2))
        tokens += sum(map(len, encodings))
    found = (np.concatenate(parts).astype(np.int64) for parts in (rows, firsts, stops, owners, ends))
    row_W, first_N, stop_N, text_N, end_W = found
    return SpanWords(row_W, first_N, stop_N, text_N, np.array(bounds), end_W)


def spans_of_examples(examples: Sequence[SpanExample], encodings: Encodings) -> SpanWords:
    """The words of all gold spans."""
    spans = [[one.span for one in example.spans] for example in examples]
    return locate_spans([example.text for example in examples], spans, [asked[0] for asked in encodings])


def spans_of_items(items: Sequence[Item]) -> SpanWords:
    """The words of the spans that items are asked about."""
    return locate_spans([i.source.first for i in items], [i.spans or () for i in items], [i.encodings for i in items])


def token_values(items: Sequence[Item], key: str) -> Array:
    """An output of the head for the tokens of all windows of items, `(T, X)` float64."""
    return np.concatenate([output[key] for item in items for output in item.outputs]).astype(np.float64)


def found_spans(output: Output, targets: Mapping[str, torch.Tensor]) -> tuple[Array, Array, Array]:
    """For gold spans that another head finds with other boundaries in training: their places, first and last words found.

    Reads `marks` of the other head, which waits for the device. Of several spans that overlap a gold one, the longest overlap
    counts. Empty without marks.
    """
    nothing = np.zeros(0, np.int64)
    first_N, stop_N = (targets[key].cpu().numpy() for key in ("first_N", "stop_N"))
    if "begin_TL" not in output or not len(first_N):
        return nothing, nothing, nothing
    begin_WL, inside_WL = (output[key][targets["row_W"]].cpu().numpy() > 0 for key in ("begin_TL", "inside_TL"))
    edge_W = np.zeros(len(begin_WL), bool)
    edge_W[targets["bounds"].cpu().numpy()[:-1].clip(max=len(edge_W) - 1)] = True  # no span continues from text to text
    spans = []
    for begin_W, inside_W in zip(begin_WL.T, inside_WL.T, strict=True):
        starts = np.flatnonzero(begin_W)
        ends = np.flatnonzero(~inside_W | edge_W)
        after = np.searchsorted(ends, starts, side="right")
        stops = np.append(ends, len(begin_W))[after]
        spans += list(zip(starts.tolist(), stops.tolist(), strict=True))
    if not spans:
        return nothing, nothing, nothing
    start_S, end_S = np.array(spans).T
    shared_NS = np.minimum(stop_N[:, None], end_S) - np.maximum(first_N[:, None], start_S)
    best_N = shared_NS.argmax(1)
    start_N, end_N = start_S[best_N], end_S[best_N]
    other = np.flatnonzero((shared_NS.max(1) > 0) & ((start_N != first_N) | (end_N != stop_N)))
    return other, start_N[other], end_N[other]


def range_means(values_WX: Array, first_N: Array, stop_N: Array) -> Array:
    """Means of rows `first` to `stop`, `(N, X)`; 0 for none.

    >>> range_means(np.array([[1.0], [3.0], [8.0]]), np.array([0, 1]), np.array([2, 1])).tolist()
    [[2.0], [0.0]]
    """
    sums = np.concatenate([np.zeros((1, values_WX.shape[1])), values_WX.cumsum(0)])
    return np.asarray((sums[stop_N] - sums[first_N]) / np.maximum(stop_N - first_N, 1)[:, None])


def range_means_in_torch(values_WX: torch.Tensor, first_N: torch.Tensor, stop_N: torch.Tensor) -> torch.Tensor:
    """The same, in the type of the values."""
    import torch

    sums = torch.cat([values_WX.new_zeros((1, values_WX.shape[1])), values_WX]).double().cumsum(0)
    means = (sums[stop_N] - sums[first_N]) / (stop_N - first_N).clamp(min=1)[:, None]
    return means.to(values_WX.dtype)


def read_spans(row: Row) -> SpanExample:
    """The text of a row with its entities and relations. Raises RowError."""
    text = text_of(row)
    entities = row.get("entities")
    if not isinstance(entities, Sequence) or isinstance(entities, str):
        raise RowError(f"'entities' must be a list of {{start, end, label}}, seen {entities!r:.80}")
    found = [located(text, entity, entities)[0] for entity in entities]
    spans = tuple(
        GoldSpan(one.start, one.end, one.label, _attributes(entity), _links(entity))
        for one, entity in zip(found, entities, strict=True)
    )
    relations = _relations(row.get("relations"), entities, spans)
    return SpanExample(text, spans, relations, key_of(row.get("document"), "document"))


def is_span(entity: Any) -> bool:
    """Whether an entry of a row is a labelled span."""
    return isinstance(entity, Mapping) and type(entity.get("end")) is int and {"label", "start"} <= set(entity)


def _attributes(entity: Mapping[str, Any]) -> Mapping[str, Any]:
    attributes = entity.get("attributes") or {}
    if not isinstance(attributes, Mapping):
        raise RowError(f"'attributes' of an entity must be an object, seen {attributes!r:.80}")
    return attributes


def _links(entity: Mapping[str, Any]) -> tuple[str, ...]:
    links = entity.get("links") or ()
    if isinstance(links, str) or not isinstance(links, Sequence) or not all(isinstance(link, str) for link in links):
        raise RowError(f"'links' of an entity must be a list of identifiers, seen {links!r:.80}")
    return tuple(links)


def _relations(given: Any, entities: Sequence[Mapping[str, Any]], spans: Sequence[GoldSpan]) -> tuple[GoldRelation, ...]:
    """Relations with the places of their ends, which are named by `id`, by place, or by one of their links."""
    if given is None:
        return ()
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise RowError(f"'relations' must be a list of {{head, tail, label}}, seen {given!r:.80}")
    by_id: dict[Any, tuple[int, ...]] = {}
    by_link: dict[Any, tuple[int, ...]] = {}
    for place, (entity, span) in enumerate(zip(entities, spans, strict=True)):
        key = entity.get("id", place)
        if key in by_id:
            raise RowError(f"two entities have the id {key!r:.80}; relations need one for each")
        by_id[key] = (place,)
        for link in span.links:
            by_link[link] = (*by_link.get(link, ()), place)
    found = []
    for relation in given:
        if not isinstance(relation, Mapping) or not {"head", "tail", "label"} <= set(relation):
            raise RowError(f"relation {relation!r:.80} needs 'head', 'tail' and 'label'")
        head, tail, label = relation["head"], relation["tail"], relation["label"]
        if not isinstance(label, str) or not label:
            raise RowError(f"relation {head!r:.40} - {tail!r:.40} has label {label!r:.80}; give a name")
        concepts = None if head in by_id and tail in by_id else (head, tail)
        known = by_id if concepts is None else by_link
        strange = [end for end in (head, tail) if end not in known]
        if strange:
            unknown = next((end for end in strange if end not in by_id and end not in by_link), strange[0])
            names = "id or link" if by_link else "id"
            raise RowError(f"relation {label!r:.40} has the end {unknown!r:.80}, which is no entity's {names}; ids are "
                           f"{', '.join(map(str, by_id))[:200] or 'none'}")  # fmt: skip
        found.append(GoldRelation(known[head], known[tail], label, concepts))
    return tuple(found)
