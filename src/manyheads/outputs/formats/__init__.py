"""Formats that documents are written in, one per file; `registry.py` lists them.

A format is a function from documents to bytes, and a declaration of what it holds. A new one is one file here and one line
in the registry.
"""
