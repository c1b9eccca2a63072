"""Toy models and their exports, for all tests here."""

from exporting import exports, toy_models

__all__ = ["exports", "toy_models"]
