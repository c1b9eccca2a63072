"""Every head: shapes, gradients, repeatable beginnings."""

import math

import pytest
import torch

from manyheads.nn.heads import CRFTokenHead, EmbeddingHead, PooledHead, SpanHead, TokenHead
from manyheads.nn.pooling import cls_pool, mean_pool
from manyheads.text.pack import Segments

WIDTH, LENGTHS, TAGS = 16, [4, 1, 6], ["O", "B-X", "I-X"]
T, S = sum(LENGTHS), len(LENGTHS)

HEADS = {
    "token": (
        lambda dropout: TokenHead(WIDTH, 3, dropout),
        {"logits_TK": (T, 3)},
    ),
    "crf": (
        lambda dropout: CRFTokenHead(WIDTH, TAGS, dropout),
        {"emissions_TK": (T, 3), "transitions_KK": (3, 3), "start_K": (3,), "end_K": (3,)},
    ),
    "token-places": (
        lambda dropout: TokenHead(WIDTH, 3, dropout, 5),
        {"logits_TK": (T, 3), "inner_TR": (T, WIDTH), "places_MR": (5, WIDTH), "inner_RK": (WIDTH, 3)},
    ),
    "crf-places": (
        lambda dropout: CRFTokenHead(WIDTH, TAGS, dropout, 5),
        {
            "emissions_TK": (T, 3),
            "transitions_KK": (3, 3),
            "start_K": (3,),
            "end_K": (3,),
            "inner_TR": (T, WIDTH),
            "places_MR": (5, WIDTH),
            "inner_RK": (WIDTH, 3),
        },
    ),
    "pooled": (
        lambda dropout: PooledHead(WIDTH, 2, pooling="mean", dropout=dropout, hidden=None),
        {"logits_SK": (S, 2)},
    ),
    "pooled-hidden": (
        lambda dropout: PooledHead(WIDTH, 2, pooling="cls", dropout=dropout, hidden=7),
        {"logits_SK": (S, 2)},
    ),
    "span": (
        lambda dropout: SpanHead(WIDTH, dropout),
        {"start_T": (T,), "end_T": (T,)},
    ),
    "embedding": (
        lambda dropout: EmbeddingHead(WIDTH, pooling="mean", projection=None, layer_norm=False),
        {"vector_SD": (S, WIDTH)},
    ),
    "embedding-projected": (
        lambda dropout: EmbeddingHead(WIDTH, pooling="cls", projection=5, layer_norm=True, nli_labels=3),
        {"vector_SD": (S, 5), "nli_weight": (3, 3, 5)},
    ),
}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=HEADS, ids=list(HEADS))
def case(request):
    return HEADS[request.param]


def hidden(seed=0):
    return torch.randn(T, WIDTH, generator=torch.Generator().manual_seed(seed))


def built(build, dropout=0.0, seed=0):
    torch.manual_seed(seed)
    return build(dropout)


def test_outputs_have_their_names_and_shapes(case):
    build, shapes = case
    output = built(build)(hidden(), Segments.of(LENGTHS))
    assert {name: tuple(value.shape) for name, value in output.items()} == shapes


def test_every_parameter_and_every_sequence_gets_a_gradient(case):
    build, _ = case
    head, hidden_TD, segments = built(build), hidden().requires_grad_(), Segments.of(LENGTHS)
    torch.manual_seed(1)
    sum((value * torch.randn(value.shape)).sum() for value in head(hidden_TD, segments).values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    for part in segments.slices():
        assert hidden_TD.grad[part].abs().sum() > 0


def test_the_same_seed_begins_with_the_same_weights(case):
    build, _ = case
    one, two, other = built(build), built(build), built(build, seed=1)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name])
    assert not list(one.parameters()) or any(
        not torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items()
    )


def test_dropout_acts_in_training_alone(case):
    build, _ = case
    head, segments = built(build, dropout=0.5), Segments.of(LENGTHS)
    head.eval()
    one, two = head(hidden(), segments), head(hidden(), segments)
    assert all(torch.equal(one[name], two[name]) for name in one)
    if any(isinstance(module, torch.nn.Dropout) for module in head.modules()):
        head.train()
        first = next(iter(one))
        assert not torch.equal(head(hidden(), segments)[first], one[first])


def test_linear_layers_begin_as_in_bert():
    head = built(lambda dropout: TokenHead(768, 100, dropout))
    assert head.output.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not head.output.bias.any()


def test_pooled_logits_equal_a_linear_layer_on_the_pooled_states():
    head, segments = built(HEADS["pooled"][0]), Segments.of(LENGTHS)
    expected_SK = head.layers[-1](mean_pool(hidden(), segments))
    torch.testing.assert_close(head(hidden(), segments)["logits_SK"], expected_SK)


def test_hidden_layer_equals_the_classification_head_of_roberta():
    transformers = pytest.importorskip("transformers.models.roberta.modeling_roberta")
    config = transformers.RobertaConfig(hidden_size=WIDTH, num_labels=2, num_attention_heads=2)
    stock = transformers.RobertaClassificationHead(config).eval()
    head = PooledHead(WIDTH, 2, pooling="cls", dropout=0.1, hidden=WIDTH).eval()
    ours = [module for module in head.layers if isinstance(module, torch.nn.Linear)]
    for layer, other in zip(ours, (stock.dense, stock.out_proj), strict=True):
        layer.load_state_dict(other.state_dict())
    segments = Segments.of(LENGTHS)
    expected_SK = stock(cls_pool(hidden(), segments)[:, None])
    torch.testing.assert_close(head(hidden(), segments)["logits_SK"], expected_SK)


def test_a_plain_embedding_is_the_pooled_states_and_has_no_parameters():
    head, segments = built(HEADS["embedding"][0]), Segments.of(LENGTHS)
    assert torch.equal(head(hidden(), segments)["vector_SD"], mean_pool(hidden(), segments))
    assert not list(head.parameters())


def test_crf_outputs_hold_the_penalties():
    output = built(HEADS["crf"][0])(hidden(), Segments.of(LENGTHS))
    assert (output["transitions_KK"] < -9000).tolist() == [[False, False, True], [False] * 3, [False] * 3]
    assert (output["start_K"] < -9000).tolist() == [False, False, True]
    assert all(math.isfinite(value) for value in output["transitions_KK"].flatten().tolist())


def test_a_sequence_has_the_same_outputs_in_any_company(case):
    build, _ = case
    head, segments = built(build), Segments.of(LENGTHS)
    together = head(hidden(), segments)
    for row, part in enumerate(segments.slices()):
        alone = head(hidden()[part], Segments.of([LENGTHS[row]]))
        for name, value in alone.items():
            whole = together[name]
            expected = whole[part] if "_T" in name else whole[row : row + 1] if "_S" in name else whole
            torch.testing.assert_close(value, expected)
