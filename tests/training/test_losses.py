"""What losses are divided by."""

from __future__ import annotations

from itertools import pairwise
from math import log
from pathlib import Path
from statistics import fmean

import pytest
import torch
from torch.nn.functional import cross_entropy

from manyheads.tasks.base import Loss
from manyheads.tasks.sentence_embedding import SentenceEmbedding
from manyheads.training.losses import Normaliser
from plans import by_hand, stepped, still

LOSS = Loss(torch.tensor(2.0), 4.0)
WINDOWS = Loss(torch.tensor([1.0, 6.0]), torch.tensor([2.0, 3.0]))


def test_log_classes_divides_by_the_loss_of_an_uninformed_head() -> None:
    normaliser = Normaliser("log-classes")
    assert float(normaliser.scaled("a", LOSS)) == 0.5
    assert normaliser.observe({"a": 0.5}) == {"a": 1.0}
    assert float(normaliser.scaled("a", LOSS)) == 0.5


def test_values_with_figures_of_their_own_are_divided_before_the_mean_is_taken() -> None:
    assert float(Normaliser("log-classes").scaled("a", WINDOWS)) == (1.0 / 2.0 + 6.0 / 3.0) / 2


def test_none_is_the_plain_loss() -> None:
    assert float(Normaliser("none").scaled("a", LOSS)) == 2.0
    assert float(Normaliser("none").scaled("a", WINDOWS)) == 3.5


def test_initial_loss_divides_by_the_first_finite_loss_of_each_task() -> None:
    normaliser = Normaliser("initial-loss")
    assert float(normaliser.scaled("a", LOSS)) == 0.5
    assert normaliser.observe({"a": float("nan"), "b": 0.0}) == {"a": 1.0, "b": 1.0}
    assert normaliser.observe({"a": 0.25}) == {"a": 4.0}, "in the units of the next step it is 1"
    assert normaliser.observe({"a": 0.1, "b": 2.0}) == {"a": 1.0, "b": 0.5}
    assert float(normaliser.scaled("a", LOSS)) == 2.0
    assert float(normaliser.scaled("b", LOSS)) == 0.25


def test_initial_losses_start_at_1_in_the_record(project: Path) -> None:
    made = still(project, "training.balancing={method: static, normalize: initial-loss}")
    _, first = by_hand(made)
    record = stepped(made)[1]
    assert record.losses == pytest.approx(dict.fromkeys(first, 1.0))
    _, second = by_hand(made, 1)
    assert stepped(made, 1)[1].losses == pytest.approx({name: second[name] / first[name] for name in second}, rel=1e-4)


def test_plain_losses_are_the_normalised_ones_times_those_of_an_uninformed_head(project: Path) -> None:
    made = still(project, "training.balancing={method: static, normalize: none}")
    _, normalised = by_hand(made)
    losses = stepped(made)[1].losses
    ratio = {name: losses[name] / normalised[name] for name in losses}
    assert ratio["entities"] == pytest.approx(log(5), rel=1e-4)  # O, and B- and I- of two labels
    assert ratio["section"] == pytest.approx(log(3), rel=1e-4)
    assert ratio["similarity"] == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("cut", [(), ("training.max_tokens_per_pack=40",)])
def test_plain_losses_of_answers_are_cross_entropies_over_windows_of_any_length(
    project: Path, cut: tuple[str, ...]
) -> None:
    whole = still(project, "encoder.max_length=24", "tasks.answers.doc_stride=4")
    [batch] = whole.trainer.batcher.batch(0)
    with torch.no_grad():
        output = whole.model(batch.pack, batch.reads)["answers"]
    first = batch.reads["answers"][0]
    lengths = batch.pack.segments.lengths[slice(*batch.reads["answers"])]
    starts = torch.tensor([0, *lengths]).cumsum(0).tolist()
    types = batch.pack.type_T[sum(batch.pack.segments.lengths[:first]) :]
    targets, plain, divided = batch.targets["answers"], [], []
    for i, (start, end) in enumerate(pairwise(starts)):
        passage = types[start:end] == 1
        allowed = torch.tensor([0, *[place for place in range(1, end - start - 1) if passage[place]]])
        both = []
        for key, gold in (("start_T", targets["start_S"][i]), ("end_T", targets["end_S"][i])):
            chances = output[key][start:end][allowed].softmax(0)
            both.append(-float(chances[(allowed == gold).nonzero().item()].log()))
        plain.append(sum(both) / 2)
        divided.append(plain[-1] / log(len(allowed)))
    assert len({*lengths}) > 1, "windows of one length would not tell"
    raw = still(project, "encoder.max_length=24", "tasks.answers.doc_stride=4", *cut,
                "training.balancing={method: static, normalize: none}")  # fmt: skip
    default = still(project, "encoder.max_length=24", "tasks.answers.doc_stride=4", *cut)
    assert stepped(raw)[1].losses["answers"] == pytest.approx(fmean(plain), rel=1e-4)
    assert stepped(default)[1].losses["answers"] == pytest.approx(fmean(divided), rel=1e-4)


VECTORS = torch.nn.functional.normalize(torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), dim=-1)
PLAIN = {
    "cosent": lambda found: torch.tensor(
        [0.0, *[20.0 * (found[j] - found[i]) for i in range(4) for j in range(4) if i > j]]
    ).logsumexp(0),
    "in-batch-negatives": lambda _: cross_entropy(20.0 * VECTORS[0::2] @ VECTORS[1::2].T, torch.arange(4)),
    "cosine": lambda found: ((found - torch.arange(4) / 4) ** 2).mean(),
    "softmax": lambda _: cross_entropy(
        torch.cat([VECTORS[0::2], VECTORS[1::2], (VECTORS[0::2] - VECTORS[1::2]).abs()], 1), torch.tensor([0, 1, 2, 0])
    ),
}
"""Losses of pairs as their papers have them, of the cosines of four pairs whose scores rise."""


@pytest.mark.parametrize(
    ("objective", "chance_loss"), [("cosent", 20.0), ("in-batch-negatives", 20.0), ("cosine", 1.0), ("softmax", log(3))]
)
def test_losses_of_pairs_are_those_of_their_papers_and_tell_what_to_divide_by(objective, chance_loss) -> None:
    task = SentenceEmbedding(name="pairs", objective=objective)
    even, none = torch.arange(0, 8, 2), torch.arange(0)
    targets = {"owner_S": torch.arange(8), "share_S": torch.ones(8), "a_B": even, "b_B": even + 1, "negative_N": none,
               "negative_of_N": none, "score_B": torch.arange(4) / 4, "label_B": torch.tensor([0, 1, 2, 0]),
               "identity_X": torch.arange(8)}  # fmt: skip
    classifier = torch.eye(18).reshape(18, 3, 6)
    if objective == "softmax":
        found = task.loss({"vector_SD": VECTORS, "nli_weight": classifier}, targets)
    else:
        found = task.loss({"vector_SD": VECTORS}, targets)
    cosines = (VECTORS[0::2] * VECTORS[1::2]).sum(-1)
    assert float(found.mean) == pytest.approx(float(PLAIN[objective](cosines)), rel=1e-4)
    assert float(Normaliser("none").scaled("pairs", found)) == float(found.mean)
    assert float(Normaliser("log-classes").scaled("pairs", found)) == pytest.approx(float(found.mean) / chance_loss)
