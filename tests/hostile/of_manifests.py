"""Spoilt manifests, and other files of a model folder: paths, links, hashes, labels, tasks, shapes."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hostile.corpus import Case, Outcome, canary_code, model_copy, nested, read, sealed, write
from hostile.good import Good

Manifest = dict[str, Any]
NAN = float("nan")


def cases() -> list[Case]:
    """One model folder for each."""
    changed = [Case(f"manifest/{name}", "model", partial(_changed, change), outcome)
               for name, (change, outcome) in CHANGES.items()]  # fmt: skip
    texts = [Case(f"manifest/{name}", "model", partial(_written, text)) for name, text in TEXTS.items()]
    folders = [Case(f"folder/{name}", "model", partial(_spoilt, spoil), outcome)
               for name, (spoil, outcome) in FOLDERS.items()]  # fmt: skip
    return changed + texts + folders


def _changed(change: Callable[[Manifest], Any], good: Good, folder: Path) -> Path:
    model = model_copy(good, folder)
    manifest = read(model / "manyheads.json")
    change(manifest)
    write(model / "manyheads.json", manifest)
    return model


def _written(text: str | bytes | Callable[[], str], good: Good, folder: Path) -> Path:
    model = model_copy(good, folder)
    write(model / "manyheads.json", text() if callable(text) else text)
    return model


def _spoilt(spoil: Callable[[Path, Good], Any], good: Good, folder: Path) -> Path:
    model = model_copy(good, folder)
    spoil(model, good)
    return model


def _put(*path: str, value: Any) -> Callable[[Manifest], None]:
    def change(manifest: Manifest) -> None:
        inner: Any = manifest
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value

    return change


def _file(name: str) -> Callable[[Manifest], None]:
    """One more file is listed."""
    return _put("files", name, value={"sha256": "0" * 64, "bytes": 1})


def _labels(value: Any, task: str = "section") -> Callable[[Manifest], None]:
    return _put("tasks", task, "labels", value=value)


def _task(key: str, value: Any, task: str = "section") -> Callable[[Manifest], None]:
    return _put("tasks", task, key, value=value)


def _renamed(new: str) -> Callable[[Manifest], None]:
    def change(manifest: Manifest) -> None:
        manifest["tasks"][new] = {**manifest["tasks"].pop("section"), "name": new}

    return change


def _sharing(**values: Any) -> Callable[[Manifest], None]:
    return _put("sharing", value={"layer_mix": False, "branches": {}, "adapters": [], "base": None} | values)


CHANGES: dict[str, tuple[Callable[[Manifest], Any], Outcome]] = {
    "format-unknown": (_put("format", value=99), "refused"),
    "format-text": (_put("format", value="1"), "refused"),
    "format-true": (_put("format", value=True), "refused"),
    "format-float": (_put("format", value=1.0), "refused"),
    "file-above": (_file("../outside/secret.txt"), "refused"),
    "file-above-inside": (_file("encoder/../../outside/secret.txt"), "refused"),
    "file-absolute": (_file("/etc/passwd"), "refused"),
    "file-windows": (_file("..\\outside\\secret.txt"), "refused"),
    "file-drive": (_file("C:/secret.txt"), "refused"),
    "file-nul": (_file("a\0b"), "refused"),
    "file-empty-name": (_file(""), "refused"),
    "file-dot": (_file("."), "refused"),
    "file-long-name": (_file("x" * 100_000), "refused"),
    "file-surrogate": (_file("\ud800"), "refused"),
    "file-itself": (_file("manyheads.json"), "refused"),
    "file-deep": (_file("/".join("a" * 1000)), "refused"),
    "file-code": (_file("encoder/modeling_x.py"), "refused"),
    "file-missing": (_file("encoder/vocab.txt"), "refused"),
    "file-not-listed": (lambda m: m["files"].pop("heads.safetensors"), "refused"),
    "file-entry-null": (_put("files", "heads.safetensors", value=None), "refused"),
    "file-bytes-text": (_put("files", "heads.safetensors", "bytes", value="1"), "refused"),
    "file-bytes-huge": (_put("files", "heads.safetensors", "bytes", value=10**30), "refused"),
    "hash-wrong": (_put("files", "heads.safetensors", "sha256", value="0" * 64), "refused"),
    "hash-number": (_put("files", "heads.safetensors", "sha256", value=0), "refused"),
    "hash-missing": (lambda m: m["files"]["heads.safetensors"].pop("sha256"), "refused"),
    "files-a-list": (_put("files", value=[]), "refused"),
    "tasks-none": (_put("tasks", value={}), "refused"),
    "tasks-a-list": (_put("tasks", value=[]), "refused"),
    "task-null": (_put("tasks", "section", value=None), "refused"),
    "task-type-unknown": (_task("type", "os.system"), "refused"),
    "task-type-list": (_task("type", ["text-classification"]), "refused"),
    "task-type-other": (_task("type", "sentence-embedding"), "refused"),
    "task-setting-unknown": (_task("trust_remote_code", True), "refused"),
    "task-setting-dunder": (_task("__class__", "x"), "refused"),
    "task-name-other": (_task("name", "x"), "refused"),
    "task-name-number": (_task("name", 7), "refused"),
    "task-called-forward": (_renamed("forward"), "refused"),
    "task-called-dunder": (_renamed("__init__"), "refused"),
    "task-called-path": (_renamed("../x"), "refused"),
    "task-called-empty": (_renamed(""), "refused"),
    "task-called-long": (_renamed("x" * 1_000_000), "refused"),
    "labels-text": (_labels("METHODS"), "refused"),
    "labels-null": (_labels(None), "refused"),
    "labels-numbers": (_labels([1, 2]), "refused"),
    "labels-lists": (_labels([["a"], ["b"]]), "refused"),
    "labels-mapping": (_labels({"a": 1, "b": 2}), "refused"),
    "labels-none": (_labels([]), "refused"),
    "labels-twice": (_labels(["METHODS", "METHODS"]), "refused"),
    "labels-twice-entities": (_labels(["Disease", "Disease"], "entities"), "refused"),
    "labels-empty": (_labels(["", "b"]), "refused"),
    "labels-too-many": (_labels(["a", "b", "c"]), "refused"),
    "labels-too-few": (_labels(["a"]), "refused"),
    "labels-too-many-entities": (_labels(["a", "b", "c"], "entities"), "refused"),
    "labels-100000-entities": (_labels([f"l{i}" for i in range(100_000)], "entities"), "refused"),
    "labels-one-of-10-mb": (_labels(["x" * 10_000_000, "b"]), "refused"),
    "labels-with-controls": (_labels(["\x1b[2J\x1b]0;owned\x07", "b\nc"]), "either"),
    "labels-right-to-left": (_labels(["\u202egnp.exe", "b\u200b"]), "either"),
    "labels-lone-surrogate": (_labels(["\ud800", "b"]), "refused"),
    "projection-10-to-the-9": (_task("projection", 10**9, "similarity"), "refused"),
    "projection-10-to-the-30": (_task("projection", 10**30, "similarity"), "refused"),
    "projection-negative": (_task("projection", -8, "similarity"), "refused"),
    "projection-text": (_task("projection", "8", "similarity"), "refused"),
    "projection-float": (_task("projection", 8.0, "similarity"), "refused"),
    "hidden-10-to-the-9": (_task("hidden", 10**9), "refused"),
    "dropout-nan": (_task("dropout", NAN), "refused"),
    "dropout-text": (_task("dropout", "x"), "refused"),
    "dropout-two": (_task("dropout", 2), "refused"),
    "stride-negative": (_task("stride", -5), "refused"),
    "stride-10-to-the-30": (_task("stride", 10**30), "either"),
    "stride-text": (_task("doc_stride", "8", "answers"), "refused"),
    "stride-nan": (_task("stride", NAN), "refused"),
    "decoder-unknown": (_task("decoder", "os.system", "entities"), "refused"),
    "pooling-unknown": (_task("pooling", "x"), "refused"),
    "pooling-list": (_task("pooling", ["mean"]), "refused"),
    "answer-length-10-to-the-12": (_task("max_answer_length", 10**12, "answers"), "either"),
    "answer-length-negative": (_task("max_answer_length", -1, "answers"), "refused"),
    "answer-length-zero": (_task("max_answer_length", 0, "answers"), "refused"),
    "best-10-to-the-12": (_task("n_best", 10**12, "answers"), "either"),
    "best-negative": (_task("n_best", -1, "answers"), "refused"),
    "top-text": (_task("top", "all", "answers"), "refused"),
    "threshold-nan": (_task("no_answer_threshold", NAN, "answers"), "refused"),
    "threshold-text": (_task("threshold", "high"), "refused"),
    "weight-nan": (_task("weight", NAN), "refused"),
    "weight-infinite": (_task("weight", float("inf")), "refused"),
    "matryoshka-text": (_task("matryoshka", "abc", "similarity"), "refused"),
    "matryoshka-negative": (_task("matryoshka", [-1], "similarity"), "refused"),
    "class-weights-list": (_task("class_weights", [1, 2]), "refused"),
    "label-weights-text": (_task("label_weights", ["x"]), "refused"),
    "multi-label-text": (_task("multi_label", "no"), "refused"),
    "max-length-zero": (_put("encoder", "max_length", value=0), "refused"),
    "max-length-one": (_put("encoder", "max_length", value=1), "refused"),
    "max-length-negative": (_put("encoder", "max_length", value=-48), "refused"),
    "max-length-huge": (_put("encoder", "max_length", value=10**30), "refused"),
    "max-length-past-the-encoder": (_put("encoder", "max_length", value=65), "refused"),
    "max-length-true": (_put("encoder", "max_length", value=True), "refused"),
    "max-length-text": (_put("encoder", "max_length", value="48"), "refused"),
    "encoder-name-number": (_put("encoder", "name", value=7), "refused"),
    "encoder-name-missing": (lambda m: m["encoder"].pop("name"), "refused"),
    "encoder-name-controls": (_put("encoder", "name", value="\x1b[2J"), "either"),
    "versions-a-list": (_put("versions", value=[1]), "refused"),
    "versions-nested": (_put("versions", value={"python": {"a": []}}), "refused"),
    "sharing-a-list": (_put("sharing", value=[]), "refused"),
    "sharing-null": (_put("sharing", value=None), "refused"),
    "branch-of-nobody": (_sharing(branches={"x": {"tasks": ["nobody"], "start": 0}}), "refused"),
    "branch-without-weights": (_sharing(branches={"x": {"tasks": ["section"], "start": 1}}), "refused"),
    "branch-above-the-encoder": (_sharing(branches={"x": {"tasks": ["section"], "start": 10**30}}), "refused"),
    "branch-start-text": (_sharing(branches={"x": {"tasks": ["section"], "start": "1"}}), "refused"),
    "branch-start-true": (_sharing(branches={"x": {"tasks": ["section"], "start": True}}), "refused"),
    "branch-tasks-text": (_sharing(branches={"x": {"tasks": "section", "start": 1}}), "refused"),
    "branch-tasks-unhashable": (_sharing(branches={"x": {"tasks": [["section"]], "start": 1}}), "refused"),
    "branch-called-path": (_sharing(branches={"../x": {"tasks": ["section"], "start": 1}}), "refused"),
    "branches-100000": (
        _sharing(branches={f"b{i}": {"tasks": ["section"], "start": 0} for i in range(100_000)}), "refused"),
    "adapter-called-path": (_sharing(adapters=["../../outside"]), "refused"),
    "adapter-missing": (_sharing(adapters=["shared"]), "refused"),
    "adapter-unhashable": (_sharing(adapters=[{}]), "refused"),
    "mix-without-weights": (_sharing(layer_mix=True), "refused"),
    "base-above": (
        _sharing(base={"name": "../outside", "revision": None, "files": {"secret.txt": "0"}}), "refused"),
    "base-absolute": (_sharing(base={"name": "/etc", "revision": None, "files": {"passwd": "0"}}), "refused"),
    "base-files-list": (_sharing(base={"name": "x", "revision": None, "files": ["a"]}), "refused"),
    "base-revision-number": (_sharing(base={"name": "x/y", "revision": 7, "files": {"a": "b"}}), "refused"),
    "base-name-long": (_sharing(base={"name": "x" * 100_000, "revision": None, "files": {"a": "b"}}), "refused"),
    "base-name-nul": (_sharing(base={"name": "a\0b", "revision": None, "files": {"a": "b"}}), "refused"),
    "unknown-keys": (_put("trust_remote_code", value={"code": "import os"}), "either"),
    "1000000-unknown-keys": (lambda m: m.update({f"k{i}": i for i in range(1_000_000)}), "either"),
}  # fmt: skip

TEXTS: dict[str, str | bytes | Callable[[], str]] = {
    "nothing": "",
    "no-json": "{",
    "a-list": "[1]",
    "null": "null",
    "nested": nested(100_000),
    "nested-in-format": '{"format": ' + nested(100_000) + "}",
    "nested-objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "huge-integer": '{"format": ' + "9" * 100_000 + "}",
    "keys-twice": '{"format": 2, "format": 1, "encoder": {}, "tasks": {}, "files": {}}',
    "not-utf8": b'{"format": "\xff"}',
    "utf16": '{"format": 1}'.encode("utf-16"),
    "nul-bytes": bytes(1000),
    "10-to-the-7-labels": lambda: (
        '{"format": 1, "encoder": {"name": "x", "max_length": 8}, "files": {}, "tasks": {"a": {"type": '
        '"text-classification", "name": "a", "labels": ["' + '", "'.join(map(str, range(10**7))) + '"]}}}'
    ),
    "one-line-of-10-mb": lambda: '{"format": "' + "x" * 10_000_000 + '"}',
    "64-mb-of-lists": lambda: '{"format": 1, "encoder": [' + "[]," * 20_000_000 + "[]]}",
}


def _link(name: str, target: str) -> Callable[[Path, Good], None]:
    def spoil(model: Path, good: Good) -> None:
        (model / name).unlink()
        os.symlink(target.replace("OUTSIDE", str(good.secret)).replace("GOOD", str(good.model)), model / name)

    return spoil


def _pipe(name: str) -> Callable[[Path, Good], None]:
    def spoil(model: Path, _: Good) -> None:
        (model / name).unlink()
        os.mkfifo(model / name)

    return spoil


def _folder_link(model: Path, good: Good) -> None:
    """The encoder's folder itself is a link, so none of its files is."""
    for file in (model / "encoder").iterdir():
        file.unlink()
    (model / "encoder").rmdir()
    os.symlink(good.model / "encoder", model / "encoder")


def _metrics(text: str) -> Callable[[Path, Good], Any]:
    return lambda model, _: (write(model / "metrics.json", text), sealed(model))


def _run_file(text: str) -> Callable[[Path, Good], Any]:
    return lambda model, _: (write(model / "run.yaml", text), sealed(model))


def _stray_weights(model: Path, good: Good) -> None:
    """A file of weights that the manifest does not list, which transformers would prefer to the one it does."""
    write(
        model / "encoder/model.safetensors.index.json",
        {"weight_map": {"embeddings.LayerNorm.weight": "stray.safetensors"}},
    )
    write(model / "encoder/stray.safetensors", (good.encoder / "model.safetensors").read_bytes())


FOLDERS: dict[str, tuple[Callable[[Path, Good], Any], Outcome]] = {
    "manifest-link-outside": (_link("manyheads.json", "OUTSIDE/secret.txt"), "refused"),
    "manifest-link-loop": (_link("manyheads.json", "manyheads.json"), "refused"),
    "manifest-link-to-zeros": (_link("manyheads.json", "/dev/zero"), "refused"),
    "manifest-pipe": (_pipe("manyheads.json"), "refused"),
    "manifest-a-folder": (lambda m, _: ((m / "manyheads.json").unlink(), (m / "manyheads.json").mkdir()), "refused"),
    "heads-link-outside": (_link("heads.safetensors", "GOOD/heads.safetensors"), "refused"),
    "heads-link-loop": (_link("heads.safetensors", "heads.safetensors"), "refused"),
    "heads-link-to-zeros": (_link("heads.safetensors", "/dev/zero"), "refused"),
    "heads-pipe": (_pipe("heads.safetensors"), "refused"),
    "heads-missing": (lambda m, _: (m / "heads.safetensors").unlink(), "refused"),
    "encoder-missing": (lambda m, _: (m / "encoder").rename(m / "other"), "refused"),
    "encoder-folder-a-link": (_folder_link, "refused"),
    "metrics-pipe": (_pipe("metrics.json"), "refused"),
    "metrics-link": (_link("metrics.json", "OUTSIDE/secret.txt"), "refused"),
    "metrics-no-json": (_metrics("{"), "refused"),
    "metrics-a-list": (_metrics("[]"), "refused"),
    "metrics-of-text": (_metrics('{"section": {"test": {"f1": "x"}}}'), "refused"),
    "metrics-flat": (_metrics('{"section": 1}'), "refused"),
    "metrics-nested": (_metrics(nested(100_000)), "refused"),
    "metrics-huge-integer": (_metrics('{"section": {"test": {"f1": ' + "9" * 4000 + "}}}"), "refused"),
    "run-file-with-tags": (_run_file("a: !!python/object/apply:os.system [id]\n"), "either"),
    "run-file-bomb": (_run_file("a: &a [x]\nb: [*a, *a]\n"), "either"),
    "stray-weights": (_stray_weights, "refused"),
    "stray-adapter": (
        lambda m, _: write(
            m / "encoder/adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "../.."}
        ),
        "refused",
    ),
    "stray-code": (lambda m, _: write(m / "manyheads.py", canary_code(m.parent)), "answered"),
    "empty": (lambda m, _: [file.unlink() for file in m.iterdir() if file.is_file()], "refused"),
}
