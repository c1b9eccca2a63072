"""Pooling of packs against padded references."""

import pytest
import torch

from manyheads.nn.pooling import cls_pool, mean_pool, pool
from manyheads.text.pack import Segments

LENGTHS = [3, 1, 8, 2]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def packed(lengths=LENGTHS, *, width=5, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sum(lengths), width, generator=generator).to(dtype), Segments.of(lengths)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_pooling_equals_that_of_sentence_transformers_on_padded_rows(pooling):
    modules = pytest.importorskip("sentence_transformers.models")
    hidden_TD, segments = packed()
    parts = hidden_TD.split(LENGTHS)
    padded_SLD = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=9.0)
    mask_SL = torch.nn.utils.rnn.pad_sequence([torch.ones(length) for length in LENGTHS], batch_first=True)
    reference = modules.Pooling(5, pooling_mode=pooling)
    expected_SD = reference({"token_embeddings": padded_SLD, "attention_mask": mask_SL})["sentence_embedding"]
    torch.testing.assert_close(pool(hidden_TD, segments, pooling), expected_SD)


def test_mean_and_first_token_equal_a_loop_over_sequences():
    hidden_TD, segments = packed(seed=1)
    parts = [hidden_TD[part] for part in segments.slices()]
    torch.testing.assert_close(mean_pool(hidden_TD, segments), torch.stack([part.mean(0) for part in parts]))
    assert torch.equal(cls_pool(hidden_TD, segments), torch.stack([part[0] for part in parts]))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_gradient_and_second_derivative_equal_finite_differences(pooling):
    hidden_TD, segments = packed([2, 1, 3], width=2, dtype=torch.float64)
    hidden_TD.requires_grad_()
    assert torch.autograd.gradcheck(lambda hidden: pool(hidden, segments, pooling), hidden_TD)
    assert torch.autograd.gradgradcheck(lambda hidden: pool(hidden, segments, pooling) ** 2, hidden_TD)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_sequence_is_pooled_the_same_in_any_company(pooling):
    hidden_TD, segments = packed(seed=2)
    together_SD = pool(hidden_TD, segments, pooling)
    for row, part in enumerate(segments.slices()):
        alone_SD = pool(hidden_TD[part], Segments.of([LENGTHS[row]]), pooling)
        assert torch.equal(alone_SD[0], together_SD[row])


def test_half_precision_is_added_up_in_float32_and_returned_as_it_came():
    hidden_TD = torch.ones(5000, 1, dtype=torch.bfloat16)  # bfloat16 stops counting ones at 256
    pooled_SD = mean_pool(hidden_TD, Segments.of([5000]))
    assert pooled_SD.dtype == torch.bfloat16
    assert pooled_SD.item() == 1.0


def test_the_mean_of_a_long_pack_is_as_precise_as_float64():
    hidden_TD, segments = packed([2000] * 10, width=3, seed=3)
    offset_TD = hidden_TD + 100.0  # what differences of cumulative sums would lose
    exact_SD = mean_pool(offset_TD.double(), segments)
    torch.testing.assert_close(mean_pool(offset_TD, segments).double(), exact_SD, rtol=2e-6, atol=0)


def test_another_pooling_is_refused():
    hidden_TD, segments = packed()
    with pytest.raises(ValueError, match="pooling must be mean or cls, not 'max'"):
        pool(hidden_TD, segments, "max")
