"""`manyheads init --example`: a small project with invented data, whose run file is written from the data like any other.

`biomedical` has the corpus of the demonstration; the data of the others is in `projects/`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from manyheads.errors import UsageError
from manyheads.init.command import write_run
from manyheads.init.drafts import drafts_of
from manyheads.init.recognition import recognise
from manyheads.init.run_file import run_text
from manyheads.init.sources import find_sources

PACKAGE = Path(__file__).parents[1]
PROJECTS = {
    "biomedical": PACKAGE / "demo" / "corpus",
    "support": PACKAGE / "init" / "projects" / "support",
    "search": PACKAGE / "init" / "projects" / "search",
}
FEW_ROWS = 500
STEPS = 120
"""For an example of few rows. The recipe would make about 30 steps, in which little is learned."""


def write_example(name: str, output: Path | None, say: Callable[[str], None]) -> Path:
    """Write an example project into a new folder; returns its run file. Raises UsageError for a folder that has files."""
    folder = Path(name) if output is None else output
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} already exists; give a new folder as -o")
    data = folder / "data"
    data.mkdir(parents=True)
    for path in sorted(PROJECTS[name].iterdir()):
        shutil.copyfile(path, data / path.name)
    sources, _ = find_sources([data])
    drafts = drafts_of(found for source in sources for found in recognise(source))
    rows = sum(draft.train.reading.rows for draft in drafts)
    path = folder / "run.yaml"
    write_run(path, run_text(drafts, path, STEPS if rows < FEW_ROWS else None), say)
    return path
