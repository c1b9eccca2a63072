"""int8 quantization of an exported graph: a smaller graph that answers faster, if the scores allow it.

Decided here:
- Dynamic quantization: weights are rounded when the graph is written, one scale for each output channel; activations are
  rounded as they are computed.
- The scaling of activations before rounding, and the rounding of weights, is chosen for each product on validation texts
  (`rounding`). That at least halves the error of the heads' outputs.
- `reduce_range`: weights use 7 of the 8 bits, because sums of 8-bit products overflow 16 bits on processors without VNNI.
- Only matrix products of the encoder. Word embeddings stay float32 (half of a small encoder), and so do heads: they take
  thousandths of the time, and their outputs are final.
- Scores on validation data decide whether int8 is accepted; the float32 model is scored on the same rows.
"""

from manyheads.export.int8.quantization import MAX_LOSS, Int8Cost, quantize, validation_data

__all__ = ["MAX_LOSS", "Int8Cost", "quantize", "validation_data"]
