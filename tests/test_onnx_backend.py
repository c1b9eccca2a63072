"""ONNX Runtime as a backend: padded batches of a pack, outputs in its layout, and no heavy imports."""

# ruff: noqa: F401, F811  fixtures are imported
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import manyheads as mh
from exporting import ROWS, TEXTS, Exports, exports, toy_models  # fixtures too
from manyheads.bundle import load_exported
from manyheads.cli import main
from manyheads.errors import BundleError, UsageError
from manyheads.evaluate import score_rows, warning_lines
from manyheads.onnx_backend import CALL_TOKENS, OnnxBackend, padded_batches, split_for_threads
from manyheads.predict import TorchBackend
from manyheads.text.pack import Source


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=60))
def test_batches_cover_all_rows_in_order_and_cost_the_least(lengths: list[int]) -> None:
    falling = np.array(sorted(lengths, reverse=True))
    found = padded_batches(falling)
    assert [i for start, stop in found for i in range(start, stop)] == list(range(len(falling)))
    cost = sum(CALL_TOKENS + (stop - start) * int(falling[start]) for start, stop in found)
    least = [0]
    for stop in range(1, len(falling) + 1):
        least.append(min(least[start] + CALL_TOKENS + (stop - start) * int(falling[start]) for start in range(stop)))
    assert cost == least[-1]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.integers(1, 16))
def test_no_batch_exceeds_a_threads_share_by_more_than_a_row(lengths: list[int], threads: int) -> None:
    falling = np.array(sorted(lengths, reverse=True))
    found = padded_batches(falling)
    parts = split_for_threads(found, falling, threads)
    assert [i for start, stop in parts for i in range(start, stop)] == list(range(len(falling)))
    share = sum((stop - start) * int(falling[start]) for start, stop in found) / threads
    assert all((stop - start - 1) * int(falling[start]) < share + 1e-6 for start, stop in parts)
    if threads == 1:
        assert parts == found


def test_a_full_pack_of_mixed_lengths_has_little_padding() -> None:
    generator = np.random.default_rng(0)
    lengths = np.sort(generator.integers(8, 257, 32))[::-1]
    area = sum((stop - start) * int(lengths[start]) for start, stop in padded_batches(lengths))
    assert area < 1.1 * lengths.sum()


@pytest.mark.parametrize("kind", ["hard", "private layers"])
def test_outputs_have_the_layout_of_the_torch_backend(kind: str, exports: Exports) -> None:
    model, folder, _ = exports(kind)
    exported, bundle = load_exported(folder, threads=1), mh.load(model).bundle
    backend = TorchBackend(bundle.model, torch.device("cpu"))  # type: ignore[union-attr]
    sources = [Source(text) for text in TEXTS] + [Source("Where?", text) for text in TEXTS]
    windows = [window for asked in exported.tokenizer.encode(sources, 48) for window in asked]
    for names in (list(exported.tasks), ["similarity"], ["answers", "entities"]):
        one, two = backend.run(windows, names), exported.backend.run(windows, names)
        assert list(one) == list(two) == names
        for name in names:
            assert one[name].keys() == two[name].keys()
            for key, value in one[name].items():
                assert value.shape == two[name][key].shape
                assert two[name][key].dtype == np.float32
                assert np.abs(value - two[name][key]).max() < 1e-5, f"{name}/{key}"
    assert exported.backend.one_trunk == backend.one_trunk == (kind == "hard")


def test_several_threads_may_use_it_at_once(exports: Exports) -> None:
    from concurrent.futures import ThreadPoolExecutor

    loaded = mh.load(exports("hard")[1])
    expected = loaded.predict(ROWS)
    with ThreadPoolExecutor(4) as pool:
        assert all(found == expected for found in pool.map(lambda _: loaded.predict(ROWS), range(8)))


def test_a_session_that_cannot_be_made_says_why(exports: Exports, tmp_path: Path) -> None:
    tasks = load_exported(exports("hard")[1]).tasks
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match=r"model\.onnx cannot be read by onnxruntime"):
        OnnxBackend(tmp_path / "model.onnx", tasks, 0)
    other = load_exported(exports("layer mix")[1]).tasks
    with pytest.raises(BundleError, match="has no output entities/logits_TK, so it does not belong to these tasks"):
        OnnxBackend(exports("hard")[1] / "model.onnx", other, 0)
    with pytest.raises(UsageError, match="is an ONNX export, which runs on the CPU or on CUDA, not on 'mps'"):
        mh.load(exports("hard")[1], device="mps")
    with pytest.raises(UsageError, match="is an ONNX export, whose precision is fixed, so it cannot run in bf16"):
        mh.load(exports("hard")[1], precision="bf16")


def test_the_python_interface_is_that_of_a_model(exports: Exports) -> None:
    model, folder, _ = exports("hard")
    one, two = mh.load(model), mh.load(folder)
    assert np.abs(one.embed(TEXTS) - two.embed(TEXTS)).max() < 1e-4
    assert [[s["label"] for s in spans] for spans in one.entities(TEXTS)] == [
        [s["label"] for s in spans] for spans in two.entities(TEXTS)
    ]
    assert [c["label"] for c in one.classify(TEXTS)] == [c["label"] for c in two.classify(TEXTS)]
    asked = {"question": "What lowered fever?", "context": TEXTS[0]}
    assert [a["text"] for a in one.answer(**asked)] == [a["text"] for a in two.answer(**asked)]
    assert two.bundle.hash != one.bundle.hash
    assert two.bundle.manifest["onnx"]["source"] == one.bundle.hash


def test_evaluate_scores_a_graph_as_its_model(exports: Exports, tmp_path: Path) -> None:
    model, folder, _ = exports("hard")
    found = []
    for name in (model, folder):
        to = tmp_path / f"{name.name}.json"
        assert main(["evaluate", str(name), "--data", str(model.parent / "run.yaml"), "--json", str(to)]) == 0
        found.append(json.loads(to.read_text()))
    alike = [{tuple(where): value for *where, value in score_rows(scores)} for scores in found]
    assert alike[0] == pytest.approx(alike[1], abs=1e-4)
    assert warning_lines(found[0]) == warning_lines(found[1])


ALONE = """
import json, sys
from manyheads.bundle import load_exported
from manyheads.cli import main
model, rows, out, run = sys.argv[1:]
status = [main(["predict", model, rows, "-o", out]), main(["info", model]), main(["evaluate", model, "--data", run])]
heavy = [name for name in ("torch", "transformers", "onnx", "datasets", "sentence_transformers") if name in sys.modules]
print(json.dumps([status, heavy]))
"""


@pytest.mark.long
def test_predict_info_and_evaluate_import_no_torch(exports: Exports, tmp_path: Path) -> None:
    model, folder, _ = exports("hard")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(folder), str(tmp_path / "rows.jsonl"), str(tmp_path / "out.jsonl"),
         str(model.parent / "run.yaml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[0, 0, 0], []]
    assert "graph     ONNX, float32, exported from model" in done.stdout
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(rows) == len(ROWS)
    assert rows == json.loads(json.dumps(mh.load(folder).predict(ROWS)))


@pytest.mark.parametrize(("given_threads", "said", "threads"), [(None, "1", 1), (2, "1", 2), (None, "3", 3)])
def test_a_graph_runs_with_the_threads_of_its_process(
    given_threads: int | None, said: str, threads: int, exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)  # as the server's workers and Ray's actors set it
    backend = load_exported(exports("hard")[1], threads=given_threads).backend
    assert backend._session.get_session_options().intra_op_num_threads == threads


@pytest.mark.parametrize("row_by_row", [False, True])
def test_batches_that_run_in_parallel_answer_as_in_sequence(row_by_row: bool, exports: Exports) -> None:
    model, folder, _ = exports("hard")
    bundle = mh.load(model).bundle
    windows = [w for found in bundle.tokenizer.encode([Source(text) for text in TEXTS * 3], 48) for w in found]
    one, four = (
        OnnxBackend(folder / "model.onnx", bundle.tasks, 0, threads=threads, row_by_row=row_by_row).run(
            windows, list(bundle.tasks)
        )
        for threads in (1, 4)
    )
    for name, outputs in one.items():
        for key, value in outputs.items():
            assert four[name][key] == pytest.approx(value, abs=1e-5), f"{name}/{key}"


def test_a_batch_that_fails_raises_and_the_next_pack_is_answered(exports: Exports) -> None:
    backend = load_exported(exports("hard")[1], threads=3).backend

    def run(part: int) -> int:
        if part == 5:
            raise ValueError("part 5")
        return 2 * part

    for _ in range(20):
        with pytest.raises(ValueError, match="part 5"):
            backend._in_parallel(run, range(9))
        assert backend._in_parallel(run, range(5)) == [0, 2, 4, 6, 8]
        assert backend._in_parallel(run, []) == []
