"""Pair losses against sentence-transformers and against plain loops."""

import math

import pytest
import torch

from manyheads.nn.pair_losses import cosent, cosine_mse, in_batch_negatives, matryoshka, nli_softmax, triplet

B, D = 6, 8


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def peer():
    return pytest.importorskip("sentence_transformers.losses")


def vectors(count, *, seed=0, rows=B, width=D):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, width, generator=generator, requires_grad=True) for _ in range(count)]


SCORES = torch.tensor([0.0, 0.2, 0.2, 1.0, 0.7, 0.5])  # with a tie


def assert_same_with_gradients(ours, theirs, inputs):
    torch.testing.assert_close(ours, theirs)
    for mine, other in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_cosine_regression_equals_sentence_transformers(peer):
    a_BD, b_BD = vectors(2)
    theirs = peer.CosineSimilarityLoss(None).compute_loss_from_embeddings([a_BD, b_BD], SCORES)
    assert_same_with_gradients(cosine_mse(a_BD, b_BD, SCORES), theirs, [a_BD, b_BD])


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_cosent_equals_sentence_transformers(peer, scale):
    a_BD, b_BD = vectors(2)
    theirs = peer.CoSENTLoss(None, scale=scale).compute_loss_from_embeddings([a_BD, b_BD], SCORES)
    assert_same_with_gradients(cosent(a_BD, b_BD, SCORES, scale=scale), theirs, [a_BD, b_BD])


def test_cosent_equals_a_loop_over_ranked_pairs():
    a_BD, b_BD = vectors(2, seed=1)
    cosines = torch.cosine_similarity(a_BD, b_BD).tolist()
    terms = [math.exp(20 * (cosines[j] - cosines[i])) for i in range(B) for j in range(B) if SCORES[i] > SCORES[j]]
    assert cosent(a_BD, b_BD, SCORES).item() == pytest.approx(math.log(1 + sum(terms)), rel=1e-5)


@pytest.mark.parametrize("negatives", [0, 1])
def test_in_batch_negatives_equals_sentence_transformers(peer, negatives):
    inputs = vectors(2 + negatives)
    theirs = peer.MultipleNegativesRankingLoss(None).compute_loss_from_embeddings(inputs, None)
    assert_same_with_gradients(in_batch_negatives(*inputs), theirs, inputs)


def test_symmetric_in_batch_negatives_equals_sentence_transformers(peer):
    inputs = vectors(2, seed=2)
    loss = peer.MultipleNegativesRankingLoss(
        None, directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"
    )
    theirs = loss.compute_loss_from_embeddings(inputs, None)
    assert_same_with_gradients(in_batch_negatives(*inputs, symmetric=True), theirs, inputs)


def test_triplet_equals_sentence_transformers(peer):
    inputs = vectors(3, seed=3)
    metric = peer.TripletDistanceMetric.COSINE
    theirs = peer.TripletLoss(None, distance_metric=metric, triplet_margin=0.5).compute_loss_from_embeddings(
        inputs, None
    )
    assert_same_with_gradients(triplet(*inputs, margin=0.5), theirs, inputs)


def test_nli_softmax_equals_a_linear_layer_on_the_joined_vectors():
    a_BD, b_BD = vectors(2, seed=4)
    label_B = torch.tensor([0, 1, 2, 2, 1, 0])
    layer = torch.nn.Linear(3 * D, 3, bias=False)
    theirs = torch.nn.functional.cross_entropy(layer(torch.cat([a_BD, b_BD, (a_BD - b_BD).abs()], 1)), label_B)
    ours = nli_softmax(a_BD, b_BD, label_B, layer.weight.view(3, 3, D))
    assert_same_with_gradients(ours, theirs, [a_BD, b_BD, layer.weight])


def test_nli_softmax_reads_truncated_vectors_with_the_weights_of_the_kept_widths():
    a_BD, b_BD = vectors(2, seed=5)
    label_B, weight_K3D = torch.tensor([0, 1, 2, 2, 1, 0]), torch.randn(3, 3, D)
    silent_K3D = weight_K3D.clone()
    silent_K3D[..., 5:] = 0
    short = nli_softmax(a_BD[:, :5], b_BD[:, :5], label_B, weight_K3D)
    torch.testing.assert_close(short, nli_softmax(a_BD, b_BD, label_B, silent_K3D))


@pytest.mark.parametrize("symmetric", [False, True])
def test_known_duplicates_are_no_negatives(symmetric):
    anchor_BD, positive_BD, negative_ND = vectors(3, seed=6)
    negative_ND = negative_ND[:2]  # fewer than pairs
    duplicate_BC = torch.eye(B, B + 2, dtype=torch.bool)
    duplicate_BC[0, 3] = duplicate_BC[3, 0] = duplicate_BC[1, B] = True
    found = in_batch_negatives(
        anchor_BD, positive_BD, negative_ND, scale=5.0, duplicate_BC=duplicate_BC, symmetric=symmetric
    )
    candidate_CD = torch.cat([positive_BD, negative_ND])
    cosine_BC = torch.cosine_similarity(anchor_BD[:, None], candidate_CD[None], dim=-1) * 5
    forward, backward = [], []
    for b in range(B):
        kept = [c for c in range(B + 2) if c == b or not duplicate_BC[b, c]]
        forward.append(torch.logsumexp(cosine_BC[b, kept], 0) - cosine_BC[b, b])
        kept = [a for a in range(B) if a == b or not duplicate_BC[a, b]]
        backward.append(torch.logsumexp(cosine_BC[kept, b], 0) - cosine_BC[b, b])
    expected = torch.stack(forward).mean()
    if symmetric:
        expected = (expected + torch.stack(backward).mean()) / 2
    assert_same_with_gradients(found, expected, [anchor_BD, positive_BD])


def test_a_mask_with_and_without_its_own_pairs_means_the_same():
    inputs = vectors(2, seed=7)
    own_BC = torch.eye(B, dtype=torch.bool)
    plain = in_batch_negatives(*inputs)
    assert torch.equal(plain, in_batch_negatives(*inputs, duplicate_BC=own_BC))
    assert torch.equal(plain, in_batch_negatives(*inputs, duplicate_BC=torch.zeros_like(own_BC)))


def test_matryoshka_equals_the_sum_over_truncated_vectors():
    a_BD, b_BD = vectors(2, seed=8)
    summed = matryoshka(lambda a, b: cosent(a, b, SCORES), [2, 5, D])(a_BD, b_BD)
    expected = sum(cosent(a_BD[:, :width], b_BD[:, :width], SCORES) for width in (2, 5, D))
    assert_same_with_gradients(summed, expected, [a_BD, b_BD])


@pytest.mark.parametrize(
    ("widths", "message"),
    [([], "widths must be one or more"), ([0, 4], r"not \[0, 4\]"), ([4, 9], "width 9 is larger than the vectors .8.")],
)
def test_matryoshka_widths_that_cannot_be_are_refused(widths, message):
    a_BD, b_BD = vectors(2)
    with pytest.raises(ValueError, match=message):
        matryoshka(in_batch_negatives, widths)(a_BD, b_BD)


LOSSES = {
    "cosine": lambda a, b: cosine_mse(a, b, SCORES[: len(a)]),
    "cosent": lambda a, b: cosent(a, b, SCORES[: len(a)]),
    "in-batch": in_batch_negatives,
    "in-batch-symmetric": lambda a, b: in_batch_negatives(a, b, symmetric=True),
    "in-batch-hard": lambda a, b: in_batch_negatives(a, b, a[:0]),
    "triplet": lambda a, b: triplet(a, b, b.flip(-1)),
    "nli": lambda a, b: nli_softmax(a, b, torch.zeros(len(a), dtype=torch.int64), torch.ones(3, 3, D)),
    "matryoshka": matryoshka(in_batch_negatives, [2, D]),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_the_smallest_batches_give_a_finite_loss_and_gradient(loss, rows):
    inputs = vectors(2, rows=rows)
    value = loss(*inputs)
    value.backward()
    assert value.isfinite()
    assert all(tensor.grad.isfinite().all() for tensor in inputs)
    assert rows or value.item() == 0


@pytest.mark.parametrize("name", ["cosent", "in-batch", "in-batch-symmetric", "matryoshka"])
def test_one_pair_alone_has_nothing_to_be_ranked_against(name):
    inputs = vectors(2, rows=1)
    value = LOSSES[name](*inputs)
    value.backward()
    assert value.item() == 0
    assert not any(tensor.grad.any() for tensor in inputs)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
def test_zero_and_equal_vectors_give_a_finite_loss_and_gradient(loss):
    for a_BD in (torch.zeros(3, D), torch.ones(3, D)):
        inputs = [a_BD.clone().requires_grad_(), a_BD.clone().requires_grad_()]
        value = loss(*inputs)
        value.backward()
        assert value.isfinite()
        assert all(tensor.grad.isfinite().all() for tensor in inputs)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
def test_autocast_changes_nothing(loss):
    inputs = vectors(2, seed=9)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(*inputs)
    torch.testing.assert_close(found, loss(*inputs))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
def test_gradient_equals_finite_differences(loss):
    inputs = [tensor.detach().double().requires_grad_() for tensor in vectors(2, rows=3, seed=10)]
    if loss is LOSSES["nli"]:
        label_B, weight_K3D = torch.tensor([0, 2, 1]), torch.randn(3, 3, D, dtype=torch.float64)
        assert torch.autograd.gradcheck(lambda a, b: nli_softmax(a, b, label_B, weight_K3D), inputs)
        return
    assert torch.autograd.gradcheck(loss, inputs)
