"""Sentences of a text that are classified together: their rows, tokens, targets, answers and files.

`sentence_task.py`, beside this folder, has the task.
"""
