"""Layers of spans in the formats of UIMA (WebAnno TSV, XMI): which one holds the entities, and what the others count as.

DKPro's layer of named entities is read if it has spans, otherwise the only other layer of spans. If there are several, the
data source must name one: `columns: {entities: Drug}`, or with one of its features, `columns: {entities: Drug.kind}`.
Words, sentences, and the layers of linguistic analysis (parts of speech, lemmas, syntax) are not counted as left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.messages import did_you_mean
from manyheads.errors import ColumnsError, DataError

NAMED_ENTITIES = "NamedEntity"
LABELS = ("value", "label", "type", "kind", "category", "class", "tag", "name")
"""Features that hold labels, in the order of preference."""
IDENTITY = "identifier"
"""DKPro's feature for an entry of a knowledge base."""
_DKPRO = ("de.tudarmstadt.ukp.dkpro.core.api.", "org.dkpro.core.api.")
_ANALYSIS = ("segmentation.", "lexmorph.", "syntax.", "metadata.", "xml.", "structure.")
_SYSTEM = ("uima.", "de.tudarmstadt.ukp.clarin.", "de.tudarmstadt.ukp.inception.")
COREFERENCE = "coref.type.CoreferenceLink"


@dataclass(frozen=True, slots=True)
class Layer:
    """The layer with the entities, and its feature with their labels."""

    name: str
    feature: str


@lru_cache(1000)
def is_counted(name: str) -> bool:
    """Whether annotations of a layer are such as people make, not words or linguistic analysis."""
    if name.startswith(_SYSTEM):
        return False
    return not any(name.startswith(f"{prefix}{part}") for prefix in _DKPRO for part in _ANALYSIS)


def chosen_layer(
    features: Mapping[str, Sequence[str]], used: Mapping[str, int], schema: RowSchema, where: str
) -> Layer:
    """The layer of entities. `features`: those of each layer of spans; `used`: how many spans each has.

    Raises DataError if it is not clear which is meant.
    """
    if extra := next((ours for ours in schema.renames if ours != "entities"), None):
        raise DataError(f"{where} has layers of spans, not columns; name the one to read: columns: {{entities: LAYER}}, "
                        f"without '{extra[:80]}'")  # fmt: skip
    wanted = schema.renames.get("entities")
    if wanted is not None:
        return _named(features, wanted, where)
    layers = [name for name in features if is_counted(name)]
    for among in ([name for name in layers if used.get(name)], layers):
        entities = [name for name in among if _short(name) == NAMED_ENTITIES]
        for found in (entities, among):
            if len(found) == 1:
                return Layer(found[0], _feature(found[0], features[found[0]], where))
        if among:
            names = ", ".join(sorted(map(_short, among)))
            example = _short(min(among))
            raise ColumnsError(f"{where} has several layers of spans: {names[:500]}; name the one to read: "
                               f"columns: {{entities: {example[:80]}}}")  # fmt: skip
    raise DataError(f"{where} has no layer of spans; export the layer of entities too")


def _named(features: Mapping[str, Sequence[str]], wanted: str, where: str) -> Layer:
    for name, feature in ((wanted, ""), wanted.rpartition(".")[::2]):
        layer = next((one for one in features if name and name in (one, _short(one))), None)
        if layer is None:
            continue
        if not feature:
            return Layer(layer, _feature(layer, features[layer], where))
        if feature in features[layer]:
            return Layer(layer, feature)
        hint = did_you_mean(feature, features[layer])
        raise DataError(f"{where}: the layer {_short(layer)} has no feature '{feature[:80]}'; {hint}it has "
                        f"{', '.join(features[layer])[:500] or 'none'}")  # fmt: skip
    known = sorted(_short(name) for name in features if is_counted(name))
    raise DataError(f"{where} has no layer '{wanted[:80]}'; {did_you_mean(wanted, known)}its layers of spans are "
                    f"{', '.join(known)[:500] or 'none'}")  # fmt: skip


def _feature(layer: str, features: Sequence[str], where: str) -> str:
    known = next((name for name in LABELS if name in features), None)
    if known is None and len(features) == 1:
        known = features[0]
    if known is None:
        listed = ", ".join(features)[:500] or "none"
        example = f"{_short(layer)}.{features[0] if features else 'FEATURE'}"
        raise ColumnsError(f"{where}: it is not clear which feature of the layer {_short(layer)} is the label ({listed}); "
                           f"name it: columns: {{entities: {example}}}")  # fmt: skip
    return known


def _short(name: str) -> str:
    return name.rpartition(".")[2]
