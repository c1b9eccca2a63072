"""Tasks in a manifest, and the content of a folder: what is refused, and with which message."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import manyheads as mh
from hostile.corpus import sealed
from hostile.good import make_encoder, make_model
from manyheads.bundle import MANIFEST
from manyheads.bundle.tasks import check_heads, tasks_of
from manyheads.errors import BundleError, UsageError
from manyheads.nn.safetensors_header import TensorInfo
from manyheads.tasks import TASK_TYPES, describe
from manyheads.tasks.spans import SpanTask


@pytest.fixture
def model(tmp_path: Path) -> Path:
    make_encoder(tmp_path / "encoder")
    make_model(tmp_path / "model", tmp_path / "encoder")
    return tmp_path / "model"


def _refusal(tasks: dict[str, Any]) -> str:
    with pytest.raises(BundleError) as caught:
        tasks_of({"tasks": tasks}, Path(MANIFEST))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return str(caught.value)


@pytest.mark.parametrize("kind", TASK_TYPES)
def test_whatever_a_task_describes_is_read_again(kind: str) -> None:
    of = {"of": "b"} if issubclass(TASK_TYPES[kind], SpanTask) else {}
    of |= {"terms": "terms.tsv"} if kind == "entity-linking" else {}
    task = TASK_TYPES[kind](name="a", **({"labels": ("X", "Y")} if "classification" in kind else {}), **of)
    written = json.loads(json.dumps({"tasks": {"a": describe(task)}}))
    assert tasks_of(written, Path(MANIFEST)) == {"a": task}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": "XY"}, "has 'labels': 'XY', which is not a valid setting"),
        ({"labels": ["X", "X"]}, "has 'labels': ['X', 'X'], which is not a valid setting"),
        ({"labels": ["X", ""]}, "has 'labels'"),
        ({"labels": ["X", "\ud800"]}, "has 'labels'"),
        ({"labels": ["X" * 10_000]}, "has 'labels'"),
        ({"dropout": float("nan")}, "has 'dropout': nan"),
        ({"dropout": 1.0}, "has 'dropout': 1.0"),
        ({"hidden": 0}, "has 'hidden': 0"),
        ({"hidden": True}, "has 'hidden': True"),
        ({"stride": -1}, "has 'stride': -1"),
        ({"stride": 10**30}, "has 'stride': 1000"),
        ({"pooling": "os.system"}, "has 'pooling': 'os.system'"),
        ({"trust_remote_code": True}, "has 'trust_remote_code': True"),
        ({"class_weights": {"X": float("inf")}}, "has 'class_weights'"),
        ({"name": "b"}, "task 'a' calls itself 'b'"),
        ({"type": "os.system"}, "task type 'os.system' is not known"),
        ({"type": ["text-classification"]}, "is not known"),
    ],
)
def test_settings_that_no_task_has_are_refused(change: dict[str, Any], message: str) -> None:
    good = describe(TASK_TYPES["text-classification"](name="a", labels=("X", "Y")))
    assert message in _refusal({"a": good | change})


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("token-classification", {"temperature": 0.0}),
        ("token-classification", {"places": -1}),
        ("token-classification", {"score_bias": float("inf")}),
        ("token-classification", {"threshold": 1.5}),
        ("text-classification", {"class_weights": {"X": -1.0}}),
        ("text-classification", {"label_weights": [1.0, float("nan")]}),
        ("question-answering", {"top": 0}),
        ("sentence-embedding", {"matryoshka": [0]}),
        ("sentence-embedding", {"margin": 0.0}),
        ("sentence-embedding", {"score_range": [0.0, 1.0, 2.0]}),
        ("sentence-embedding", {"package": {"name": 3}}),
    ],
)
def test_bounds_are_those_that_the_fields_declare(kind: str, change: dict[str, Any]) -> None:
    good = describe(TASK_TYPES[kind](name="a", **({"labels": ("X", "Y")} if "classification" in kind else {})))
    assert f"has '{next(iter(change))}'" in _refusal({"a": good | change})


def test_settings_that_do_not_go_together_are_refused() -> None:
    good = describe(TASK_TYPES["sentence-embedding"](name="a"))
    message = _refusal({"a": good | {"score_range": [5.0, 0.0]}})
    assert "task 'a' cannot be created (score_range must be [lowest, highest])" in message


def test_more_labels_than_rules_between_tags_have_room_for_are_refused() -> None:
    task = describe(TASK_TYPES["token-classification"](name="a", labels=tuple(f"l{i}" for i in range(1001))))
    assert "has 1,001 labels, at most 1000 are read" in _refusal({"a": task})


def test_heads_are_compared_without_making_them() -> None:
    task = TASK_TYPES["sentence-embedding"](name="a", projection=1 << 30)
    stored = {"a.projection.weight": TensorInfo("F32", (8, 4)), "a.projection.bias": TensorInfo("F32", (8,))}
    with pytest.raises(BundleError, match=r"a\.projection\.bias has the shape \(8,\), and should have \(1073741824,\)"):
        check_heads({"a": task}, 4, stored, Path("heads.safetensors"))
    good = TASK_TYPES["sentence-embedding"](name="a", projection=8)
    check_heads({"a": good}, 4, {**stored, "_mix.a.gamma": TensorInfo("F32", ())}, Path("heads.safetensors"))
    many = TASK_TYPES["text-classification"](name="a", labels=tuple(map(str, range(50))))
    with pytest.raises(BundleError, match="has 40 numbers, too few for 50 labels of task 'a'"):
        check_heads({"a": many}, 4, stored, Path("heads.safetensors"))


def _fill(value: float) -> Callable[[Path], None]:
    def spoil(model: Path) -> None:
        import torch
        from safetensors.torch import load_file, save_file

        for name in ("heads.safetensors", "encoder/model.safetensors"):
            weights = load_file(model / name)
            last = sorted(weights)[-1]
            weights[last] = torch.full_like(weights[last], value)
            save_file(weights, model / name, metadata={"format": "pt"})

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_fill(float("nan")), "holds numbers that are not finite"),
        (_fill(3e38), "gives numbers that are not finite"),
        (lambda m: (m / "encoder/adapter_config.json").write_text("{}"), "adapter_config.json does not belong"),
        (lambda m: (m / "encoder/generation_config.json").write_text("{}"), "does not belong to the model folder"),
        (lambda m: (m / "encoder/stray.safetensors").write_text(""), "does not belong to the model folder"),
        (
            lambda m: (m / "metrics.json").write_text('{"a": {"test": {"f1": "x"}}}'),
            "has something other than numbers by task",
        ),
    ],
)
def test_folders_with_the_right_hashes_are_still_looked_at(
    spoil: Callable[[Path], Any], message: str, model: Path
) -> None:
    assert mh.load(model).predict("a fever")
    spoil(model)
    with pytest.raises(UsageError, match=message):
        mh.load(sealed(model))


def test_a_link_inside_of_a_cached_snapshot_is_followed(model: Path, tmp_path: Path) -> None:
    """The hub's cache keeps files as blobs, and links to them in a folder for each revision."""
    snapshot, blobs = tmp_path / "hub/snapshots/abc", tmp_path / "hub/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(path for path in model.rglob("*") if path.is_file())):
        (blobs / str(number)).write_bytes(file.read_bytes())
        place = snapshot / file.relative_to(model)
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(blobs / str(number))
    assert mh.load(snapshot).predict("a fever")
