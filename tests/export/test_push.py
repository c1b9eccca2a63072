"""An ONNX export on the Hub."""

from __future__ import annotations

import manyheads as mh
from exporting import ROWS, Exports
from hub.client import hub  # a fixture
from hub.imitation import Hub
from manyheads.hub.push import push_folder

__all__ = ["hub"]


def test_an_export_is_pushed_and_answers_alike(hub: Hub, exports: Exports) -> None:
    _, folder, _ = exports("hard")
    push_folder(folder, "alice/fast")
    pushed = hub.files("alice/fast")
    assert pushed.keys() >= {"model.onnx", "manyheads.json", "encoder/tokenizer.json"}
    assert b"library_name: manyheads" in pushed["README.md"]
    assert mh.load("alice/fast").predict(ROWS) == mh.load(folder).predict(ROWS)
