"""The layer that is written out, against the stock modules: answers, gradients, dropout, and whom it must leave alone."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn import functional
from transformers import (
    AutoModel,
    BertConfig,
    CamembertConfig,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from manyheads.nn.cpu import post_norm
from manyheads.nn.cpu.dropout import dropout_mask
from manyheads.nn.cpu.length_buckets import STEP, length_buckets
from manyheads.nn.cpu.post_norm import PostNormLayer, read_layer
from manyheads.nn.encoder import Encoder
from manyheads.nn.pretrained import wrap
from manyheads.text.pack import Pack, Segments
from processors import bf16_attention

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH, HEADS, WIDE = 32, 4, 48
SMALL: dict[str, Any] = {"vocab_size": 60, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": HEADS,
                         "intermediate_size": WIDE, "max_position_embeddings": 130}  # fmt: skip
DISTIL: dict[str, Any] = {"vocab_size": 60, "dim": WIDTH, "n_layers": 2, "n_heads": HEADS, "hidden_dim": WIDE,
                          "max_position_embeddings": 130}  # fmt: skip
ROBERTA: dict[str, Any] = {**SMALL, "pad_token_id": 1, "type_vocab_size": 1}
FAMILIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "bert": (BertConfig, SMALL),
    "roberta": (RobertaConfig, ROBERTA),
    "xlm-roberta": (XLMRobertaConfig, ROBERTA),
    "camembert": (CamembertConfig, ROBERTA),
    "electra": (ElectraConfig, {**SMALL, "embedding_size": 16}),
    "distilbert": (DistilBertConfig, DISTIL),
}
MIXED = (1, 7, 7, 33, 64, 2, 24, 24, 25, 16, 70, 1)
RESULTS = ("query", "key", "value", "out", "norm", "up", "down", "last_norm")


def toy(name: str, hidden: float = 0.0, attention: float = 0.0, **more: Any) -> Encoder:
    """A small encoder of a family, weights stirred: biases and norms begin at constants, which hides mistakes."""
    torch.manual_seed(3)
    kind, settings = FAMILIES[name]
    names = ("dropout", "attention_dropout") if name == "distilbert" else (
        "hidden_dropout_prob", "attention_probs_dropout_prob")  # fmt: skip
    config = kind(**settings, **dict(zip(names, (hidden, attention), strict=True)), **more)
    pooler = {} if name in {"distilbert", "electra"} else {"add_pooling_layer": False}
    model = AutoModel.from_config(config, **pooler)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return wrap(model).train()


def toy_layer(name: str, hidden: float = 0.0, attention: float = 0.0, **more: Any) -> nn.Module:
    return toy(name, hidden, attention, **more).layer_modules()[0]


def written(layer: nn.Module) -> PostNormLayer:
    found = read_layer(layer)
    assert found is not None
    return found


def stock(layer: nn.Module, hidden_TD: torch.Tensor, segments: Segments) -> torch.Tensor:
    """The layer through transformers' own modules."""
    out = layer(hidden_TD[None], attention_mask=None, segments=segments)
    found: torch.Tensor = out[0] if isinstance(out, tuple) else out
    return found.view_as(hidden_TD)


def drawn(lengths: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(sum(lengths), WIDTH, generator=torch.Generator().manual_seed(seed))


def gradients(
    out_TD: torch.Tensor, layer: nn.Module, hidden_TD: torch.Tensor, weight_TD: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Gradients of every parameter that trains, and of the input as "input"."""
    wanted: dict[str, torch.Tensor] = {name: p for name, p in layer.named_parameters() if p.requires_grad}
    if hidden_TD.requires_grad:
        wanted["input"] = hidden_TD
    found = torch.autograd.grad(out_TD, list(wanted.values()), weight_TD)
    return dict(zip(wanted, found, strict=True))


def assert_close(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        near = 1e-5 * max(1.0, float(gradient.abs().max()))
        assert torch.allclose(got[name], gradient, atol=near), (name, float((got[name] - gradient).abs().max()))


def reference(
    layer: PostNormLayer, hidden_TD: torch.Tensor, lengths: tuple[int, ...], heads: int = HEADS
) -> torch.Tensor:
    """The layer for autograd, its masks drawn in the order that is promised: scores, after `out`, after `down`."""
    p, p_out, p_down = layer.dropouts
    places = length_buckets(lengths, heads)
    flat = dropout_mask((places.scores,), p) if p else torch.ones(places.scores)
    weights_of: dict[int, torch.Tensor] = {}
    for bucket in places.buckets:
        square = places.squares(flat, bucket).view(bucket.count, heads, bucket.length, bucket.length)
        members = [s for s, length in enumerate(lengths) if -(-length // STEP) * STEP == bucket.length]
        weights_of |= {s: square[n, :, : lengths[s], : lengths[s]] for n, s in enumerate(members)}
    seen = []
    for s, part in enumerate(hidden_TD.split_with_sizes([*lengths])):
        q, k, v = (m(part).view(len(part), heads, -1).transpose(0, 1) for m in (layer.query, layer.key, layer.value))
        attention = (q @ k.transpose(1, 2) / (WIDTH // heads) ** 0.5).softmax(-1)
        seen.append((attention * weights_of[s] / (1 - p) @ v).transpose(0, 1).flatten(1))

    def thinned(x_TD: torch.Tensor, dropout: float) -> torch.Tensor:
        return x_TD * dropout_mask(tuple(x_TD.shape), dropout) / (1 - dropout) if dropout else x_TD

    half_TD = layer.norm(thinned(layer.out(torch.cat(seen)), p_out) + hidden_TD)
    out_TD: torch.Tensor = layer.last_norm(thinned(layer.down(functional.gelu(layer.up(half_TD))), p_down) + half_TD)
    return out_TD


# Reading a layer


@pytest.mark.parametrize("name", FAMILIES)
def test_the_layers_of_every_family_are_found_with_all_their_parameters(name: str) -> None:
    encoder = toy(name)
    for layer in encoder.layer_modules():
        found = written(layer)
        assert {id(p) for p in found.parameters()} == {id(p) for p in layer.parameters()}
        assert len(found.parameters()) == 16
        assert found.heads == HEADS
        assert found.scaling == pytest.approx((WIDTH / HEADS) ** -0.5)
        for module in (getattr(found, field) for field in RESULTS):
            assert isinstance(module, nn.Linear | nn.LayerNorm)


@pytest.mark.parametrize("name", FAMILIES)
def test_dropouts_are_those_of_the_configuration_and_0_in_evaluation(name: str) -> None:
    layer = toy_layer(name, hidden=0.3, attention=0.2)
    assert written(layer).dropouts == ((0.2, 0.0, 0.3) if name == "distilbert" else (0.2, 0.3, 0.3))
    assert written(layer.eval()).dropouts == (0.0, 0.0, 0.0)


def test_the_encoder_runs_the_layers_that_are_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[PostNormLayer | None] = []

    def noted(layer: nn.Module) -> PostNormLayer | None:
        found.append(read_layer(layer))
        return found[-1]

    monkeypatch.setattr(post_norm, "read_layer", noted)
    encoder = toy("bert").eval()
    encoder(pack_of((5, 9)))
    assert len(found) == encoder.depth
    assert None not in found


# Answers


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("lengths", [MIXED, (1,), (184, 200, 185, 191, 192), (16, 16, 32), (31,), (9, 9, 9)], ids=str)
def test_without_a_gradient_the_answer_is_that_of_the_stock_layer(name: str, lengths: tuple[int, ...]) -> None:
    layer, hidden_TD, segments = toy_layer(name).eval(), drawn(lengths), Segments.of(lengths)
    before = hidden_TD.clone()
    with torch.no_grad():
        got = written(layer).run(hidden_TD, segments)
        expected = stock(layer, hidden_TD, segments)
    assert got.shape == expected.shape
    assert torch.allclose(got, expected, atol=1e-5), float((got - expected).abs().max())
    assert not got.requires_grad
    assert torch.equal(hidden_TD, before), "the input is left alone"


@pytest.mark.parametrize("length", range(1, 50))
def test_a_sequence_of_any_length_does_not_feel_its_neighbours(length: int) -> None:
    """Some are rounded up and read on into the rows of the next; the last reads on past the end."""
    layer = written(toy_layer("bert").eval())
    hidden_TD = drawn((length,))
    around = 50 * drawn((40,), seed=1)
    with torch.no_grad():
        alone = layer.run(hidden_TD, Segments.of((length,)))
        first = layer.run(torch.cat([hidden_TD, around]), Segments.of((length, 40)))[:length]
        last = layer.run(torch.cat([around, hidden_TD]), Segments.of((40, length)))[40:]
        twice = layer.run(torch.cat([hidden_TD, hidden_TD]), Segments.of((length, length))).view(2, length, -1)
    for got in (first, last, *twice):
        assert torch.allclose(got, alone, atol=1e-5)


def test_a_sequence_that_is_not_a_number_stays_alone_with_it() -> None:
    """The rows that a sequence reads on into have a weight of 0, but 0 times NaN is NaN."""
    layer, lengths = toy_layer("bert").eval(), (9, 25, 3, 9)
    for spoilt in range(len(lengths)):
        hidden_TD = drawn(lengths)
        parts = hidden_TD.split_with_sizes([*lengths])
        parts[spoilt].fill_(float("nan"))
        with torch.no_grad():
            got = written(layer).run(hidden_TD, Segments.of(lengths)).split_with_sizes([*lengths])
        assert [bool(part.isfinite().all()) for part in got] == [s != spoilt for s in range(len(lengths))], spoilt


@pytest.fixture
def _empty_is_nan() -> Iterator[None]:
    """torch fills memory that nobody has written to with NaN."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_empty_is_nan")
@pytest.mark.parametrize("lengths", [MIXED, (25,), (9, 17), (31, 31)], ids=str)
def test_no_answer_and_no_gradient_depends_on_memory_that_nobody_wrote(lengths: tuple[int, ...]) -> None:
    layer, segments = toy_layer("bert", 0.2, 0.2), Segments.of(lengths)
    hidden_TD = drawn(lengths).requires_grad_()
    for training in (True, False):
        out_TD = written(layer.train(training)).run(hidden_TD, segments)
        assert out_TD.isfinite().all()
        got = gradients(out_TD, layer, hidden_TD, drawn(lengths, seed=1))
        assert [name for name, gradient in got.items() if not gradient.isfinite().all()] == []
    with torch.no_grad():
        assert written(layer).run(hidden_TD, segments).isfinite().all()


def test_inference_mode_is_served() -> None:
    layer, hidden_TD, segments = toy_layer("bert").eval(), drawn(MIXED), Segments.of(MIXED)
    with torch.inference_mode():
        got = written(layer).run(hidden_TD, segments)
        assert torch.allclose(got, stock(layer, hidden_TD, segments), atol=1e-5)


def test_weights_that_change_in_place_are_read_anew() -> None:
    layer, hidden_TD, segments = toy_layer("bert").eval(), drawn(MIXED), Segments.of(MIXED)
    found = written(layer)
    with torch.no_grad():
        before = found.run(hidden_TD, segments)
        for parameter in layer.parameters():
            parameter.mul_(1.1)
        assert not torch.allclose(found.run(hidden_TD, segments), before, atol=1e-3)
        assert torch.allclose(found.run(hidden_TD, segments), stock(layer, hidden_TD, segments), atol=1e-5)


# Gradients


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("training", [True, False])
def test_every_gradient_is_that_of_autograd_through_the_stock_modules(name: str, training: bool) -> None:
    layer, segments = toy_layer(name).train(training), Segments.of(MIXED)
    hidden_TD, weight_TD = drawn(MIXED).requires_grad_(), drawn(MIXED, seed=1)
    got_TD, expected_TD = written(layer).run(hidden_TD, segments), stock(layer, hidden_TD, segments)
    assert torch.allclose(got_TD, expected_TD, atol=1e-5)
    got = gradients(got_TD, layer, hidden_TD, weight_TD)
    assert len(got) == 17
    assert_close(got, gradients(expected_TD, layer, hidden_TD, weight_TD))
    (key,) = [name for name in got if name.endswith(("key.bias", "k_lin.bias"))]
    # What shifts all scores of a query alike changes nothing; what is left is rounding.
    assert float(got[key].abs().max()) < 1e-4


def test_gradients_pass_a_check_by_finite_differences_of_the_loss() -> None:
    """No autograd on the other side: the slope along a random direction, in float32, to 1 %."""
    layer, segments, weight_TD = toy_layer("bert"), Segments.of((5, 20)), drawn((5, 20), seed=1)
    hidden_TD = drawn((5, 20)).requires_grad_()
    found = written(layer)
    got = gradients(found.run(hidden_TD, segments), layer, hidden_TD, weight_TD)
    torch.manual_seed(0)
    tensors = {**dict(layer.named_parameters()), "input": hidden_TD}
    for name, tensor in tensors.items():
        if name.endswith("key.bias"):
            continue
        direction = got[name].sign()
        losses = []
        for sign in (1, -1):
            with torch.no_grad():
                tensor.add_(direction, alpha=sign * 1e-3)
                losses.append(float((found.run(hidden_TD, segments).double() * weight_TD).sum()))
                tensor.sub_(direction, alpha=sign * 1e-3)
        slope = (losses[0] - losses[1]) / 2e-3
        assert slope == pytest.approx(float((got[name] * direction).sum()), rel=1e-2), name


@pytest.mark.parametrize("name", ["bert", "distilbert"])
@pytest.mark.parametrize("of_input", [True, False])
def test_what_is_frozen_gets_no_gradient_and_the_others_the_same(name: str, of_input: bool) -> None:
    layer, segments, weight_TD = toy_layer(name), Segments.of((5, 20, 16)), drawn((5, 20, 16), seed=1)
    parameters = dict(layer.named_parameters())
    hidden_TD = drawn((5, 20, 16)).requires_grad_(of_input)
    full = gradients(written(layer).run(hidden_TD, segments), layer, hidden_TD, weight_TD)
    choices = [{one} for one in parameters] + [set(parameters) - {one} for one in parameters]
    choices += [{n for n in parameters if "bias" in n}, {n for n in parameters if "bias" not in n}]
    for trained in choices:
        for one, parameter in parameters.items():
            parameter.requires_grad_(one in trained)
            parameter.grad = None
        hidden_TD = hidden_TD.detach().requires_grad_(of_input)
        out_TD = written(layer).run(hidden_TD, segments)
        torch.autograd.backward(out_TD, weight_TD)
        assert {one for one, parameter in parameters.items() if parameter.grad is not None} == trained
        for one in trained:
            grad = parameters[one].grad
            assert grad is not None
            assert torch.allclose(grad, full[one], atol=1e-6), one
        assert (hidden_TD.grad is not None) == of_input
        if hidden_TD.grad is not None:
            assert torch.allclose(hidden_TD.grad, full["input"], atol=1e-6)


def test_a_frozen_layer_passes_the_gradient_of_its_input_on() -> None:
    layer, segments, weight_TD = toy_layer("bert"), Segments.of(MIXED), drawn(MIXED, seed=1)
    layer.requires_grad_(False)
    hidden_TD = drawn(MIXED).requires_grad_()
    got = gradients(written(layer).run(hidden_TD, segments), layer, hidden_TD, weight_TD)
    assert got.keys() == {"input"}
    assert_close(got, gradients(stock(layer, hidden_TD, segments), layer, hidden_TD, weight_TD))


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_layer_with_nothing_to_train_makes_no_graph(dropout: float) -> None:
    layer = toy_layer("bert", hidden=dropout, attention=dropout)
    layer.requires_grad_(False)
    assert torch.is_grad_enabled()
    out_TD = written(layer).run(drawn(MIXED), Segments.of(MIXED))
    assert not out_TD.requires_grad
    assert out_TD.grad_fn is None


def test_two_backward_passes_give_the_same_gradient() -> None:
    for dropout in (0.0, 0.2):
        layer = toy_layer("bert", hidden=dropout, attention=dropout)
        hidden_TD, weight_TD = drawn(MIXED).requires_grad_(), drawn(MIXED, seed=1)
        out_TD = written(layer).run(hidden_TD, Segments.of(MIXED))
        wanted = [hidden_TD, *layer.parameters()]
        once = torch.autograd.grad(out_TD, wanted, weight_TD, retain_graph=True)
        twice = torch.autograd.grad(out_TD, wanted, weight_TD, retain_graph=True)
        assert all(torch.equal(one, two) for one, two in zip(once, twice, strict=True))


def test_gradients_are_linear_in_the_gradient_they_are_given() -> None:
    """Two losses on one pass, as balancing methods have them, sum to the gradient of their sum."""
    layer = toy_layer("bert", hidden=0.1, attention=0.1)
    hidden_TD = drawn(MIXED).requires_grad_()
    out_TD = written(layer).run(hidden_TD, Segments.of(MIXED))
    one_TD, two_TD = drawn(MIXED, seed=1), drawn(MIXED, seed=2)
    wanted = [hidden_TD, *layer.parameters()]
    one, two, both = (
        torch.autograd.grad(out_TD, wanted, weight_TD, retain_graph=True)
        for weight_TD in (one_TD, two_TD, one_TD + two_TD)
    )
    assert all(torch.allclose(x + y, z, atol=1e-4) for x, y, z in zip(one, two, both, strict=True))


def test_a_gradient_that_is_expanded_or_transposed_is_served() -> None:
    layer, segments = toy_layer("bert"), Segments.of(MIXED)
    hidden_TD = drawn(MIXED).requires_grad_()
    for weight_TD in (torch.tensor(0.5).expand(sum(MIXED), WIDTH), drawn(MIXED).t().contiguous().t()):
        got = gradients(written(layer).run(hidden_TD, segments), layer, hidden_TD, weight_TD)
        expected = gradients(stock(layer, hidden_TD, segments), layer, hidden_TD, weight_TD.contiguous())
        assert_close(got, expected)


def test_a_weight_that_changed_before_the_backward_pass_is_an_error() -> None:
    layer = toy_layer("bert")
    out_TD = written(layer).run(drawn(MIXED), Segments.of(MIXED))
    with torch.no_grad():
        next(layer.parameters()).add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.backward(out_TD.sum())


def test_a_second_derivative_is_refused() -> None:
    layer, hidden_TD = toy_layer("bert"), drawn(MIXED).requires_grad_()
    out_TD = written(layer).run(hidden_TD, Segments.of(MIXED))
    (first,) = torch.autograd.grad(out_TD.square().sum(), hidden_TD, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        torch.autograd.backward(first.square().sum())


# Dropout


@pytest.mark.parametrize("name", ["bert", "roberta", "electra", "distilbert"])
@pytest.mark.parametrize(("hidden", "attention"), [(0.3, 0.2), (0.3, 0.0), (0.0, 0.2)])
def test_dropout_is_that_of_autograd_with_the_same_masks(name: str, hidden: float, attention: float) -> None:
    layer, weight_TD = toy_layer(name, hidden, attention), drawn(MIXED, seed=1)
    hidden_TD, found = drawn(MIXED).requires_grad_(), written(layer)
    torch.manual_seed(11)
    got_TD = found.run(hidden_TD, Segments.of(MIXED))
    torch.manual_seed(11)
    expected_TD = reference(found, hidden_TD, MIXED)
    assert torch.allclose(got_TD, expected_TD, atol=1e-5), float((got_TD - expected_TD).abs().max())
    assert_close(gradients(got_TD, layer, hidden_TD, weight_TD), gradients(expected_TD, layer, hidden_TD, weight_TD))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("lengths", "attention"), [((32, 32, 32), 0.2), ((16,), 0.2), (MIXED, 0.0)], ids=str)
def test_dropout_stands_where_the_stock_modules_have_it(name: str, lengths: tuple[int, ...], attention: float) -> None:
    """Both draw in the same order, and where nothing is padded, the same masks."""
    layer, segments, weight_TD = toy_layer(name, 0.3, attention), Segments.of(lengths), drawn(lengths, seed=1)
    hidden_TD = drawn(lengths).requires_grad_()
    torch.manual_seed(12)
    got_TD = written(layer).run(hidden_TD, segments)
    torch.manual_seed(12)
    expected_TD = stock(layer, hidden_TD, segments)
    assert torch.allclose(got_TD, expected_TD, atol=1e-5)
    assert_close(gradients(got_TD, layer, hidden_TD, weight_TD), gradients(expected_TD, layer, hidden_TD, weight_TD))


def test_dropout_works_without_a_gradient_as_with_one() -> None:
    layer, hidden_TD, segments = toy_layer("bert", 0.3, 0.2), drawn(MIXED), Segments.of(MIXED)
    torch.manual_seed(13)
    with_graph = written(layer).run(hidden_TD, segments)
    torch.manual_seed(13)
    with torch.no_grad():
        without = written(layer).run(hidden_TD, segments)
    assert torch.equal(with_graph, without)
    assert not without.requires_grad
    with torch.no_grad():
        assert not torch.equal(written(layer).run(hidden_TD, segments), without), "every call draws anew"


# Layers that are left to the stock modules


def spoilt(name: str, do: Any) -> nn.Module:
    layer = toy_layer(name)
    assert read_layer(layer) is not None
    do(layer)
    return layer


HOOKS: dict[str, tuple[str, Any]] = {
    "forward": ("register_forward_hook", lambda *_: None),
    "before forward": ("register_forward_pre_hook", lambda *_: None),
    "backward": ("register_full_backward_hook", lambda *_: None),
    "before backward": ("register_full_backward_pre_hook", lambda *_: None),
}


@pytest.mark.parametrize("kind", HOOKS)
@pytest.mark.parametrize("name", ["bert", "distilbert"])
def test_a_hook_on_any_module_of_a_layer_is_respected(name: str, kind: str) -> None:
    layer = toy_layer(name)
    register, hook = HOOKS[kind]
    missed = []
    for path, module in layer.named_modules():
        handle = getattr(module, register)(hook)
        if read_layer(layer) is not None:
            missed.append(path)
        handle.remove()
        assert read_layer(layer) is not None, "the hook is gone"
    assert missed == []


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # peft asks by the old name
@pytest.mark.parametrize(
    ("name", "target"),
    [("bert", "query"), ("bert", "attention.output.dense"), ("roberta", "intermediate.dense"), ("electra", "output.dense"),
     ("distilbert", "v_lin"), ("distilbert", "lin2")],
)  # fmt: skip
def test_an_adapted_layer_is_left_alone_and_the_one_beside_it_is_not(name: str, target: str) -> None:
    encoder = toy(name)
    settings = LoraConfig(r=2, target_modules=rf".*\.0\..*\b{target}", init_lora_weights=False)
    adapted: Any = get_peft_model(encoder.model, settings)
    assert [read_layer(layer) is None for layer in encoder.layer_modules()] == [True, False]
    pack, encoder = pack_of(MIXED), encoder.eval()
    with adapted.disable_adapter(), torch.no_grad():
        plain = encoder(pack)
    with torch.no_grad():
        assert not torch.allclose(encoder(pack), plain, atol=1e-3), "the adapter is not skipped"
    adapted.merge_and_unload()
    assert None not in [read_layer(layer) for layer in encoder.layer_modules()]


@pytest.mark.parametrize(
    ("name", "settings"),
    [("bert", {"hidden_act": "gelu_new"}), ("bert", {"hidden_act": "relu"}), ("roberta", {"hidden_act": "gelu_pytorch_tanh"}),
     ("electra", {"hidden_act": "silu"}), ("distilbert", {"activation": "relu"})],
)  # fmt: skip
def test_other_activations_are_left_alone(name: str, settings: dict[str, Any]) -> None:
    assert read_layer(toy_layer(name, **settings)) is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", FAMILIES)
def test_other_precisions_are_left_alone(name: str, dtype: torch.dtype) -> None:
    assert read_layer(toy_layer(name).to(dtype)) is None


@pytest.mark.parametrize("field", ["query", "key", "value", "out", "up", "down"])
def test_one_weight_of_another_precision_is_enough(field: str) -> None:
    layer = toy_layer("bert")
    getattr(written(layer), field).double()
    assert read_layer(layer) is None


@pytest.mark.parametrize("field", RESULTS)
def test_a_module_of_another_kind_is_enough(field: str) -> None:
    class Other(nn.Linear):
        pass

    class OtherNorm(nn.LayerNorm):
        pass

    layer = toy_layer("bert")
    module = getattr(written(layer), field)
    module.__class__ = Other if isinstance(module, nn.Linear) else OtherNorm
    assert read_layer(layer) is None


def test_a_dropout_of_somebody_else_is_respected() -> None:
    class Always(nn.Dropout):
        """Dropout in evaluation too, for Monte Carlo estimates."""

        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return functional.dropout(input, self.p, training=True)

    layer: Any = toy_layer("bert")
    layer.output.dropout = Always(0.5)
    assert read_layer(layer.eval()) is None


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing:FutureWarning")  # the new name came after 5.3
@pytest.mark.parametrize("name", ["bert", "distilbert"])
def test_checkpointing_is_respected_in_training_and_no_matter_in_evaluation(name: str) -> None:
    encoder = toy(name)
    encoder.model.gradient_checkpointing_enable()
    assert [read_layer(layer) for layer in encoder.train().layer_modules()] == [None, None]
    assert None not in [read_layer(layer) for layer in encoder.eval().layer_modules()]
    encoder.model.gradient_checkpointing_disable()
    assert None not in [read_layer(layer) for layer in encoder.train().layer_modules()]


@pytest.mark.parametrize(
    "config",
    [ModernBertConfig(**SMALL, local_attention=8, pad_token_id=0, cls_token_id=2, sep_token_id=3, bos_token_id=2,
                      eos_token_id=3), MPNetConfig(**SMALL)],
    ids=["modernbert", "mpnet"],
)  # fmt: skip
def test_layers_of_another_make_are_left_alone(config: Any) -> None:
    encoder = wrap(AutoModel.from_config(config))
    assert [read_layer(layer) for layer in encoder.layer_modules()] == [None] * encoder.depth


def test_what_is_no_layer_at_all_is_left_alone() -> None:
    for module in (nn.Linear(2, 2), nn.Module(), nn.TransformerEncoderLayer(8, 2), toy("bert").model):
        assert read_layer(module) is None


# In the encoder


def pack_of(lengths: tuple[int, ...]) -> Pack:
    ids = torch.randint(5, 60, (sum(lengths),), generator=torch.Generator().manual_seed(5))
    places = torch.cat([torch.arange(length) for length in lengths])
    return Pack(ids, places, torch.zeros_like(ids), Segments.of(lengths))


def refuse(_: nn.Module, __: torch.Tensor) -> None:
    return None


@bf16_attention
@pytest.mark.parametrize("name", FAMILIES)
def test_autocast_goes_through_the_stock_modules(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, pack = toy(name).eval(), pack_of(MIXED)
    with torch.no_grad():
        plain = encoder(pack)
        with torch.autocast("cpu", torch.bfloat16):
            got = encoder(pack)
        monkeypatch.setattr(post_norm, "by_hand", refuse)
        with torch.autocast("cpu", torch.bfloat16):
            expected = encoder(pack)
        assert torch.allclose(encoder(pack), plain, atol=1e-5)
    assert got.dtype == expected.dtype
    assert torch.equal(got, expected)
    assert not torch.allclose(got.float(), plain, atol=1e-4), "half precision was used"


def losses(encoder: Encoder, pack: Pack, steps: int) -> list[float]:
    """Training of all parameters towards fixed random targets."""
    targets_TD = torch.randn(pack.tokens, encoder.width, generator=torch.Generator().manual_seed(6))
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-3)
    found = []
    for _ in range(steps):
        loss = functional.mse_loss(encoder(pack), targets_TD)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        found.append(float(loss.detach()))
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_20_steps_have_the_losses_of_the_stock_modules(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, pack = toy(name), pack_of(MIXED)
    again = copy.deepcopy(encoder)
    got = losses(encoder, pack, 20)
    monkeypatch.setattr(post_norm, "by_hand", refuse)
    expected = losses(again, pack, 20)
    assert got == pytest.approx(expected, abs=1e-5)
    assert all(later < earlier for earlier, later in pairwise(got)), "they learn"
