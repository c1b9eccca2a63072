"""Score against rows, one panel for each set; ours is drawn thick."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cells.methods import METHODS
from cells.sets import SETS
from cells.table import OURS, Result, average, latest

COLUMNS = 3


def draw(results: Sequence[Result], to: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    found = latest(results)
    names = [name for name in SETS if any(place[0] == name for place in found)]
    rows = -(-len(names) // COLUMNS)
    figure, panels = pyplot.subplots(rows, COLUMNS, figsize=(10, 2.8 * rows), squeeze=False, layout="constrained")
    for panel in panels.flat[len(names) :]:
        panel.set_axis_off()
    for name, panel in zip(names, panels.flat, strict=False):
        for number, method in enumerate(METHODS):
            places = [place for place in found if place[0] == name and method in found[place]]
            sizes = [max(r["rows"]["train"] for r in found[place][method].values()) for place in places]
            scores = [average(place, found[place][method]) for place in places]
            if places:
                panel.plot(sizes, scores, "o-", label=method, markersize=3.5, color="black" if method == OURS else
                           f"C{number}", linewidth=2.5 if method == OURS else 1.2)  # fmt: skip
        panel.set_xscale("log")
        panel.set_title(f"{name}, {SETS[name].headline}", fontsize=9)
        panel.tick_params(labelsize=8)
        panel.grid(alpha=0.3)
    handles = {
        label: line for panel in panels.flat for line, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), fontsize=8)
    to.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(to, dpi=110)
