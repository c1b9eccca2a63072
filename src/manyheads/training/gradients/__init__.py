"""The gradient of a step. One module for each mode in which `balance/base.py` weighs tasks."""

from manyheads.training.gradients.compute import Gradients

__all__ = ["Gradients"]
