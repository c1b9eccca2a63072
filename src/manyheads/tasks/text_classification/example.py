"""Examples of text classification."""

from __future__ import annotations

from dataclasses import dataclass

from manyheads.errors import RowError
from manyheads.tasks.base import Row
from manyheads.tasks.pooled import document_of, text_and_pair
from manyheads.text.values import is_decimal, label_of, labels_of

MULTI_LABEL = "multi-label"
DECIMAL_LABEL = "decimal-label"


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text, possibly with a second one, and its labels: exactly one unless the data is multi-label."""

    text: str
    pair: str | None
    labels: tuple[str, ...]
    multi: bool
    document: str = ""
    decimal: bool = False
    """Whether the label was given as a decimal number."""

    @property
    def flags(self) -> frozenset[str]:
        """Flags for the statistics of the data."""
        return frozenset([MULTI_LABEL if self.multi else "single-label", *([DECIMAL_LABEL] if self.decimal else [])])


def read_labelled_text(row: Row) -> LabelledText:
    """`text`, optional `text_pair` and `document`, and `label` or `labels`. Raises RowError."""
    (text, pair), document = text_and_pair(row), document_of(row)
    if row.get("labels") is not None:
        return LabelledText(text, pair, labels_of(row["labels"]), True, document)
    if "label" not in row:
        raise RowError("has no 'label'")
    return LabelledText(text, pair, (label_of(row["label"]),), False, document, is_decimal(row["label"]))
