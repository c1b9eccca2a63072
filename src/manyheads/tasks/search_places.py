"""Where a search finds what it looks for: a figure for reports of tasks that search or rank."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from manyheads.html.figures.bars import Bar, bars
from manyheads.html.numbers import count, share
from manyheads.html.page import Exhibit
from manyheads.html.tables import numbers, table, words

PLACES = {"first": (1, 1), "second or third": (2, 3), "fourth to tenth": (4, 10), "later": (11, 10**9)}


def places_exhibit(place_Q: npt.NDArray[np.int64], title: str, noun: str, note: str) -> Exhibit:
    """Shares of queries by the place, from 1, of the first right text. `noun`: plural for what searches (`texts`)."""
    found = {name: int(((place_Q >= low) & (place_Q <= high)).sum()) for name, (low, high) in PLACES.items()}
    total = max(len(place_Q), 1)
    drawing = bars(
        [Bar(name, "", n, f"{count(n)} · {share(n / total)}") for name, n in found.items()],
        f"{noun.capitalize()} by the place of the right text. " + ", ".join(f"{k}: {n}" for k, n in found.items()),
    )
    places = table(f"{noun.capitalize()} by the place of the right text.", [*words("place"), *numbers(noun, "of all")],
                   [[name, count(n), share(n / total)] for name, n in found.items()])  # fmt: skip
    return Exhibit(title, drawing, places, note)
