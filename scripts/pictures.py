"""Pictures of the playground and of the report, from a real model: `python scripts/pictures.py runs/demo docs/images`.

Starts `manyheads serve` on the model folder, asks the playground about one text, and photographs it; then the top of
the folder's `report.html`. Needs the package's extra `dev`, and Chromium (its path in CHROMIUM, or on the PATH).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

TEXT = (
    "Patients with severe asthma were given 40 mg of prednisolone daily, and two of them developed hyperglycaemia. "
    "A chest radiograph was taken before and after treatment."
)
QUESTION = "How much prednisolone did the patients get?"
WIDTH, HEIGHT = 1280, 860
PATIENCE_S = 60.0
COLOURS = 128
"""Of the palette: a page of text and flat colours looks the same and takes a third of the bytes."""


@contextmanager
def served(model: Path) -> Iterator[str]:
    """The address of a server for the model, until the end of the block."""
    command = [sys.executable, "-m", "manyheads", "serve", str(model), "--port", "0", "--workers", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            entry = json.loads(line)
            if entry["event"] == "listening":
                yield str(entry["url"])
                return
        raise SystemExit("the server stopped before it listened")
    finally:
        process.terminate()
        process.wait()


def wait_until_ready(url: str) -> None:
    """Return once the model has been loaded."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with suppress(OSError), urlopen(f"{url}/health/ready"):
            return
        time.sleep(0.2)
    raise SystemExit("the server did not load the model in time")


def shrink(path: Path) -> None:
    """Write a picture again with a palette."""
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def photograph(browser: Browser, model: Path, output: Path) -> None:
    """Write `playground.png` and `report.png`."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
    with served(model) as url:
        wait_until_ready(url)
        page.goto(url)
        page.locator("#read-send:not([disabled])").wait_for(timeout=60_000)
        page.fill("#text", TEXT)
        page.fill("#question", QUESTION)
        page.click("#read-send")
        page.locator("#read-answers .card").first.wait_for()
        page.evaluate("window.scrollTo(0, 0)")
        read = page.locator("#read").bounding_box()
        assert read is not None
        area = {"x": 0.0, "y": read["y"], "width": float(WIDTH), "height": float(HEIGHT)}
        page.screenshot(path=output / "playground.png", full_page=True, clip=area)
    page.goto((model / "report.html").resolve().as_uri())
    page.screenshot(path=output / "report.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        path = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        photograph(browser, given.model, given.output)
        browser.close()
    for name in ("playground.png", "report.png"):
        shrink(given.output / name)


if __name__ == "__main__":
    main()
