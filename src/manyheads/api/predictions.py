"""The list that `Model.predict` returns: plain rows, which a notebook shows with their texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from manyheads.api.results import Row

if TYPE_CHECKING:
    from manyheads.tasks.base import Task


class Predictions(list[Row]):
    """A list of rows that knows their inputs. As the value of a notebook's cell it is drawn.

    Spans are highlighted in their texts, labels have bars of their scores, answers are marked in their contexts.

    >>> import manyheads as mh
    >>> found = mh.load("runs/demo").predict(["Aspirin lowered fever.", "Nausea was common."])
    >>> found.inputs[1]
    {'text': 'Nausea was common.'}
    >>> isinstance(found[0], dict), isinstance(found[:1], mh.Predictions)
    (True, True)
    """

    def __init__(self, rows: Iterable[Row], inputs: Sequence[Any], tasks: Mapping[str, Task[Any]]) -> None:
        """`inputs`: the row of each result. `tasks`: those that can have answered."""
        super().__init__(rows)
        self.inputs = list(inputs)
        self._tasks = dict(tasks)

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> Row: ...
    @overload
    def __getitem__(self, index: slice, /) -> Predictions: ...

    def __getitem__(self, index: SupportsIndex | slice, /) -> Row | Predictions:
        if isinstance(index, slice):
            return Predictions(super().__getitem__(index), self.inputs[index], self._tasks)
        return super().__getitem__(index)

    def _repr_html_(self) -> str:
        from manyheads.api.rendering import predictions_html

        return predictions_html(self, self.inputs, self._tasks)
