"""What tests may ask of the processor at hand, or of the one that `make test-processors` has torch believe in."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention


def _attends_in_bf16() -> bool:
    """Whether torch's own attention runs in bf16.

    Held to plain instructions by ATEN_CPU_CAPABILITY, torch 2.13 still lays out bf16 as the processor could have it, and
    raises.
    """
    x = torch.zeros(1, 2, 70, 8, dtype=torch.bfloat16)
    try:
        scaled_dot_product_attention(x, x, x, attn_mask=torch.ones(70, 70, dtype=torch.bool))
    except RuntimeError as error:
        if "avx512" not in str(error):
            raise
        return False
    return True


bf16_attention = pytest.mark.skipif(not _attends_in_bf16(), reason="torch's own attention fails in bf16 here")
bf16_products = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="oneDNN has no products in bf16 here"
)
