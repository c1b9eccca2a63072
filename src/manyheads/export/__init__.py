"""Export a trained model: as an ONNX graph, a transformers model, or a sentence-transformers folder.

Nothing is written unless the export answers like the model it was made from; the largest difference is reported. A head that
the target format cannot hold is refused, with the reason.
"""

from manyheads.export.command import export_model
from manyheads.export.request import ExportRequest

__all__ = ["ExportRequest", "export_model"]
