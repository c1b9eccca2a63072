"""Strings to tokens and back: windows, character offsets, spans, packs."""
