"""The ladder: one task gets its head, then layers of its own; nothing else moves, and it always ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import manyheads
from manyheads.bundle import load_bundle
from manyheads.bundle.tops import Top, with_tops
from manyheads.compare import command
from manyheads.compare.command import Asked, compare, open_shop
from manyheads.compare.crew import Maker
from manyheads.compare.ladder import Climb, Tried, climb, reason_against, rungs_of, write_model
from manyheads.compare.outcome import OUTCOME, Outcome
from manyheads.compare.search import Single
from manyheads.compare.singles import Rate
from manyheads.compare.verdict import Judgement
from manyheads.config.files import load_run
from manyheads.crew.hands import Crew
from manyheads.crew.workshop import Job, Rung, Workshop
from manyheads.errors import BundleError
from manyheads.training.progress import Quiet
from manyheads.training.stop import Stop
from toys import SENTENCES, write_project

OWN = (("epochs", 1.0), ("tokens_per_step", 64), ("learning_rate", 0.01))
DEPTH = 2
"""Of the toy encoder."""
RUNGS = [Rung(own_layers, DEPTH) for own_layers in range(DEPTH + 1)]
RUN = """
encoder: {{name: {encoder}, max_length: 48}}
tasks:
  section: {{type: text-classification, data: {{train: {data}/sections.csv, validation: {data}/sections.csv}}}}
  other: {{type: text-classification, data: {{train: {data}/sections.csv, validation: {data}/sections.csv}}}}
  similarity: {{type: sentence-embedding, data: {{train: {data}/pairs.csv, validation: {data}/pairs.csv}}}}
training: {{recipe: none, steps: 2, tokens_per_step: 128, learning_rate: 1.0e-3, device: cpu}}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    """A run file of two classifiers and of sentence embeddings, whose head has no weights."""
    folder = tmp_path_factory.mktemp("ladder")
    data = write_project(folder, toy_encoder).parent / "data"
    path = folder / "ladder.yaml"
    path.write_text(RUN.format(encoder=toy_encoder, data=data), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def maker(run: Path) -> Maker:
    """With the shared model of seed 0."""
    made = Maker(open_shop(Asked(run, run.parent / "out")), Crew(), Quiet(), Stop())
    made.outcomes([Job(0, keep=True)])
    return made


def single(score: float, name: str) -> Single:
    """As if trained, with this score on validation data."""
    run = Outcome({name: {}}, {}, {name: [{"examples": 6, "score": score}]})
    rate = Rate(1.0, 1e-3, score)
    return Single(OWN, (rate,), rate, (run,), 0)


def rung(own_layers: int, name: str) -> Job:
    return Job(0, (name,), own=OWN, rung=Rung(own_layers, DEPTH), keep=True)


def way(shop: Workshop, own_layers: int, name: str) -> Climb:
    """As if climbed to a rung."""
    tried = Tried(Rung(own_layers, DEPTH), 0.5)
    return Climb(0.5, (tried,), tried, (), shop.place(rung(own_layers, name)))


def test_the_first_rung_that_is_within_the_margin_of_the_single_model_is_taken(maker: Maker) -> None:
    found = climb(maker, "section", single(0.9, "section"), [0], margin=0.9, rungs=RUNGS)
    assert found is not None
    assert [tried.rung.own_layers for tried in found.tried] == [0]
    assert (found.target, found.chosen.cost, found.to_json()["reached"]) == (0.0, 1.0, True)


def test_the_ladder_ends_where_nothing_is_shared_and_the_best_rung_is_taken(maker: Maker) -> None:
    found = climb(maker, "section", single(2.0, "section"), [0], margin=0.01, rungs=RUNGS)
    assert found is not None
    assert [tried.rung.own_layers for tried in found.tried] == [0, 1, 2]
    assert [tried.cost for tried in found.tried] == [1.0, 1.5, 2.0], "(L + m) / L passes"
    assert found.chosen.score == max(tried.score for tried in found.tried)
    assert found.to_json()["reached"] is False


def test_a_head_without_weights_is_not_trained_again(maker: Maker) -> None:
    found = climb(maker, "similarity", single(0.0, "similarity"), [0], margin=1.0, rungs=RUNGS)
    assert found is not None
    assert [tried.rung.own_layers for tried in found.tried] == [1]


def test_without_validation_data_there_is_no_ladder(maker: Maker) -> None:
    unknown = replace(single(0.5, "section"), runs=(Outcome({}, {}, {"section": []}),))
    assert climb(maker, "section", unknown, [0], margin=0.01, rungs=RUNGS) is None


def test_where_positions_run_beside_all_layers_there_are_two_rungs() -> None:
    for kind, own in (("bert", [0, 1, 2, 3]), ("mpnet", [0, 3])):
        assert [rung.own_layers for rung in rungs_of(SimpleNamespace(model_type=kind, num_hidden_layers=3))] == own


def test_a_rung_moves_no_layer_below_its_own(maker: Maker) -> None:
    shared = dict(load_bundle(maker.shop.place(Job(0))).model.encoder.named_parameters())
    for own in range(DEPTH + 1):
        maker.outcomes([rung(own, "section")])
        encoder = load_bundle(maker.shop.place(rung(own, "section"))).model.encoder
        layers = [{id(value) for value in layer.parameters()} for layer in encoder.layer_modules()]
        moved = {
            next((i for i, ids in enumerate(layers) if id(value) in ids), "embeddings")
            for name, value in encoder.named_parameters()
            if not torch.equal(value, shared[name])
        }
        assert moved <= {*range(DEPTH - own, DEPTH), *(["embeddings"] if own == DEPTH else [])}


def test_tasks_that_did_not_climb_answer_as_before_to_the_last_bit_and_the_others_as_their_own_models(
    maker: Maker, tmp_path: Path
) -> None:
    maker.outcomes([rung(1, "section"), rung(2, "other")])
    ways = {"section": way(maker.shop, 1, "section"), "other": way(maker.shop, 2, "other")}
    write_model(maker, 0, ways, tmp_path / "model")
    made, before = load_bundle(tmp_path / "model"), load_bundle(maker.shop.place(Job(0)))
    assert {branch.name: branch.start for branch in made.model.branches} == {"section": 1, "other": 0}
    for name, value in before.model.encoder.named_parameters():
        assert torch.equal(value, made.model.encoder.get_parameter(name))
    ours, theirs = manyheads.load(tmp_path / "model"), manyheads.load(maker.shop.place(Job(0)))
    assert (ours.embed(SENTENCES) == theirs.embed(SENTENCES)).all()
    company = [row["tasks"] for row in ours.predict(SENTENCES)]
    for name, one in ways.items():
        alone = [row["tasks"] for row in manyheads.load(one.model).predict(SENTENCES)]
        assert all(near(row[name], other[name]) for row, other in zip(alone, company, strict=True)), name
    scores = json.loads((tmp_path / "model/metrics.json").read_text(encoding="utf-8"))
    assert set(scores) == {"section", "other", "similarity", "_all"}


def near(one: Any, other: Any) -> bool:
    """Equal, but for the last digits of numbers."""
    if isinstance(one, Mapping):
        return set(one) == set(other) and all(near(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(near, one, other))
    return bool(one == pytest.approx(other, abs=1e-4)) if isinstance(one, float) else bool(one == other)


def test_a_top_that_was_trained_on_another_encoder_is_refused(maker: Maker) -> None:
    shared, other = (load_bundle(maker.shop.place(Job(0))) for _ in range(2))
    with torch.no_grad():
        other.model.encoder.layer_modules()[0].get_parameter("attention.output.dense.bias").add_(1e-3)
    assert with_tops(shared, {"other": Top(other, 2)})[0].branches[0].start == 0, "all of it is the task's own"
    for own in (0, 1):
        with pytest.raises(BundleError, match="the layers of 'other' below its top are not those of the shared encoder"):
            with_tops(shared, {"other": Top(other, own)})


def test_a_run_whose_tasks_own_layers_already_has_no_ladder(run: Path) -> None:
    assert reason_against(load_run(run)) is None
    for change in ("sharing.shared_layers=1", "sharing.layer_mix=true", "lora.rank=2"):
        reason = reason_against(load_run(run, [change]))
        assert reason is not None
        assert reason.startswith(change.partition(".")[0])


def test_try_remedy_climbs_with_the_task_that_falls_behind_and_keeps_a_model(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def behind(*args: Any) -> dict[str, Judgement]:
        found = judged(*args)
        for name, one in found.items():
            mean = -0.5 if name == "section" else 0.0
            found[name] = replace(one, no_worse=False, difference=replace(one.difference, mean=mean))
        return found

    judged = command.judged
    monkeypatch.setattr(command, "judged", behind)
    asked = Asked(run, tmp_path / "out", seeds=(0, 1), try_remedy=True)
    result = compare(asked, Quiet(), Stop())
    remedy = result["remedy"]
    assert list(remedy["climbs"]) == ["section"]
    climbed = remedy["climbs"]["section"]
    assert climbed["reached"] or len(climbed["rungs"]) == DEPTH + 1
    assert remedy["tasks"]["similarity"]["shared"] == result["tasks"]["similarity"]["shared"]
    assert set(manyheads.load(tmp_path / "out/remedy").tasks) == {"section", "other", "similarity"}
    assert "its head trained again" in (tmp_path / "out/report.html").read_text(encoding="utf-8")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob(f"runs/*/{OUTCOME}")}
    assert compare(asked, Quiet(), Stop()) == result
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob(f"runs/*/{OUTCOME}")} == times
