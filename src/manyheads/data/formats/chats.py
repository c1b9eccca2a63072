"""Rows for training a model that writes: chats, and instructions with answers. No task reads them; refusals say so."""

from __future__ import annotations

from collections.abc import Collection

MESSAGES = ("messages", "conversations")
"""Keys of lists of messages."""
ANSWERED = (("instruction", "output"), ("instruction", "response"), ("prompt", "completion"), ("prompt", "response"),
            ("prompt", "chosen"))  # fmt: skip
"""Keys of a request and of what a model should write."""


def chat_in(names: Collection[str]) -> str | None:
    """What rows with these columns hold, as the end of a sentence, if it is chats or instructions; None for other rows.

    >>> chat_in(["messages"])
    "chat messages ('messages'), from which a model learns to write; tasks here learn labels of texts"
    >>> chat_in(["text", "label"])
    """
    key = next((key for key in MESSAGES if key in names), None)
    pair = next((pair for pair in ANSWERED if set(pair) <= set(names)), None)
    if key is None and pair is None:
        return None
    what = f"chat messages ('{key}')" if key is not None else "instructions with answers ('{}', '{}')".format(*(pair or ()))
    return f"{what}, from which a model learns to write; tasks here learn labels of texts"
