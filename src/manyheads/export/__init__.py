"""A trained model as other tools know it: an ONNX graph, a stock class of transformers, a sentence-transformers folder.

Nothing is written before what is exported has answered like the model it was made of; how far the two were apart at most is
said. A head that the target cannot hold is refused, with the reason.
"""

from manyheads.export.command import Export, export_model

__all__ = ["Export", "export_model"]
