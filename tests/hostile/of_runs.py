"""Spoilt run files: tags that name code, bombs of aliases and of merge keys, nesting, numbers without end, encodings."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hostile.corpus import CANARY, Case, Outcome
from hostile.good import Good

GOOD = """encoder: {name: ENCODER, max_length: 48}
tasks:
  section:
    type: text-classification
    data: {train: DATA/sections.csv, validation: DATA/sections.csv}
training: {recipe: none, steps: 1}
"""
MORE = "extra: "


def cases() -> list[Case]:
    """Texts of run files, and files that are none."""
    texts = [Case(f"run/{name}", "run", partial(_written, text), outcome) for name, (text, outcome) in TEXTS.items()]
    return texts + [Case(f"run/{name}", "run", partial(_made, make)) for name, make in FILES.items()]


def _written(text: str | bytes | Callable[[], str], good: Good, folder: Path) -> Path:
    path = folder / "run.yaml"
    found: Any = text() if callable(text) else text
    if isinstance(found, str):
        found = found.replace("GOOD", GOOD).replace("CANARY", str(folder.parent / CANARY))
        found = (
            found.replace("ENCODER", str(good.encoder))
            .replace("DATA", str(good.project / "data"))
            .encode("utf-8", "surrogatepass")
        )
    path.write_bytes(found)
    return path


def _made(make: Callable[[Path, Good], Any], good: Good, folder: Path) -> Path:
    path = folder / "run.yaml"
    make(path, good)
    return path


def _bomb(shape: str) -> Callable[[], str]:
    """Thirty levels, each with the one before it twice or ten times."""

    def text() -> str:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        for i in range(1, 30):
            names = ", ".join([f"*a{i - 1}"] * 10)
            lines.append(f"a{i}: &a{i} [{names}]")
        if shape == "merge":
            lines = ["m0: &m0 {" + ", ".join(f"k{i}: 1" for i in range(10)) + "}"]
            lines += [f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 10)}]}}" for i in range(1, 30)]
        if shape == "mapping":
            lines = ["a0: &a0 {x: y}"]
            lines += [f"a{i}: &a{i} {{a: *a{i - 1}, b: *a{i - 1}, c: *a{i - 1}}}" for i in range(1, 40)]
        return "\n".join(lines) + "\nGOOD"

    return text


def _apply(tag: str, *arguments: str) -> str:
    return f"{MORE}!!python/{tag} [{', '.join(arguments)}]\nGOOD"


TEXTS: dict[str, tuple[str | bytes | Callable[[], str], Outcome]] = {
    "good": ("GOOD", "answered"),
    "tag-system": (_apply("object/apply:os.system", '"touch CANARY"'), "refused"),
    "tag-new": (_apply("object/new:os.system", '"touch CANARY"'), "refused"),
    "tag-open": (_apply("object/apply:builtins.open", '"CANARY"', "w"), "refused"),
    "tag-eval": (_apply("object/apply:eval", "\"open('CANARY', 'w')\""), "refused"),
    "tag-subprocess": (_apply("object/apply:subprocess.Popen", "[touch, CANARY]"), "refused"),
    "tag-name": (f"{MORE}!!python/name:os.system ''\nGOOD", "refused"),
    "tag-module": (f"{MORE}!!python/module:os ''\nGOOD", "refused"),
    "tag-tuple-key": ("? !!python/tuple [a]\n: b\nGOOD", "refused"),
    "tag-own": (f"{MORE}!env SECRET\nGOOD", "refused"),
    "tag-on-key": ("!!python/object/apply:os.system [id]: x\nGOOD", "refused"),
    "tag-in-place": ("encoder: !!python/object/apply:os.getcwd []\ntasks: {}\n", "refused"),
    "tag-binary": (f"{MORE}!!binary '####'\nGOOD", "refused"),
    "tag-set": (f"{MORE}!!set {{a, b}}\nGOOD", "refused"),
    "tag-omap": (f"{MORE}!!omap [a: 1, b]\nGOOD", "refused"),
    "tag-directive": ("%TAG ! tag:yaml.org,2002:python/\n---\nextra: !object/apply:os.system [id]\n", "refused"),
    "version-directive": ("%YAML 9.9\n---\nGOOD", "refused"),
    "bomb-of-lists": (_bomb("list"), "refused"),
    "bomb-of-mappings": (_bomb("mapping"), "refused"),
    "bomb-of-merges": (_bomb("merge"), "refused"),
    "bomb-in-labels": (
        lambda: GOOD.replace("training: {", "sharing: {groups: &g {one: &a [section, section], two: *a}}\ntraining: {"), "refused"),
    "alias-to-itself": ("a: &a [*a]\nGOOD", "refused"),
    "alias-to-itself-in-tasks": ("tasks: &a\n  section: *a\n", "refused"),
    "alias-merge-itself": ("a: &a {<<: *a}\nGOOD", "refused"),
    "alias-unknown": (f"{MORE}*nobody\nGOOD", "refused"),
    "aliases-used-well": ("GOODsharing: {groups: {}}\n", "either"),
    "merge-of-a-string": ("<<: text\nGOOD", "refused"),
    "merge-hides-a-key": ("a: &a {trust_remote_code: true}\n<<: *a\nGOOD", "refused"),
    "nested-flow": (lambda: MORE + "[" * 100_000 + "\n", "refused"),
    "nested-flow-closed": (lambda: MORE + "[" * 100_000 + "]" * 100_000 + "\nGOOD", "refused"),
    "nested-mappings": (lambda: "{a: " * 50_000 + "1" + "}" * 50_000, "refused"),
    "nested-blocks": (lambda: "".join(" " * i + "a:\n" for i in range(1200)), "refused"),
    "nested-dashes": (lambda: "- " * 100_000 + "x\n", "refused"),
    "nested-questions": (lambda: "? " * 100_000 + "x\n", "refused"),
    "integer-of-100000-digits": (lambda: f"GOODlora: {{rank: {'9' * 100_000}}}\n", "refused"),
    "integer-hexadecimal": (lambda: f"GOODlora: {{rank: 0x{'f' * 100_000}}}\n", "refused"),
    "integer-binary": (lambda: f"GOODlora: {{rank: 0b{'1' * 100_000}}}\n", "refused"),
    "integer-base-60": (lambda: f"GOODlora: {{rank: 1{':59' * 100_000}}}\n", "refused"),
    "float-base-60": (lambda: f"GOODlora: {{rank: 1{':59' * 100_000}.5}}\n", "refused"),
    "integer-tagged": ("GOODlora: {rank: !!int 'x'}\n", "refused"),
    "float-tagged": ("GOODlora: {rank: !!float 'x'}\n", "refused"),
    "bool-tagged": ("GOODlora: {rank: !!bool 'x'}\n", "refused"),
    "timestamp-impossible": ("GOODoutput: 2024-13-45\n", "refused"),
    "timestamp-zone": ("GOODoutput: 2024-01-01T00:00:00+99:99\n", "refused"),
    "integer-as-key": ("GOODlora: {9999999999999999999: 1}\n", "refused"),
    "null-key": ("GOOD~: 1\n", "refused"),
    "number-huge-where-it-fits": ("GOODoutput: x\nlora: {rank: 1000000000000}\n", "refused"),
    "number-nan": ("GOODlora: {rank: .nan}\n", "refused"),
    "number-infinite": ("GOODlora: {alpha: .inf}\n", "refused"),
    "key-of-a-list": ("? [a, b]\n: c\nGOOD", "refused"),
    "key-of-a-mapping": ("? {a: b}\n: c\nGOOD", "refused"),
    "key-twice": ("GOODencoder: {name: x}\n", "refused"),
    "key-unknown": ("GOODtrust_remote_code: true\n", "refused"),
    "key-unknown-in-encoder": ("encoder: {name: x, trust_remote_code: true}\ntasks: {}\n", "refused"),
    "key-of-100-kb": (lambda: f"{'k' * 100_000}: 1\nGOOD", "refused"),
    "100000-unknown-keys": (lambda: "GOOD" + "".join(f"k{i}: 1\n" for i in range(60_000)), "refused"),
    "task-called-path": ("tasks: {../../x: {type: text-classification, data: {train: a.csv}}}\n", "refused"),
    "task-called-dunder": ("tasks: {__class__: {type: text-classification, data: {train: a.csv}}}\n", "refused"),
    "task-called-forward": (lambda: GOOD.replace("section:", "forward:"), "refused"),
    "task-type-code": ("tasks: {a: {type: os.system, data: {train: a.csv}}}\n", "refused"),
    "task-type-list": ("tasks: {a: {type: [text-classification], data: {train: a.csv}}}\n", "refused"),
    "data-of-zeros": ("tasks: {a: {type: token-classification, data: {train: /dev/zero}}}\n", "refused"),
    "data-of-a-folder": ("tasks: {a: {type: token-classification, data: {train: /}}}\n", "refused"),
    "data-of-a-terminal": ("tasks: {a: {type: token-classification, data: {train: /dev/stdin}}}\n", "refused"),
    "data-with-nul": ('tasks: {a: {type: text-classification, data: {train: "a\\0.csv"}}}\n', "refused"),
    "data-with-surrogate": ('tasks: {a: {type: text-classification, data: {train: "\\uD800.csv"}}}\n', "refused"),
    "data-of-a-long-name": (lambda: "tasks: {a: {type: text-classification, data: {train: " + "x" * 5000 + ".csv}}}\n", "refused"),
    "data-of-a-stranger": ("tasks: {a: {type: text-classification, data: {train: ~nobody/a.csv}}}\n", "refused"),
    "data-hub-path": ('tasks: {a: {type: text-classification, data: {train: "hf:../../x"}}}\n', "refused"),
    "encoder-with-nul": ('encoder: {name: "a\\0b"}\ntasks: {a: {type: text-classification, data: {train: a.csv}}}\n', "refused"),
    "encoder-url": ("encoder: {name: 'http://localhost:1/x'}\ntasks: {a: {type: text-classification, data: {train: a.csv}}}\n",
                    "refused"),
    "encoder-device": ("encoder: {name: /dev/zero}\ntasks: {a: {type: text-classification, data: {train: a.csv}}}\n", "refused"),
    "encoder-long-name": (
        lambda: f"encoder: {{name: {'x' * 50_000}}}\ntasks: {{a: {{type: text-classification, data: {{train: a.csv}}}}}}\n",
        "refused"),
    "max-length-huge": (lambda: GOOD.replace("max_length: 48", f"max_length: {10**18}"), "refused"),
    "tokens-huge": (lambda: GOOD.replace("steps: 1", f"steps: 1, tokens_per_step: {10**18}"), "either"),
    "line-of-10-mb": (lambda: f"output: {'x' * 10_000_000}\nGOOD", "refused"),
    "comment-of-10-mb": (lambda: f"# {'x' * 10_000_000}\nGOOD", "refused"),
    "10-mb-of-lines": (lambda: "GOOD" + "# x\n" * 2_500_000, "refused"),
    "quoted-of-500-kb": (lambda: f"GOODoutput: \"{'x' * 500_000}\"\n", "either"),
    "nul-bytes": (b"encoder: {name: a\0}\n", "refused"),
    "only-nul-bytes": (bytes(10_000), "refused"),
    "control-characters": ("GOODoutput: \x07\x1b[2J\n", "refused"),
    "utf16": ("encoder: {}\n".encode("utf-16"), "refused"),
    "utf32": ("encoder: {}\n".encode("utf-32"), "refused"),
    "latin1": ("output: été\n".encode("latin-1"), "refused"),
    "surrogates": ("GOODoutput: \ud800\n", "refused"),
    "garbage": (bytes(range(256)) * 100, "refused"),
    "nothing": ("", "refused"),
    "a-list": ("- a\n", "refused"),
    "a-string": ("text", "refused"),
    "two-documents": ("GOOD---\nGOOD", "refused"),
    "tabs": ("encoder:\n\tname: x\n", "refused"),
    "a-pickle": (b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.", "refused"),
    "right-to-left": ("GOOD\u202eoutput: x\n", "refused"),
}  # fmt: skip


def _to(target: str) -> Callable[[Path, Good], None]:
    return lambda path, good: os.symlink(target.replace("OUTSIDE", str(good.secret)), path)


FILES: dict[str, Callable[[Path, Good], Any]] = {
    "a-pipe": lambda path, _: os.mkfifo(path),
    "a-folder": lambda path, _: path.mkdir(),
    "a-link-loop": _to("run.yaml"),
    "a-link-to-zeros": _to("/dev/zero"),
    "missing": lambda *_: None,
}
