"""Toy models of many kinds."""

from exporting import exports, toy_models

__all__ = ["exports", "toy_models"]
